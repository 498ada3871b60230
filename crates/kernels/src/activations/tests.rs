use half::bf16;

use super::*;
use crate::{Level, Pool, PoolOptions};

fn numbers(rows: usize, width: usize) -> Vec<f32> {
    (0..rows * width).map(|at| ((at * 7919 % 1013) as f32 - 500.0) * 0.013).collect()
}

fn filled(pool: &Pool, form: ActivationForm, rows: usize, width: usize, from: &[f32]) -> Activations {
    let mut activations = Activations::new();
    refill(pool, &mut activations, form, rows, width, from);
    activations
}

fn refill(pool: &Pool, to: &mut Activations, form: ActivationForm, rows: usize, width: usize, from: &[f32]) {
    pool.step(|step| {
        to.fill(step, form, rows, width, &|row, to| to.copy_from_slice(&from[row * width..(row + 1) * width]));
    });
}

fn pool(level: Level) -> Pool {
    Pool::new(&PoolOptions { threads: 2, level, ..PoolOptions::default() }).unwrap()
}

#[test]
fn rounding_is_off_by_half_a_step_at_most() {
    for level in Level::available() {
        let pool = pool(level);
        for (rows, width) in [(1, 1), (3, 31), (1, 32), (40, 515), (7, 4096)] {
            let from = numbers(rows, width);
            for form in ActivationForm::ALL {
                let activations = filled(&pool, form, rows, width, &from);
                for row in 0..rows {
                    let expected = &from[row * width..(row + 1) * width];
                    for (index, (found, expected)) in activations.read_row(row).iter().zip(expected).enumerate() {
                        let allowed = match form {
                            ActivationForm::F32 => 0.0,
                            ActivationForm::Bf16 => (bf16::from_f32(*expected).to_f32() - expected).abs(),
                            ActivationForm::Int8Rows | ActivationForm::Int8Groups => 6.7 / 127.0 * 0.501,
                        };
                        assert!((found - expected).abs() <= allowed, "{form:?} {row} {index}: {found} {expected}");
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_that_are_not_finite_stay_recognisable() {
    for level in Level::available() {
        let pool = pool(level);
        for bad in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::INFINITY, f32::NEG_INFINITY] {
            for form in ActivationForm::ALL {
                let mut from = numbers(2, 100);
                from[140] = bad;
                let activations = filled(&pool, form, 2, 100, &from);
                assert!(activations.read_row(0).iter().all(|number| number.is_finite()));
                assert!(activations.read_row(1).iter().any(|number| !number.is_finite()), "{bad} {form:?} {level:?}");
            }
        }
    }
}

#[test]
fn magnitudes_at_the_ends_of_the_range_are_rounded() {
    let pool = pool(Level::Portable);
    for magnitude in [0.0, -0.0, f32::MIN_POSITIVE, 1e-40, 1e-36, 2e-36, 1e30, 3e38] {
        let from = [magnitude, -magnitude, magnitude / 2.0, 0.0];
        for form in [ActivationForm::Int8Rows, ActivationForm::Int8Groups] {
            let found = filled(&pool, form, 1, 4, &from).read_row(0);
            for (found, expected) in found.iter().zip(from) {
                assert!((found - expected).abs() <= magnitude.abs() * 0.005 + 1e-36, "{found} {expected}");
            }
        }
    }
}

#[test]
fn refilling_does_not_allocate() {
    let pool = pool(Level::best());
    for form in ActivationForm::ALL {
        let mut activations = filled(&pool, form, 20, 700, &numbers(20, 700));
        let before = (activations.words.as_ptr(), activations.scratch.as_ptr(), activations.quantised_groups.as_ptr());
        for (rows, width) in [(1, 700), (20, 33), (20, 700)] {
            refill(&pool, &mut activations, form, rows, width, &numbers(rows, width));
        }
        let after = (activations.words.as_ptr(), activations.scratch.as_ptr(), activations.quantised_groups.as_ptr());
        assert_eq!(before, after);
    }
}

#[test]
fn what_an_earlier_filling_left_behind_is_gone() {
    let pool = pool(Level::best());
    for form in ActivationForm::ALL {
        let mut activations = filled(&pool, form, 4, 200, &numbers(4, 200));
        refill(&pool, &mut activations, form, 3, 33, &numbers(3, 33));
        let expected = filled(&pool, form, 3, 33, &numbers(3, 33));
        let padded = 64 / form.per_word();
        for row in 0..3 {
            let at = row * expected.stride();
            assert_eq!(activations.words()[at..at + padded], expected.words()[at..at + padded], "{form:?}");
        }
    }
}
