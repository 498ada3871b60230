use half::f16;
use proptest::prelude::*;

use super::*;
use crate::{BLOCK_TOKENS, KeyValueShape, Pinning, Pool, PoolOptions, append};

fn pool(level: Level, threads: usize) -> Pool {
    Pool::new(&PoolOptions { threads, pinning: Pinning::Free, level }).unwrap()
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let mut state = seed as u64 * 2 + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32) / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[derive(Debug, Clone, Copy)]
struct Scene {
    width: usize,
    heads: usize,
    group: usize,
    window: Option<usize>,
}

/// Queries, keys and values of all tokens of a sequence.
struct Sequence {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Scene {
    fn options(&self) -> AttentionOptions {
        let scale = 1.0 / (self.width as f32).sqrt();
        AttentionOptions { query_heads: self.heads * self.group, scale, window: self.window }
    }

    fn key_row(&self) -> usize {
        self.heads * self.width
    }

    fn query_row(&self) -> usize {
        self.key_row() * self.group
    }

    fn sequence(&self, tokens: usize, seed: usize) -> Sequence {
        Sequence {
            queries: numbers(tokens * self.query_row(), seed).iter().map(|x| 3.0 * x).collect(),
            keys: numbers(tokens * self.key_row(), seed + 100),
            values: numbers(tokens * self.key_row(), seed + 200),
        }
    }

    /// The definition, in f64, with keys and values as they are stored.
    fn reference(&self, sequence: &Sequence, token: usize, query_head: usize) -> Vec<f64> {
        let stored = |number: f32| f64::from(f16::from_f32(number).to_f32());
        let (row, first) = (self.key_row(), query_head / self.group * self.width);
        let query = &sequence.queries[token * self.query_row() + query_head * self.width..][..self.width];
        let start = self.window.map_or(0, |window| (token + 1).saturating_sub(window));
        let scores: Vec<f64> = (start..=token)
            .map(|seen| {
                let key = &sequence.keys[seen * row + first..][..self.width];
                let product: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * stored(*k)).sum();
                product / (self.width as f64).sqrt()
            })
            .collect();
        let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = scores.iter().map(|score| (score - greatest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        let value = |seen: usize, number: usize| stored(sequence.values[seen * row + first + number]);
        (0..self.width)
            .map(|number| (start..).zip(&powers).map(|(seen, power)| power * value(seen, number)).sum::<f64>() / sum)
            .collect()
    }

    /// Returns the attention of all tokens of the sequences. Step `n` takes `chunks[n]` more tokens of each sequence, as
    /// far as it has them. The store is full of what is no number before.
    fn run(&self, pool: &Pool, sequences: &[&Sequence], chunks: &[usize]) -> Vec<Vec<f32>> {
        let (key_row, query_row) = (self.key_row(), self.query_row());
        let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.keys.len() / key_row).collect();
        let most = lengths.iter().max().unwrap().div_ceil(BLOCK_TOKENS);
        let shape = KeyValueShape { layers: 2, heads: self.heads, head_width: self.width };
        let count = most * sequences.len();
        let mut store = KeyValueStore::new(shape, count).unwrap();
        let all: Vec<u32> = (0..count as u32).collect();
        let poison = vec![f32::NAN; count * BLOCK_TOKENS * key_row];
        let span = Span { blocks: &all, first_position: 0, rows: 0..count * BLOCK_TOKENS };
        pool.step(|step| append(step, &mut store, 1, &[span], &poison[..], &poison[..]));
        let blocks: Vec<Vec<u32>> = (0..sequences.len())
            .map(|index| (0..most).rev().map(|block| (block * sequences.len() + index) as u32).collect())
            .collect();
        let mut outputs: Vec<Vec<f32>> = vec![Vec::new(); sequences.len()];
        let mut done = 0;
        for chunk in chunks {
            let (mut spans, mut batch) = (Vec::new(), self.sequence(0, 0));
            for (index, sequence) in sequences.iter().enumerate() {
                let tokens = done.min(lengths[index])..(done + chunk).min(lengths[index]);
                let first = batch.keys.len() / key_row;
                let part = |row: usize| tokens.start * row..tokens.end * row;
                batch.queries.extend_from_slice(&sequence.queries[part(query_row)]);
                batch.keys.extend_from_slice(&sequence.keys[part(key_row)]);
                batch.values.extend_from_slice(&sequence.values[part(key_row)]);
                let rows = first..first + tokens.len();
                spans.push(Span { blocks: &blocks[index], first_position: tokens.start, rows });
            }
            let mut output = vec![f32::NAN; batch.queries.len()];
            pool.step(|step| {
                append(step, &mut store, 1, &spans, &batch.keys[..], &batch.values[..]);
                attend(step, &store, 1, &spans, &batch.queries[..], self.options(), &mut output);
            });
            for (span, sequence) in spans.iter().zip(&mut outputs) {
                sequence.extend_from_slice(&output[span.rows.start * query_row..span.rows.end * query_row]);
            }
            done += chunk;
        }
        outputs
    }

