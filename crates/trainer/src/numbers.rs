//! Loops over numbers, written so that the compiler makes vector instructions of them, once for each instruction set.
//!
//! Sums are kept in sixteen lanes, because the compiler may not change the order of additions by itself. All of it is plain safe Rust;
//! `pulp` chooses what the processor has.

mod activation;
mod channels;
mod norm;
mod softmax;
mod update;

pub(crate) use activation::{Activation, activate, activate_backward, gate, gate_backward};
pub(crate) use channels::{Scaled, Then, add_squares, gradient_sums, greatest_of_four, norm_gradient, scale_channels};
pub(crate) use norm::{NormGradients, RowStatistics, layer_norm, layer_norm_backward, rms_norm, rms_norm_backward};
pub(crate) use softmax::{Smoothed, cross_entropy, exponentials, softmax_gradient};
pub(crate) use update::{Update, average, scale_of_norm, square_sum, update};

/// Numbers that are worked on side by side.
pub(crate) const LANES: usize = 16;

/// Compiles a loop for each instruction set. Everything it calls must be `#[inline(always)]`, because a function of its own would be
/// compiled for the oldest processor.
macro_rules! vectorised {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident<$life:lifetime>($($argument:ident: $type:ty),* $(,)?) -> $output:ty $body:block) => {
        $(#[$meta])*
        $visibility fn $name<$life>($($argument: $type),*) -> $output {
            struct Loop<$life> {
                $($argument: $type,)*
                marker: std::marker::PhantomData<&$life ()>,
            }
            impl<$life> pulp::WithSimd for Loop<$life> {
                type Output = $output;

                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) -> $output {
                    let Loop { $($argument,)* .. } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Loop { $($argument,)* marker: std::marker::PhantomData })
        }
    };
}
pub(crate) use vectorised;

/// Returns the sum of the lanes, always in the same order.
#[inline(always)]
pub(crate) fn sum_of(lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    let mut lanes = lanes;
    while half > 0 {
        for place in 0..half {
            lanes[place] += lanes[place + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Returns the sum of what `of` gives for each place.
#[inline(always)]
pub(crate) fn sum_over(length: usize, of: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let whole = length / LANES * LANES;
    let mut place = 0;
    while place < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += of(place + lane);
        }
        place += LANES;
    }
    let mut rest = 0.0;
    while place < length {
        rest += of(place);
        place += 1;
    }
    sum_of(lanes) + rest
}

/// Returns e^x, within 3e-7 of itself; numbers beyond what f32 holds give its bounds.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding it leaves the nearest whole number in the last bits.
    const MAGIC: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let whole = shifted - MAGIC;
    let rest = whole.mul_add(-0.693_359_4, x);
    let rest = whole.mul_add(2.121_944_4e-4, rest);
    let mut series = 1.987_569_1e-4_f32;
    series = series.mul_add(rest, 1.398_199_9e-3);
    series = series.mul_add(rest, 8.333_452e-3);
    series = series.mul_add(rest, 4.166_579_6e-2);
    series = series.mul_add(rest, 1.666_666_5e-1);
    series = series.mul_add(rest, 0.5);
    let power = series.mul_add(rest * rest, rest) + 1.0;
    f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// Returns 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

vectorised! {
    /// Adds numbers to others.
    pub(crate) fn add_to<'a>(target: &'a mut [f32], addend: &'a [f32]) -> () {
        target.iter_mut().zip(addend).for_each(|(target, addend)| *target += addend);
    }
}

vectorised! {
    /// Adds the columns of rows up, onto what is there.
    pub(crate) fn add_columns<'a>(rows: &'a [f32], sums: &'a mut [f32]) -> () {
        for row in rows.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_those_of_the_standard_library() {
        for step in -8700..8800 {
            let x = step as f32 * 0.01;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 3e-7, "e^{x} is {found}, not {expected}");
        }
        assert_eq!((exp(0.0), sigmoid(0.0)), (1.0, 0.5));
        assert!(exp(-1000.0) < 1e-37 && exp(1000.0) > 1e38 && exp(1000.0).is_finite());
    }

    #[test]
    fn sums_have_every_place_once() {
        for length in [0, 1, 15, 16, 17, 100] {
            let expected = (0..length).sum::<usize>() as f32;
            assert_eq!(sum_over(length, |place| place as f32), expected);
        }
    }
}
