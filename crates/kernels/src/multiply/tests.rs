use proptest::prelude::*;

use super::*;
use crate::{GroupScales, Pool, PoolOptions, WeightFormat};

fn pool(level: Level, threads: usize) -> Pool {
    Pool::new(&PoolOptions { threads, level, ..PoolOptions::default() }).unwrap()
}

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn take(&mut self, count: usize, magnitude: f32) -> Vec<f32> {
        (0..count).map(|_| self.next() * magnitude).collect()
    }
}

fn pack(format: WeightFormat, outputs: usize, inputs: usize, weights: &[f32]) -> PackedMatrix {
    PackedMatrix::pack_f32(format, outputs, inputs, &mut |output, row| {
        row.copy_from_slice(&weights[output * inputs..][..inputs]);
    })
}

fn fill(step: &mut Step<'_>, form: ActivationForm, rows: usize, width: usize, from: &[f32]) -> Activations {
    let mut activations = Activations::new();
    activations.fill(step, form, rows, width, &|row, to| to.copy_from_slice(&from[row * width..][..width]));
    activations
}

fn product(step: &mut Step<'_>, weights: &PackedMatrix, form: ActivationForm, rows: usize, from: &[f32]) -> Vec<f32> {
    let activations = fill(step, form, rows, weights.inputs(), from);
    let mut output = vec![f32::NAN; rows * weights.outputs()];
    multiply(step, weights, &activations, &mut output, Epilogue::default());
    output
}

/// Compares with sums in f64 of the weights and activations as they are stored.
fn check(weights: &PackedMatrix, activations: &Activations, found: &[f32]) -> Result<(), String> {
    let (outputs, inputs) = (weights.outputs(), weights.inputs());
    let rows: Vec<Vec<f32>> = (0..activations.rows()).map(|row| activations.read_row(row)).collect();
    let mut weight = vec![0.0; inputs];
    for output in 0..outputs {
        weights.read_row(output, &mut weight);
        for (row, numbers) in rows.iter().enumerate() {
            let pairs = || weight.iter().zip(numbers).map(|(weight, number)| (f64::from(*weight), f64::from(*number)));
            let sum: f64 = pairs().map(|(weight, number)| weight * number).sum();
            // A weight may be the small difference of an integer and an offset, both up to one half here.
            let magnitude: f64 = pairs().map(|(weight, number)| weight.abs().max(0.5) * number.abs()).sum();
            // One rounding per term of the sum, some more for scales.
            let allowed = magnitude * 2.0 * (inputs + 16) as f64 * 2_f64.powi(-24) + 1e-35;
            let found = f64::from(found[row * outputs + output]);
            if (found - sum).abs() > allowed {
                return Err(format!("row {row}, output {output}: {found}, not {sum} (within {allowed})"));
            }
        }
    }
    Ok(())
}

