use std::slice;

use super::*;
use crate::images_tests::{bits, for_each_pool, numbers};

/// What the definition gives for one row and one head.
fn expected(
    [queries, keys, values]: [&[f32]; 3],
    sequence: Range<usize>,
    row: usize,
    head: usize,
    options: MutualAttention,
) -> Vec<f64> {
    let (width, all) = (options.head_width, options.heads * options.head_width);
    let of = |data: &[f32], row: usize| -> Vec<f64> {
        data[row * all + head * width..][..width].iter().map(|number| f64::from(*number)).collect()
    };
    let query = of(queries, row);
    let scores: Vec<f64> = sequence
        .clone()
        .map(|other| of(keys, other).iter().zip(&query).map(|(a, b)| a * b).sum::<f64>() * f64::from(options.scale))
        .collect();
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = scores.iter().map(|score| (score - greatest).exp()).sum();
    let mut sums = vec![0.0; width];
    for (other, score) in sequence.zip(&scores) {
        let share = (score - greatest).exp() / total;
        sums.iter_mut().zip(of(values, other)).for_each(|(sum, value)| *sum += share * value);
    }
    sums
}

#[test]
fn rows_see_their_whole_sequence_and_nothing_else() {
    for (heads, head_width) in [(3, 8), (2, 64), (1, 33)] {
        let options = MutualAttention { heads, head_width, scale: 1.0 / (head_width as f32).sqrt() };
        let width = heads * head_width;
        let sequences = [0..50, 50..51, 52..249];
        let data: Vec<Vec<f32>> =
            (0..3).map(|seed| numbers(249 * width, seed).iter().map(|number| number * 3.0).collect()).collect();
        let slices = [&data[0][..], &data[1], &data[2]];
        for_each_pool(&mut |pool| {
            let mut found = vec![7.0; 249 * width];
            pool.step(|step| {
                attend_mutually(step, &sequences, slices.map(RowView::from), options, &mut found);
            });
            assert!(found[51 * width..52 * width].iter().all(|number| *number == 7.0), "a row of no sequence is kept");
            for sequence in &sequences {
                for (row, head) in sequence.clone().flat_map(|row| (0..heads).map(move |head| (row, head))) {
                    let expected = expected(slices, sequence.clone(), row, head, options);
                    let found = &found[row * width + head * head_width..][..head_width];
                    for (found, expected) in found.iter().zip(&expected) {
                        assert!((f64::from(*found) - expected).abs() < 2e-5, "row {row}: {found} {expected}");
                    }
                }
                let mut alone = vec![0.0; sequence.len() * width];
                let views = slices.map(|data| RowView::from(&data[sequence.start * width..]));
                let length = sequence.len();
                pool.step(|step| attend_mutually(step, slice::from_ref(&(0..length)), views, options, &mut alone));
                assert_eq!(bits(&alone), bits(&found[sequence.start * width..sequence.end * width]));
            }
            found
        });
    }
}

#[test]
fn queries_keys_and_values_may_lie_side_by_side() {
    let options = MutualAttention { heads: 2, head_width: 16, scale: 0.25 };
    let fused = numbers(20 * 96, 5);
    let apart: Vec<Vec<f32>> =
        (0..3).map(|part| fused.chunks_exact(96).flat_map(|row| row[part * 32..][..32].to_vec()).collect()).collect();
    for_each_pool(&mut |pool| {
        let (mut found, mut expected) = (vec![0.0; 20 * 32], vec![0.0; 20 * 32]);
        let views = [0, 1, 2].map(|part| RowView::new(&fused[part * 32..], 96));
        pool.step(|step| attend_mutually(step, slice::from_ref(&(0..20)), views, options, &mut found));
        let views = [0, 1, 2].map(|part: usize| RowView::from(&apart[part][..]));
        pool.step(|step| attend_mutually(step, slice::from_ref(&(0..20)), views, options, &mut expected));
        assert_eq!(bits(&found), bits(&expected));
        found
    });
}

#[test]
#[should_panic(expected = "follow each other")]
fn sequences_that_overlap_are_refused() {
    let pool = crate::Pool::new(&crate::PoolOptions::default()).unwrap();
    let options = MutualAttention { heads: 1, head_width: 1, scale: 1.0 };
    let views = [RowView::from(&[0.0; 8][..]); 3];
    pool.step(|step| attend_mutually(step, &[0..4, 3..8], views, options, &mut [0.0; 8]));
}
