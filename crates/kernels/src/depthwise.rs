//! Depthwise convolution: each channel with a window of its own.
//!
//! Sixteen channels are worked on together. Along a row of the output several sums run side by side, so that a load of weights
//! serves all of them and no addition waits for the one before it. Each sum runs over the places of the window in order, and
//! places outside of the image are left out, wherever the sum stands: how a row is cut changes no bit.

use std::ops::Range;

use crate::images::{Images, Window};
use crate::lanes::{self, Kernel, LANES, Lanes};
use crate::{Nonlinearity, Step};

/// Rows of the output per part, at least; smaller parts cost more than they spread.
const PARTS_PER_THREAD: usize = 4;

/// The weights of a depthwise convolution.
#[derive(Debug, Clone, Copy)]
pub struct Depthwise<'a> {
    /// How the window goes over images.
    pub window: Window,
    /// For each place of the window, row by row, one number per channel.
    pub weights: &'a [f32],
    /// Is added, one number per channel.
    pub bias: &'a [f32],
    /// What becomes of each sum.
    pub then: Option<Nonlinearity>,
}

/// Writes the convolution of images, in the order of [`Images`].
///
/// # Panics
/// When lengths do not fit together or the window stands still.
pub fn convolve_depthwise(step: &mut Step<'_>, images: Images<'_>, depthwise: Depthwise<'_>, output: &mut [f32]) {
    let Depthwise { window, weights, bias, .. } = depthwise;
    window.check();
    let channels = images.channels;
    let [height, width] = window.output([images.height, images.width]);
    images.check(output, [height, width], channels);
    assert!(weights.len() == window.area() * channels, "{} weights for {window:?}", weights.len());
    assert!(bias.len() == channels, "{} numbers of bias for {channels} channels", bias.len());
    if output.is_empty() {
        return;
    }
    let (level, rows) = (step.level(), images.count * height);
    let rows_per_part = rows.div_ceil(step.threads() * PARTS_PER_THREAD);
    let is_inner = |x: &usize| window.within(1, *x, images.width) == (0..window.size[1]);
    let inner = match ((0..width).find(is_inner), (0..width).rfind(is_inner)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
    };
    let call = Call { images, depthwise, width, inner };
    step.for_each_piece(output, rows_per_part * width * channels, &|part, piece| {
        for (index, output) in piece.chunks_exact_mut(width * channels).enumerate() {
            let row = part * rows_per_part + index;
            lanes::run(level, Row { call: &call, image: row / height, y: row % height, output });
        }
        if let Some(then) = depthwise.then.filter(|then| !then.is_clamp()) {
            then.apply(level, piece);
        }
    });
}

struct Call<'a> {
    images: Images<'a>,
    depthwise: Depthwise<'a>,
    /// Of a row of the output.
    width: usize,
    /// Outputs of a row for which every place of the window lies within it.
    inner: Range<usize>,
}

/// One row of the output.
struct Row<'c, 'a> {
    call: &'c Call<'a>,
    image: usize,
    y: usize,
    output: &'c mut [f32],
}

impl Kernel for Row<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let channels = self.call.images.channels;
        let whole = channels / LANES * LANES;
        for first in (0..whole).step_by(LANES) {
            match L::REGISTERS {
                16.. => self.channels::<L, 8, true>(lanes, first),
                _ => self.channels::<L, 3, true>(lanes, first),
            }
        }
        if whole < channels {
            self.channels::<L, 1, false>(lanes, whole);
        }
    }
}

impl Row<'_, '_> {
    /// Computes some channels of the row; all lanes if `WHOLE`.
    #[inline(always)]
    fn channels<L: Lanes, const SIDE_BY_SIDE: usize, const WHOLE: bool>(&mut self, lanes: L, first: usize) {
        let Call { images, depthwise: Depthwise { window, .. }, width, ref inner } = *self.call;
        let down = window.within(0, self.y, images.height);
        let mut x = 0;
        while x < width {
            if inner.start <= x && x + SIDE_BY_SIDE <= inner.end {
                self.sums::<L, SIDE_BY_SIDE, WHOLE>(lanes, first, x, [down.clone(), 0..window.size[1]]);
                x += SIDE_BY_SIDE;
            } else {
                let right = window.within(1, x, images.width);
                self.sums::<L, 1, WHOLE>(lanes, first, x, [down.clone(), right]);
                x += 1;
            }
        }
    }

