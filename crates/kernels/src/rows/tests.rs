use proptest::prelude::*;

use super::*;
use crate::Level;

/// Lengths around whole vectors, and rows as models have them.
fn lengths() -> impl Iterator<Item = usize> {
    (1..200).chain([768, 2048, 4099])
}

fn numbers(count: usize, seed: usize, size: f32) -> Vec<f32> {
    (0..count).map(|index| ((((index + seed) * 7919 % 2003) as f32) / 1001.0 - 1.0) * size).collect()
}

/// Fails unless each number is within `relative` of itself or `absolute`.
#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], relative: f64, absolute: f64, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let distance = (f64::from(*found) - expected).abs();
        assert!(distance <= relative * expected.abs() + absolute, "{what}: number {index} is {found}, not {expected}");
    }
}

fn wide(values: &[f32]) -> impl Iterator<Item = f64> {
    values.iter().map(|value| f64::from(*value))
}

#[test]
fn rms_norm_is_the_definition() {
    for level in Level::available() {
        for length in lengths() {
            for size in [1e-3, 1.0, 1e15] {
                let (input, weight) = (numbers(length, 1, size), numbers(length, 5, 2.0));
                let mut output = vec![f32::NAN; length];
                rms_norm(level, &input, &weight, 1e-6, &mut output);
                let mean = wide(&input).map(|x| x * x).sum::<f64>() / length as f64;
                let factor = 1.0 / (mean + f64::from(1e-6_f32)).sqrt();
                let expected: Vec<f64> = wide(&input).zip(wide(&weight)).map(|(x, w)| x * factor * w).collect();
                assert_close(&output, &expected, 2e-6, 1e-30, &format!("{level:?}, {length}, {size}"));
            }
        }
    }
}

#[test]
fn layer_norm_is_the_definition_with_and_without_bias() {
    for level in Level::available() {
        for length in lengths() {
            let (weight, bias) = (numbers(length, 5, 2.0), numbers(length, 8, 1.0));
            for (bias, shift) in [(None, 0.0), (Some(&bias[..]), 0.0), (Some(&bias[..]), 10.0)] {
                let input: Vec<f32> = numbers(length, 3, 1.5).iter().map(|x| x + shift).collect();
                let mut output = vec![f32::NAN; length];
                layer_norm(level, &input, &weight, bias, 1e-5, &mut output);
                let mean = wide(&input).sum::<f64>() / length as f64;
                let variance = wide(&input).map(|x| (x - mean) * (x - mean)).sum::<f64>() / length as f64;
                let factor = 1.0 / (variance + f64::from(1e-5_f32)).sqrt();
                let expected: Vec<f64> = (0..length)
                    .map(|index| {
                        (f64::from(input[index]) - mean) * factor * f64::from(weight[index])
                            + bias.map_or(0.0, |bias| f64::from(bias[index]))
                    })
                    .collect();
                // The mean of numbers near 10 is off by some 1e-6, which a deviation near 1 leaves as it is; the
                // deviation of one or two numbers may be far smaller.
                let absolute = if length < 8 { 1e-3 } else { 2e-5 };
                assert_close(&output, &expected, 1e-5, absolute, &format!("{level:?}, {length}, {shift}"));
            }
        }
    }
}

#[test]
fn softmax_is_the_definition() {
    for level in Level::available() {
        for length in lengths() {
            for size in [0.0, 1e-20, 1.0, 30.0, 1e30] {
                let input = numbers(length, 2, size);
                let mut output = vec![f32::NAN; length];
                softmax(level, &input, &mut output);
                let greatest = wide(&input).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = wide(&input).map(|x| (x - greatest).exp()).sum();
                let expected: Vec<f64> = wide(&input).map(|x| (x - greatest).exp() / sum).collect();
                assert_close(
                    &output,
                    &expected,
                    1e-6 + 2e-7 * f64::from(size.min(30.0)),
                    1e-44,
                    &format!("{level:?}, {length}, {size}"),
                );
            }
        }
    }
}

#[test]
fn unseen_scores_get_no_share_and_nothing_comes_of_what_is_no_number() {
    for level in Level::available() {
        let mut output = [1.0; 3];
        softmax(level, &[f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY], &mut output);
        assert_eq!(output, [0.0, 1.0, 0.0], "{level:?}");
        softmax(level, &[1.0, f32::NAN, 0.0], &mut output);
        assert!(output.iter().all(|share| share.is_nan()), "{level:?} {output:?}");
        rms_norm(level, &[1.0, f32::NAN, 0.0], &[1.0; 3], 1e-6, &mut output);
        assert!(output.iter().all(|number| number.is_nan()), "{level:?} {output:?}");
        rms_norm(level, &[0.0; 3], &[1.0; 3], 1e-6, &mut output);
        assert_eq!(output, [0.0; 3], "{level:?}");
    }
}

type RowFunction = fn(Level, &[f32], &mut [f32]);
type GatedFunction = fn(Level, &[f32], &[f32], &mut [f32]);

/// A function, what it should be, and the relative and absolute tolerance.
struct Case {
    name: &'static str,
    function: RowFunction,
    gated: Option<GatedFunction>,
    expected: fn(f64) -> f64,
    tolerance: fn(f64) -> (f64, f64),
    at_infinities: [f32; 2],
}

