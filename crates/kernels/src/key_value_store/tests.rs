use half::f16;
use proptest::prelude::*;

use super::*;
use crate::{Level, Pinning, Pool, PoolOptions, RowView};

fn pool(level: Level, threads: usize) -> Pool {
    Pool::new(&PoolOptions { threads, pinning: Pinning::Free, level }).unwrap()
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| (((index + seed) * 7919 % 2003) as f32) / 500.0 - 2.0).collect()
}

/// Returns the key and the value of a head at a position of a sequence.
fn stored(store: &KeyValueStore, layer: usize, head: usize, blocks: &[u32], position: usize) -> (Vec<f32>, Vec<f32>) {
    let (block, slot) = (blocks[position / BLOCK_TOKENS], position % BLOCK_TOKENS);
    let number = |bits: &u16| f16::from_bits(*bits).to_f32();
    let keys = store.keys(layer, head, block).iter().skip(slot).step_by(BLOCK_TOKENS).map(number).collect();
    let width = store.shape().value_width();
    let values = store.values(layer, head, block)[slot * width..][..width].iter().map(number).collect();
    (keys, values)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn tokens_are_found_where_they_were_put(
        width in (4usize..=80).prop_map(|half| 2 * half),
        heads in 1usize..4,
        first in 0usize..70,
        count in 1usize..90,
        threads in 1usize..=3,
    ) {
        let shape = KeyValueShape { layers: 2, heads, head_width: width };
        let row = heads * width;
        let (keys, values) = (numbers(count * row, width), numbers(count * row, first + 1));
        let blocks = [4, 0, 2, 5, 1];
        for level in Level::available() {
            let mut store = KeyValueStore::new(shape, 6).unwrap();
            let span = Span { blocks: &blocks, first_position: first, rows: 0..count };
            pool(level, threads).step(|step| append(step, &mut store, 1, &[span], &keys[..], &values[..]));
            for token in 0..count {
                for head in 0..heads {
                    let (key, value) = stored(&store, 1, head, &blocks, first + token);
                    let part = (token * heads + head) * width..(token * heads + head + 1) * width;
                    let rounded = |number: &f32| f16::from_f32(*number).to_f32();
                    prop_assert_eq!(key, keys[part.clone()].iter().map(rounded).collect::<Vec<f32>>());
                    let mut padded: Vec<f32> = values[part].iter().map(rounded).collect();
                    padded.resize(shape.value_width(), 0.0);
                    prop_assert_eq!(value, padded);
                }
            }
            prop_assert!((0..6).all(|block| store.keys(0, 0, block).iter().all(|bits| *bits == 0)));
            prop_assert!(store.keys(1, 0, 3).iter().all(|bits| *bits == 0), "block 3 belongs to nobody");
        }
    }
}

#[test]
fn numbers_beyond_half_precision_become_its_greatest_and_no_numbers_stay_none() {
    let shape = KeyValueShape { layers: 1, heads: 1, head_width: 8 };
    let token = [1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 65_504.0, 6e-8, 1e-30];
    for level in Level::available() {
        let mut store = KeyValueStore::new(shape, 1).unwrap();
        let span = Span { blocks: &[0], first_position: 3, rows: 0..1 };
        pool(level, 1).step(|step| append(step, &mut store, 0, &[span], &token[..], &token[..]));
        let (key, mut value) = stored(&store, 0, 0, &[0], 3);
        value.truncate(8);
        for found in [key, value] {
            assert_eq!(found[..4], [65_504.0, -65_504.0, 65_504.0, -65_504.0], "{level:?}");
            assert!(found[4].is_nan(), "{level:?}");
            assert_eq!(found[5..], [65_504.0, 5.960_464_5e-8, 0.0], "{level:?}");
        }
    }
}