    /// Computes outputs that look at these places of the window.
    #[inline(always)]
    fn sums<L: Lanes, const COUNT: usize, const WHOLE: bool>(
        &mut self,
        lanes: L,
        first: usize,
        x: usize,
        [down, right]: [Range<usize>; 2],
    ) {
        let Call { images, depthwise, .. } = self.call;
        let (window, channels) = (depthwise.window, images.channels);
        let end = channels.min(first + LANES);
        let mut sums = [load::<L, WHOLE>(lanes, &depthwise.bias[first..end]); COUNT];
        let start = window.start(0, self.y);
        let from = window.start(1, x).wrapping_add_unsigned(right.start * window.dilation[1]).cast_unsigned();
        let (step, apart) = (window.dilation[1] * channels, window.stride[1] * channels);
        // Where nothing of a row is seen, there is no place to begin at.
        for down in if right.is_empty() { 0..0 } else { down } {
            let row = images.row(self.image, start.wrapping_add_unsigned(down * window.dilation[0]).cast_unsigned());
            let mut at = from * channels + first;
            let mut place = (down * window.size[1] + right.start) * channels + first;
            for _ in right.clone() {
                let weights = load::<L, WHOLE>(lanes, &depthwise.weights[place..place + end - first]);
                for (index, sum) in sums.iter_mut().enumerate() {
                    let numbers = load::<L, WHOLE>(lanes, &row[at + index * apart..][..end - first]);
                    *sum = lanes.multiply_add(numbers, weights, *sum);
                }
                at += step;
                place += channels;
            }
        }
        for (index, sum) in sums.into_iter().enumerate() {
            let pixel = (x + index) * channels;
            let target = &mut self.output[pixel + first..pixel + end];
            let sum = Nonlinearity::clamp(depthwise.then, lanes, sum);
            match <&mut [f32; LANES]>::try_from(&mut *target) {
                Ok(target) if WHOLE => lanes.store(sum, target),
                _ => lanes.store_first(sum, target),
            }
        }
    }
}

/// Returns the numbers of up to sixteen channels.
#[inline(always)]
fn load<L: Lanes, const WHOLE: bool>(lanes: L, numbers: &[f32]) -> L::F32s {
    match numbers.first_chunk::<LANES>() {
        Some(numbers) if WHOLE => lanes.load(numbers),
        _ => lanes.load_first(numbers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images_tests::{bits, definition, for_each_pool, numbers, windows};

    #[test]
    fn channels_are_those_of_f64_and_the_same_alone_and_on_any_number_of_threads() {
        for window in windows() {
            for channels in [1, 5, 16, 33, 48] {
                let (count, height, width) = (3, 11, 23);
                let (data, weights) =
                    (numbers(count * height * width * channels, 1), numbers(window.area() * channels, 2));
                let bias = numbers(channels, 3);
                let output = window.output([height, width]);
                let length = output[0] * output[1] * channels;
                let images = Images { data: &data, count, height, width, channels };
                let depthwise = Depthwise { window, weights: &weights, bias: &bias, then: Some(Nonlinearity::Relu6) };
                for_each_pool(&mut |pool| {
                    let mut found = vec![f32::NAN; count * length];
                    pool.step(|step| convolve_depthwise(step, images, depthwise, &mut found));
                    let expected = definition(images, window, channels, &|channel, place, from| {
                        if from == channel { f64::from(weights[place * channels + channel]) } else { 0.0 }
                    });
                    for (index, (found, sum)) in found.iter().zip(&expected).enumerate() {
                        let expected = (sum + f64::from(bias[index % channels])).clamp(0.0, 6.0);
                        assert!((f64::from(*found) - expected).abs() < 2e-5, "{window:?} {index}: {found} {expected}");
                    }
                    for image in 0..count {
                        let data = &data[image * height * width * channels..][..height * width * channels];
                        let mut alone = vec![f32::NAN; length];
                        let images = Images { data, count: 1, ..images };
                        pool.step(|step| convolve_depthwise(step, images, depthwise, &mut alone));
                        assert_eq!(bits(&alone), bits(&found[image * length..][..length]), "{window:?} image {image}");
                    }
                    found
                });
            }
        }
    }

    #[test]
    fn smooth_nonlinearities_follow_the_sum() {
        let pool = crate::Pool::new(&crate::PoolOptions { threads: 2, ..crate::PoolOptions::default() }).unwrap();
        let data = numbers(6 * 6 * 20, 4);
        let (weights, bias) = (numbers(9 * 20, 5), numbers(20, 6));
        let images = Images { data: &data, count: 1, height: 6, width: 6, channels: 20 };
        for then in Nonlinearity::ALL {
            let plain = Depthwise { window: Window::square(3, 1, 1), weights: &weights, bias: &bias, then: None };
            let (mut expected, mut found) = (vec![0.0; 36 * 20], vec![0.0; 36 * 20]);
            pool.step(|step| {
                convolve_depthwise(step, images, plain, &mut expected);
                convolve_depthwise(step, images, Depthwise { then: Some(then), ..plain }, &mut found);
            });
            then.apply(pool.level(), &mut expected);
            assert_eq!(bits(&found), bits(&expected), "{then:?}");
        }
    }
}