fn pairs() -> impl Iterator<Item = (WeightFormat, ActivationForm)> {
    WeightFormat::ALL.into_iter().flat_map(|format| {
        ActivationForm::ALL.into_iter().filter(move |form| format.accepts(*form)).map(move |form| (format, form))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_are_those_of_f64(
        rows in 1_usize..30,
        outputs in 1_usize..80,
        inputs in 1_usize..620,
        seed: u64,
        magnitude in prop_oneof![Just(1.0_f32), Just(1e-12), Just(1e12), Just(0.0)],
    ) {
        let mut numbers = Numbers(seed);
        let (weights, from) = (numbers.take(outputs * inputs, 0.5), numbers.take(rows * inputs, magnitude));
        for level in Level::available() {
            let pool = pool(level, 2);
            for (format, form) in pairs() {
                let weights = pack(format, outputs, inputs, &weights);
                let mut output = vec![f32::NAN; rows * outputs];
                let activations = pool.step(|step| {
                    let activations = fill(step, form, rows, inputs, &from);
                    multiply(step, &weights, &activations, &mut output, Epilogue::default());
                    activations
                });
                let checked = check(&weights, &activations, &output);
                prop_assert!(checked.is_ok(), "{:?} {:?} {:?}: {:?}", format, form, level, checked);
            }
        }
    }
}

#[test]
fn number_is_the_same_in_every_batch_and_on_any_number_of_threads() {
    // Wide enough that panels are cut into several pieces, in all formats.
    let (outputs, inputs, most_rows) = (70, 1700, 40);
    let mut numbers = Numbers(5);
    let (weights, from) = (numbers.take(outputs * inputs, 1.0), numbers.take(most_rows * inputs, 3.0));
    for level in Level::available() {
        let (one, two) = (pool(level, 1), pool(level, 2));
        for (format, form) in pairs() {
            let weights = pack(format, outputs, inputs, &weights);
            let single: Vec<f32> = (0..most_rows)
                .flat_map(|row| one.step(|step| product(step, &weights, form, 1, &from[row * inputs..][..inputs])))
                .collect();
            for rows in [2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 18, 23, 25, most_rows] {
                for pool in [&one, &two] {
                    let batch = pool.step(|step| product(step, &weights, form, rows, &from[..rows * inputs]));
                    assert!(
                        bits(&batch) == bits(&single[..rows * outputs]),
                        "{format:?} {form:?} {level:?}, {rows} rows, {} threads",
                        pool.threads()
                    );
                }
            }
        }
    }
}

#[test]
fn rows_beyond_a_chunk_are_the_same() {
    // One piece; several pieces of one block; several blocks, in which sums are continued.
    for inputs in [32, 96, 2200] {
        check_rows_beyond_a_chunk(inputs);
    }
}

fn check_rows_beyond_a_chunk(inputs: usize) {
    let (outputs, rows) = (40, 2 * MOST_CHUNK_ROWS + 5);
    let mut numbers = Numbers(6);
    let (weights, from) = (numbers.take(outputs * inputs, 1.0), numbers.take(rows * inputs, 3.0));
    let pool = pool(Level::best(), 2);
    for (format, form) in pairs() {
        let weights = pack(format, outputs, inputs, &weights);
        let batch = pool.step(|step| product(step, &weights, form, rows, &from));
        for row in [0, MOST_CHUNK_ROWS - 1, MOST_CHUNK_ROWS, rows - 1] {
            let single = pool.step(|step| product(step, &weights, form, 1, &from[row * inputs..][..inputs]));
            assert_eq!(bits(&batch[row * outputs..][..outputs]), bits(&single), "{format:?} {form:?} row {row}");
        }
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

#[test]
fn extreme_integers_do_not_saturate() {
    let inputs = 4096;
    for kind in GroupScales::ALL {
        for format in [WeightFormat::Int8Groups(kind), WeightFormat::Int4Groups(kind)] {
            for quant in [-128, -127, -8, -1, 0, 1, 7, 15, 127] {
                let weights = PackedMatrix::pack_groups(format, 33, inputs, &mut |_, row| {
                    row.quants.fill(quant);
                    row.scales.fill(1.0);
                    row.scale_factors.fill(1.0);
                });
                let mut stored = vec![0.0; inputs];
                weights.read_row(32, &mut stored);
                for activation in [-127.0, 127.0] {
                    let from = vec![activation; inputs];
                    for level in Level::available() {
                        let found =
                            pool(level, 1).step(|step| product(step, &weights, ActivationForm::Int8Groups, 1, &from));
                        let expected = stored[0] * activation * inputs as f32;
                        assert!(
                            found.iter().all(|found| *found == expected),
                            "{format:?} {quant} {activation} {level:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn sums_of_bytes_are_exact_at_the_widest() {
    let inputs = MOST_BYTE_INPUTS;
    let weights = pack(WeightFormat::Int8, 3, inputs, &vec![-1.0; 3 * inputs]);
    for level in Level::available() {
        let from = vec![1.0; inputs];
        let found = pool(level, 1).step(|step| product(step, &weights, ActivationForm::Int8Rows, 1, &from));
        let expected = -(inputs as f32) * 127.0 * 127.0 * (1.0 / 127.0 * (1.0 / 127.0));
        assert!(found.iter().all(|found| (found / expected - 1.0).abs() < 1e-6), "{found:?} {expected} {level:?}");
    }
}

#[test]
fn levels_agree_exactly_where_sums_are_integers() {
    let (outputs, inputs, rows) = (45, 901, 7);
    let mut numbers = Numbers(9);
    let weights = pack(WeightFormat::Int8, outputs, inputs, &numbers.take(outputs * inputs, 1.0));
    let from = numbers.take(rows * inputs, 1.0);
    let of = |level| pool(level, 1).step(|step| product(step, &weights, ActivationForm::Int8Rows, rows, &from));
    let expected = of(Level::Portable);
    for level in Level::available() {
        assert_eq!(bits(&of(level)), bits(&expected), "{level:?}");
    }
}

#[test]
fn bias_and_residual_are_added() {
    let (outputs, inputs, rows) = (50, 64, 3);
    let mut numbers = Numbers(11);
    let from = numbers.take(rows * inputs, 1.0);
    let weights = numbers.take(outputs * inputs, 1.0);
    let (bias, held) = (numbers.take(outputs, 1.0), numbers.take(rows * outputs, 1.0));
    for (format, form) in pairs() {
        let weights = pack(format, outputs, inputs, &weights);
        pool(Level::best(), 2).step(|step| {
            let plain = product(step, &weights, form, rows, &from);
            let activations = fill(step, form, rows, inputs, &from);
            let mut found = held.clone();
            multiply(step, &weights, &activations, &mut found, Epilogue { bias: Some(&bias), add: true });
            for (at, found) in found.iter().enumerate() {
                assert_eq!(*found, held[at] + (plain[at] + bias[at % outputs]));
            }
        });
    }
}

#[test]
fn row_that_is_not_finite_spoils_only_itself() {
    let (outputs, inputs, rows) = (40, 200, 3);
    let mut numbers = Numbers(12);
    let weights = numbers.take(outputs * inputs, 1.0);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut from = numbers.take(rows * inputs, 1.0);
        from[inputs + 77] = bad;
        for level in Level::available() {
            for (format, form) in pairs() {
                let weights = pack(format, outputs, inputs, &weights);
                let found = pool(level, 1).step(|step| product(step, &weights, form, rows, &from));
                assert!(found[..outputs].iter().all(|number| number.is_finite()), "{format:?} {form:?}");
                assert!(found[2 * outputs..].iter().all(|number| number.is_finite()), "{format:?} {form:?}");
                let spoilt = found[outputs..2 * outputs].iter().filter(|number| !number.is_finite()).count();
                // A weight that is rounded to 0 times infinity is NaN, and anything else stays infinite.
                assert_eq!(spoilt, outputs, "{format:?} {form:?} {level:?}");
            }
        }
    }
}

#[test]
fn product_without_rows_outputs_or_inputs() {
    pool(Level::best(), 2).step(|step| {
        for (format, form) in pairs() {
            for (rows, outputs, inputs) in [(0, 4, 4), (3, 0, 4)] {
                let weights = pack(format, outputs, inputs, &vec![1.0; outputs * inputs]);
                assert!(product(step, &weights, form, rows, &vec![1.0; rows * inputs]).is_empty());
            }
            let weights = pack(format, 5, 0, &[]);
            assert_eq!(product(step, &weights, form, 2, &[]), [0.0; 10], "{format:?} {form:?}");
        }
    });
}

#[test]
#[should_panic(expected = "as wide as the weights")]
fn width_that_does_not_fit_is_refused() {
    let weights = pack(WeightFormat::F32, 4, 4, &[0.0; 16]);
    pool(Level::best(), 1).step(|step| {
        let activations = fill(step, ActivationForm::F32, 1, 5, &[0.0; 5]);
        multiply(step, &weights, &activations, &mut [0.0; 4], Epilogue::default());
    });
}

#[test]
fn shares_cover_everything_once() {
    for (rows, panels, chunk, threads) in
        [(1, 1, 12, 8), (500, 3, 48, 2), (97, 24, 96, 3), (5, 100, 96, 1), (512, 1, 12, 4)]
    {
        let parts = Parts::new(rows, panels, chunk, threads);
        let mut seen = vec![0; rows * panels];
        for part in 0..parts.count() {
            let (rows, panels_of_part) = parts.part(part);
            rows.for_each(|row| panels_of_part.clone().for_each(|panel| seen[row * panels + panel] += 1));
        }
        assert!(seen.iter().all(|count| *count == 1), "{rows} {panels} {chunk} {threads}");
    }
}