#[test]
fn rows_inside_wider_ones_are_found() {
    let shape = KeyValueShape { layers: 1, heads: 2, head_width: 8 };
    let rows = numbers(5 * 50, 0);
    let mut store = KeyValueStore::new(shape, 2).unwrap();
    let spans =
        [Span { blocks: &[1], first_position: 7, rows: 0..2 }, Span { blocks: &[0], first_position: 31, rows: 4..5 }];
    pool(Level::best(), 2).step(|step| {
        append(step, &mut store, 0, &spans, RowView::new(&rows[10..], 50), RowView::new(&rows[30..], 50));
    });
    for (blocks, position, row) in [([1], 7, 0), ([1], 8, 1), ([0], 31, 4)] {
        let (key, value) = stored(&store, 0, 1, &blocks, position);
        assert_eq!(key[3], f16::from_f32(rows[row * 50 + 10 + 8 + 3]).to_f32());
        assert_eq!(value[3], f16::from_f32(rows[row * 50 + 30 + 8 + 3]).to_f32());
    }
}

#[test]
fn blocks_stay_when_the_store_grows_and_copies_are_their_own() {
    let shape = KeyValueShape { layers: 2, heads: 1, head_width: 10 };
    let mut store = KeyValueStore::new(shape, 1).unwrap();
    let pool = pool(Level::best(), 1);
    let token = numbers(10, 4);
    let put = |store: &mut KeyValueStore, block: u32, token: &[f32]| {
        let blocks = [block];
        let span = Span { blocks: &blocks, first_position: 9, rows: 0..1 };
        pool.step(|step| append(step, store, 1, &[span], token, token));
    };
    put(&mut store, 0, &token);
    let before = stored(&store, 1, 0, &[0], 9);
    store.grow(3).unwrap();
    assert_eq!(store.blocks(), 4);
    assert_eq!(store.bytes(), 4 * KeyValueStore::block_bytes(shape));
    assert_eq!(stored(&store, 1, 0, &[0], 9), before);
    store.copy_block(0, 3);
    assert_eq!(stored(&store, 1, 0, &[3], 9), before);
    put(&mut store, 3, &[0.0; 10]);
    assert_eq!(stored(&store, 1, 0, &[0], 9), before);
    assert_ne!(stored(&store, 1, 0, &[3], 9), before);
    store.copy_block(0, 0);
    assert_eq!(stored(&store, 1, 0, &[0], 9), before);
}

#[test]
fn a_store_beyond_memory_is_an_error_and_changes_nothing() {
    let shape = KeyValueShape { layers: 4, heads: 4, head_width: 64 };
    let mut store = KeyValueStore::new(shape, 1).unwrap();
    for blocks in [1 << 40, usize::MAX] {
        assert!(store.grow(blocks).unwrap_err().bytes > 1 << 40);
        assert_eq!(store.blocks(), 1);
    }
    let shape = KeyValueShape { layers: 1 << 30, heads: 1 << 30, head_width: 1 << 30 };
    assert_eq!(KeyValueStore::new(shape, 1).unwrap_err().bytes, usize::MAX);
    assert_eq!(KeyValueStore::block_bytes(shape), usize::MAX);
}

#[test]
#[should_panic(expected = "33 tokens need 2 blocks, but the sequence has 1")]
fn a_sequence_without_a_block_for_its_tokens_is_refused() {
    let shape = KeyValueShape { layers: 1, heads: 1, head_width: 8 };
    let mut store = KeyValueStore::new(shape, 4).unwrap();
    let span = Span { blocks: &[0], first_position: 32, rows: 0..1 };
    pool(Level::best(), 1).step(|step| append(step, &mut store, 0, &[span], &[0.0; 8][..], &[0.0; 8][..]));
}

#[test]
#[should_panic(expected = "block 4 of 4")]
fn a_block_that_does_not_exist_is_refused() {
    let shape = KeyValueShape { layers: 1, heads: 1, head_width: 8 };
    let mut store = KeyValueStore::new(shape, 4).unwrap();
    let span = Span { blocks: &[4], first_position: 0, rows: 0..1 };
    pool(Level::best(), 1).step(|step| append(step, &mut store, 0, &[span], &[0.0; 8][..], &[0.0; 8][..]));
}

#[test]
#[should_panic(expected = "2 rows of keys need 16 numbers, but there are 8")]
fn missing_rows_are_refused() {
    let shape = KeyValueShape { layers: 1, heads: 1, head_width: 8 };
    let mut store = KeyValueStore::new(shape, 4).unwrap();
    let span = Span { blocks: &[1], first_position: 0, rows: 0..2 };
    pool(Level::best(), 1).step(|step| append(step, &mut store, 0, &[span], &[0.0; 8][..], &[0.0; 16][..]));
}