    #[track_caller]
    fn check(&self, sequence: &Sequence, output: &[f32], what: &str) {
        let heads = self.heads * self.group;
        for (index, found) in output.chunks_exact(self.width).enumerate() {
            let expected = self.reference(sequence, index / heads, index % heads);
            for (found, expected) in found.iter().zip(&expected) {
                let distance = (f64::from(*found) - expected).abs();
                assert!(distance < 1e-5, "{what} {self:?}, token {}: {found}, not {expected}", index / heads);
            }
        }
    }
}

#[track_caller]
fn assert_same_bits(found: &[Vec<f32>], expected: &[Vec<f32>], what: &str) {
    let bits = |rows: &[Vec<f32>]| -> Vec<Vec<u32>> {
        rows.iter().map(|row| row.iter().map(|number| number.to_bits()).collect()).collect()
    };
    assert!(bits(found) == bits(expected), "{what}");
}

#[test]
fn every_head_width_is_attended_to_as_defined() {
    for level in Level::available() {
        let pool = pool(level, 2);
        for width in (8..=160).step_by(2) {
            let scene = Scene { width, heads: 2, group: 2, window: None };
            let sequence = scene.sequence(40, width);
            let output = scene.run(&pool, &[&sequence], &[37, 1, 1, 1]);
            scene.check(&sequence, &output[0], level.name());
        }
    }
}

#[test]
fn every_group_size_is_attended_to_as_defined() {
    for level in Level::available() {
        let pool = pool(level, 2);
        for group in 1..=13 {
            let scene = Scene { width: 24, heads: 2, group, window: None };
            let sequence = scene.sequence(70, group);
            let output = scene.run(&pool, &[&sequence], &[65, 1, 4]);
            scene.check(&sequence, &output[0], level.name());
        }
    }
}

#[test]
fn long_contexts_are_attended_to_as_defined_and_threads_change_no_bit() {
    for level in Level::available() {
        let scene = Scene { width: 16, heads: 1, group: 3, window: None };
        let sequence = scene.sequence(1100, 7);
        let chunks = [500, 13, 300, 1, 1, 200, 1, 84];
        let alone = scene.run(&pool(level, 1), &[&sequence], &chunks);
        scene.check(&sequence, &alone[0], level.name());
        let shared = scene.run(&pool(level, 3), &[&sequence], &chunks);
        assert_same_bits(&shared, &alone, level.name());
    }
}

#[test]
fn window_hides_all_but_the_last_tokens() {
    for level in Level::available() {
        for window in [1, 2, 31, 32, 33, 100, 255, 256, 257, 10_000] {
            let scene = Scene { width: 10, heads: 1, group: 2, window: Some(window) };
            let sequence = scene.sequence(600, window);
            let chunks = [290, 1, 1, 250, 58];
            let alone = scene.run(&pool(level, 1), &[&sequence], &chunks);
            scene.check(&sequence, &alone[0], level.name());
            let whole = scene.run(&pool(level, 3), &[&sequence], &[600]);
            assert_same_bits(&whole, &alone, level.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn neither_chunks_nor_neighbours_nor_threads_change_a_bit(
        width in (4usize..=40).prop_map(|half| 2 * half),
        heads in 1usize..=3,
        group in 1usize..=8,
        window in prop::option::of(1usize..400),
        lengths in prop::collection::vec(1usize..330, 1..4),
        chunks in prop::collection::vec(1usize..120, 1..6),
        threads in 2usize..=3,
    ) {
        let scene = Scene { width, heads, group, window };
        let sequences: Vec<Sequence> =
            lengths.iter().enumerate().map(|(index, length)| scene.sequence(*length, index)).collect();
        let sequences: Vec<&Sequence> = sequences.iter().collect();
        let mut chunks = chunks;
        chunks.push(330);
        for level in Level::available() {
            let (one, several) = (pool(level, 1), pool(level, threads));
            let alone: Vec<Vec<f32>> =
                sequences.iter().map(|sequence| scene.run(&one, &[sequence], &[330]).remove(0)).collect();
            scene.check(sequences[0], &alone[0], level.name());
            assert_same_bits(&scene.run(&several, &sequences, &chunks), &alone, level.name());
            assert_same_bits(&scene.run(&one, &sequences, &chunks), &alone, level.name());
        }
    }
}

#[test]
fn one_outstanding_score_takes_all_the_weight() {
    for level in Level::available() {
        let scene = Scene { width: 8, heads: 1, group: 1, window: None };
        let mut sequence = scene.sequence(40, 5);
        sequence.keys.fill(-1.0);
        sequence.keys[17 * 8..18 * 8].fill(1e30);
        sequence.queries.fill(1e20);
        let output = scene.run(&pool(level, 2), &[&sequence], &[40]);
        let expected: Vec<f32> =
            sequence.values[17 * 8..18 * 8].iter().map(|value| f16::from_f32(*value).to_f32()).collect();
        for token in 17..40 {
            assert_eq!(output[0][token * 8..][..8], expected, "{level:?} {token}");
        }
    }
}

#[test]
fn equal_scores_give_the_mean_and_no_negative_zero() {
    for level in Level::available() {
        let scene = Scene { width: 8, heads: 1, group: 1, window: None };
        let mut sequence = scene.sequence(3, 5);
        sequence.queries.fill(-0.0);
        sequence.values = [[3.0; 8], [-0.0; 8], [0.0; 8]].concat();
        let output = scene.run(&pool(level, 1), &[&sequence], &[3]);
        assert_eq!(output[0], [[3.0; 8], [1.5; 8], [1.0; 8]].concat(), "{level:?}");
        sequence.values.fill(-0.0);
        let output = scene.run(&pool(level, 1), &[&sequence], &[3]);
        assert!(output[0].iter().all(|number| number.to_bits() == 0), "{level:?} {output:?}");
    }
}

#[test]
fn a_token_that_is_no_number_spoils_no_earlier_piece_and_no_other_sequence() {
    for level in Level::available() {
        let scene = Scene { width: 8, heads: 1, group: 1, window: None };
        let (mut spoiled, sound) = (scene.sequence(300, 1), scene.sequence(300, 2));
        spoiled.values[298 * 8..].fill(f32::NAN);
        let output = scene.run(&pool(level, 2), &[&spoiled, &sound], &[300]);
        assert!(output[0][..200 * 8].iter().all(|number| number.is_finite()), "{level:?}");
        assert!(output[0][298 * 8..].iter().all(|number| number.is_nan()), "{level:?}");
        scene.check(&sound, &output[1], level.name());
    }
}

#[test]
fn rows_of_no_span_keep_their_output() {
    let scene = Scene { width: 8, heads: 1, group: 1, window: None };
    let shape = KeyValueShape { layers: 1, heads: 1, head_width: 8 };
    let mut store = KeyValueStore::new(shape, 1).unwrap();
    let span = [Span { blocks: &[0], first_position: 0, rows: 1..2 }];
    let mut output = [7.0; 24];
    pool(Level::best(), 1).step(|step| {
        append(step, &mut store, 0, &span, &[1.0; 16][..], &[2.0; 16][..]);
        attend(step, &store, 0, &span, &[1.0; 16][..], scene.options(), &mut output);
    });
    assert_eq!(output, [[7.0; 8], [2.0; 8], [7.0; 8]].concat()[..]);
}

#[test]
#[should_panic(expected = "the row 1 belongs to two sequences")]
fn rows_of_two_sequences_are_refused() {
    let scene = Scene { width: 8, heads: 1, group: 1, window: None };
    let shape = KeyValueShape { layers: 1, heads: 1, head_width: 8 };
    let store = KeyValueStore::new(shape, 2).unwrap();
    let spans =
        [Span { blocks: &[0], first_position: 0, rows: 0..2 }, Span { blocks: &[1], first_position: 0, rows: 1..3 }];
    let mut output = [0.0; 24];
    pool(Level::best(), 1).step(|step| attend(step, &store, 0, &spans, &[0.0; 24][..], scene.options(), &mut output));
}

#[test]
#[should_panic(expected = "5 query heads cannot share 2 key heads")]
fn heads_that_cannot_be_shared_evenly_are_refused() {
    let shape = KeyValueShape { layers: 1, heads: 2, head_width: 8 };
    let store = KeyValueStore::new(shape, 1).unwrap();
    let options = AttentionOptions { query_heads: 5, scale: 1.0, window: None };
    pool(Level::best(), 1).step(|step| attend(step, &store, 0, &[], &[0.0; 0][..], options, &mut []));
}
