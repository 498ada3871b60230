//! Scaled dot-product attention of single queries over cached keys and values.

use rayon::prelude::*;

use crate::key_value_cache::Head;
use crate::simd::{self, Kernel, Lanes};

/// Positions whose scores are kept at a time. The softmax is corrected from block to block (Milakov and Gimelshein 2018),
/// so that no score buffer grows with the context.
const BLOCK: usize = 32;
/// Fewer multiplications than this are done in less time than handing them to another core takes.
const LEAST_WORK_PER_TASK: usize = 1 << 14;

/// Writes the attention of the last `outputs.len() / token width` tokens of a layer's cache: token `i` of them sees
/// itself and everything before it. Query heads share key heads in groups of equal size.
pub(crate) fn causal_attention(
    queries: &[f32],
    cache: &[Head],
    head_width: usize,
    query_heads: usize,
    outputs: &mut [f32],
) {
    let tokens = outputs.len() / (query_heads * head_width);
    let positions = cache[0].keys.len() / head_width;
    let group = query_heads / cache.len();
    let heads_per_task = (LEAST_WORK_PER_TASK / (positions * head_width)).max(1);
    let pairs = queries.par_chunks_exact(head_width).zip(outputs.par_chunks_exact_mut(head_width));
    pairs.enumerate().with_min_len(heads_per_task).for_each(|(index, (query, output))| {
        let (token, query_head) = (index / query_heads, index % query_heads);
        let head = &cache[query_head / group];
        let visible = (positions - tokens + token + 1) * head_width;
        simd::run(Attention { query, keys: &head.keys[..visible], values: &head.values[..visible], output });
    });
}

struct Attention<'a> {
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let width = self.query.len();
        let scale = 1.0 / (width as f32).sqrt();
        let (mut maximum, mut sum) = (f32::NEG_INFINITY, 0.0f32);
        self.output.fill(0.0);
        for (keys, values) in self.keys.chunks(BLOCK * width).zip(self.values.chunks(BLOCK * width)) {
            let mut scores = [0.0f32; BLOCK];
            let mut block_maximum = maximum;
            for (score, key) in scores.iter_mut().zip(keys.chunks_exact(width)) {
                *score = simd::dot(lanes, self.query, key) * scale;
                block_maximum = block_maximum.max(*score);
            }
            let correction = (maximum - block_maximum).exp();
            sum *= correction;
            self.output.iter_mut().for_each(|value| *value *= correction);
            for (score, value) in scores.iter().zip(values.chunks_exact(width)) {
                let weight = (score - block_maximum).exp();
                sum += weight;
                simd::add_scaled(lanes, self.output, weight, value);
            }
            maximum = block_maximum;
        }
        self.output.iter_mut().for_each(|value| *value /= sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|index| (((index + seed) * 31 % 97) as f32 - 48.0) / 30.0).collect()
    }

    /// The definition, in f64 and without blocks.
    fn reference(query: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
        let width = query.len();
        let scores: Vec<f64> = keys
            .chunks(width)
            .map(|key| query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>())
            .map(|product| (product / (width as f64).sqrt()).exp())
            .collect();
        let sum: f64 = scores.iter().sum();
        (0..width)
            .map(|column| {
                let column_of = values.chunks(width).map(|value| f64::from(value[column]));
                scores.iter().zip(column_of).map(|(score, value)| score * value).sum::<f64>() / sum
            })
            .collect()
    }

    #[test]
    fn every_token_sees_itself_and_what_lies_before_it_through_its_group() {
        let (width, query_heads, tokens) = (24, 4, 3);
        for positions in [3, 32, 33, 100] {
            let cache: Vec<Head> = (0..2)
                .map(|head| Head {
                    keys: numbers(positions * width, head),
                    values: numbers(positions * width, 5 + head),
                })
                .collect();
            let queries = numbers(tokens * query_heads * width, 11);
            let mut outputs = vec![f32::NAN; queries.len()];
            causal_attention(&queries, &cache, width, query_heads, &mut outputs);
            for (index, (query, output)) in queries.chunks(width).zip(outputs.chunks(width)).enumerate() {
                let head = &cache[index % query_heads / 2];
                let visible = (positions - tokens + index / query_heads + 1) * width;
                let expected = reference(query, &head.keys[..visible], &head.values[..visible]);
                for (actual, expected) in output.iter().zip(expected) {
                    assert!((f64::from(*actual) - expected).abs() < 1e-5, "{positions} {index}: {actual} {expected}");
                }
            }
        }
    }
}