const CASES: [Case; 6] = [
    Case {
        name: "exp",
        function: exp,
        gated: None,
        expected: f64::exp,
        tolerance: |_| (3.0 * ULP, 1.5e-45),
        at_infinities: [0.0, f32::INFINITY],
    },
    Case {
        name: "sigmoid",
        function: sigmoid,
        gated: None,
        expected: |x| 1.0 / (1.0 + (-x).exp()),
        tolerance: |_| (5.0 * ULP, 1e-38),
        at_infinities: [0.0, 1.0],
    },
    Case {
        name: "tanh",
        function: tanh,
        gated: None,
        expected: f64::tanh,
        tolerance: |_| (0.0, 3e-7),
        at_infinities: [-1.0, 1.0],
    },
    Case {
        name: "silu",
        function: silu,
        gated: Some(silu_gated),
        expected: |x| x / (1.0 + (-x).exp()),
        tolerance: |_| (1e-6, 2e-36),
        at_infinities: [0.0, f32::INFINITY],
    },
    Case {
        name: "gelu_erf",
        function: gelu_erf,
        gated: Some(gelu_erf_gated),
        expected: |x| x * 0.5 * erfc(-x / std::f64::consts::SQRT_2),
        tolerance: |x| if x < 0.0 { (2e-5, 1e-42) } else { (1e-6, 1e-45) },
        at_infinities: [0.0, f32::INFINITY],
    },
    Case {
        name: "gelu_tanh",
        function: gelu_tanh,
        gated: Some(gelu_tanh_gated),
        expected: |x| {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            x / (1.0 + (-2.0 * u).exp())
        },
        tolerance: |_| (2e-5, 2e-36),
        at_infinities: [0.0, f32::INFINITY],
    },
];

const ULP: f64 = 1.0 / 8_388_608.0;

/// The complement of the error function by its series (below 3) and continued fraction (from 3 on).
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let mut fraction = 0.0;
    for n in (1..100).rev() {
        fraction = f64::from(n) / 2.0 / (x + fraction);
    }
    (-x * x).exp() / std::f64::consts::PI.sqrt() / (x + fraction)
}

fn check(case: &Case, input: &[f32]) {
    for level in Level::available() {
        let mut output = vec![f32::NAN; input.len()];
        (case.function)(level, input, &mut output);
        for (x, found) in input.iter().zip(&output) {
            let expected = (case.expected)(f64::from(*x));
            let (relative, absolute) = (case.tolerance)(f64::from(*x));
            if expected.abs() > f64::from(f32::MAX) {
                assert!(found.is_infinite(), "{} of {x} with {level:?}: {found}", case.name);
                continue;
            }
            let distance = (f64::from(*found) - expected).abs();
            let allowed = relative * expected.abs() + absolute;
            assert!(distance <= allowed, "{} of {x} with {level:?}: {found}, not {expected}", case.name);
        }
        if let Some(gated) = case.gated {
            let up = numbers(input.len(), 11, 3.0);
            let mut product = vec![f32::NAN; input.len()];
            gated(level, input, &up, &mut product);
            let expected: Vec<u32> = output.iter().zip(&up).map(|(a, b)| (a * b).to_bits()).collect();
            let product: Vec<u32> = product.iter().map(|x| x.to_bits()).collect();
            assert_eq!(product, expected, "{} gated with {level:?}", case.name);
        }
    }
}

#[test]
fn functions_are_within_their_tolerance_for_every_length_and_size() {
    for case in &CASES {
        for length in lengths() {
            check(case, &numbers(length, length, 8.0));
        }
        for size in [1e-40, 1e-10, 1e-3, 1.0, 20.0, 100.0, 1000.0] {
            check(case, &numbers(4001, 0, size));
        }
        check(case, &[0.0, -0.0]);
    }
}

#[test]
fn functions_end_where_numbers_end() {
    for case in &CASES {
        for level in Level::available() {
            let input = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, -1e30, 1e30];
            let mut output = [7.0; 5];
            (case.function)(level, &input, &mut output);
            assert_eq!(output[..2], case.at_infinities, "{} with {level:?}", case.name);
            assert!(output[2].is_nan(), "{} with {level:?}", case.name);
            assert_eq!(output[3], case.at_infinities[0], "{} with {level:?}", case.name);
        }
    }
}

proptest! {
    #[test]
    fn functions_are_within_their_tolerance_anywhere(
        input in prop::collection::vec(-120f32..120.0, 1..40)
    ) {
        CASES.iter().for_each(|case| check(case, &input));
    }

    #[test]
    fn sums_are_the_sums(left in prop::collection::vec(any::<f32>(), 1..200), seed in 0usize..1000) {
        let right = numbers(left.len(), seed, 1e3);
        let expected: Vec<u32> = left.iter().zip(&right).map(|(a, b)| (a + b).to_bits()).collect();
        for level in Level::available() {
            let mut output = vec![0.0; left.len()];
            add(level, &left, &right, &mut output);
            prop_assert_eq!(output.iter().map(|x| x.to_bits()).collect::<Vec<u32>>(), expected.clone());
            output.copy_from_slice(&left);
            add_assign(level, &right, &mut output);
            prop_assert_eq!(output.iter().map(|x| x.to_bits()).collect::<Vec<u32>>(), expected.clone());
        }
    }
}

#[test]
#[should_panic(expected = "the weight has 3 numbers, but the output has 4")]
fn rows_of_different_lengths_are_refused() {
    rms_norm(Level::Portable, &[0.0; 4], &[0.0; 3], 1e-6, &mut [0.0; 4]);
}
