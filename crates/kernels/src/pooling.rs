//! The greatest and the mean of what a window sees, channel by channel.

use crate::images::{Images, Window};
use crate::lanes::{self, Kernel, LANES, Lanes};
use crate::{Level, Step};

const PARTS_PER_THREAD: usize = 4;

/// Writes the greatest number of each channel within the window; zeros around images are not seen. A number that is none may
/// be lost beside others.
///
/// # Panics
/// When lengths do not fit together, the window stands still, or it sees nothing of an image somewhere.
pub fn max_pool(step: &mut Step<'_>, images: Images<'_>, window: Window, output: &mut [f32]) {
    pool(step, images, window, Kind::Greatest, output);
}

/// Writes the mean of the numbers of each channel within the window; zeros around images are not counted.
///
/// # Panics
/// As [`max_pool`].
pub fn average_pool(step: &mut Step<'_>, images: Images<'_>, window: Window, output: &mut [f32]) {
    pool(step, images, window, Kind::Mean, output);
}

/// Writes the mean of each channel of each image.
///
/// # Panics
/// When lengths do not fit together, or images have no pixels.
pub fn global_average_pool(step: &mut Step<'_>, images: Images<'_>, output: &mut [f32]) {
    let window = Window { size: [images.height, images.width], ..Window::PIXEL };
    pool(step, images, window, Kind::Mean, output);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Greatest,
    Mean,
}

fn pool(step: &mut Step<'_>, images: Images<'_>, window: Window, kind: Kind, output: &mut [f32]) {
    window.check();
    let [height, width] = window.output([images.height, images.width]);
    images.check(output, [height, width], images.channels);
    for (axis, (side, outputs)) in [(images.height, height), (images.width, width)].into_iter().enumerate() {
        let is_blind = |place: usize| window.within(axis, place, side).is_empty();
        assert!(!(0..outputs).any(is_blind), "{window:?} sees nothing of a side of {side} somewhere");
    }
    if output.is_empty() {
        return;
    }
    let (level, pixels) = (step.level(), images.count * height * width);
    let per_part = pixels.div_ceil(step.threads() * PARTS_PER_THREAD);
    step.for_each_piece(output, per_part * images.channels, &|part, piece| {
        for (index, output) in piece.chunks_exact_mut(images.channels).enumerate() {
            let pixel = part * per_part + index;
            let place = Place { image: pixel / (height * width), y: pixel / width % height, x: pixel % width };
            run(level, Pixel { images, window, kind, place, output });
        }
    });
}

fn run(level: Level, pixel: Pixel<'_>) {
    lanes::run(level, pixel);
}

#[derive(Clone, Copy)]
struct Place {
    image: usize,
    y: usize,
    x: usize,
}

/// One pixel of the output.
struct Pixel<'a> {
    images: Images<'a>,
    window: Window,
    kind: Kind,
    place: Place,
    output: &'a mut [f32],
}

impl Kernel for Pixel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (images, window, Place { image, y, x }) = (self.images, self.window, self.place);
        let down = window.within(0, y, images.height);
        let right = window.within(1, x, images.width);
        let (top, left) = (window.start(0, y), window.start(1, x));
        let factor = lanes.splat(1.0 / (down.len() * right.len()) as f32);
        for (group, output) in self.output.chunks_mut(LANES).enumerate() {
            let channels = group * LANES..group * LANES + output.len();
            let mut result = match self.kind {
                Kind::Greatest => lanes.splat(f32::NEG_INFINITY),
                Kind::Mean => lanes.splat(0.0),
            };
            for down in down.clone() {
                let row = images.row(image, top.wrapping_add_unsigned(down * window.dilation[0]).cast_unsigned());
                for right in right.clone() {
                    let pixel = left.wrapping_add_unsigned(right * window.dilation[1]).cast_unsigned();
                    let pixel = pixel * images.channels;
                    let numbers = &row[pixel + channels.start..pixel + channels.end];
                    let numbers = match numbers.first_chunk::<LANES>() {
                        Some(numbers) => lanes.load(numbers),
                        None => lanes.load_first(numbers),
                    };
                    result = match self.kind {
                        Kind::Greatest => lanes.max(result, numbers),
                        Kind::Mean => lanes.add(result, numbers),
                    };
                }
            }
            if self.kind == Kind::Mean {
                result = lanes.multiply(result, factor);
            }
            lanes.store_first(result, output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images_tests::{for_each_pool, numbers, seen};

    #[test]
    fn pools_are_their_definitions() {
        let windows = [
            Window::square(3, 2, 1),
            Window::square(2, 2, 0),
            Window { size: [2, 3], stride: [1, 2], dilation: [2, 1], before: [1, 0], after: [0, 2] },
        ];
        for window in windows {
            for channels in [3, 16, 37] {
                let (count, height, width) = (2, 9, 14);
                let data = numbers(count * height * width * channels, 8);
                let images = Images { data: &data, count, height, width, channels };
                let output = window.output([height, width]);
                for_each_pool(&mut |pool| {
                    let length = count * output[0] * output[1] * channels;
                    let (mut greatest, mut means) = (vec![f32::NAN; length], vec![f32::NAN; length]);
                    pool.step(|step| max_pool(step, images, window, &mut greatest));
                    pool.step(|step| average_pool(step, images, window, &mut means));
                    for index in 0..length {
                        let (pixel, channel) = (index / channels, index % channels);
                        let place = [pixel / output[1] % output[0], pixel % output[1]];
                        let seen = seen(images, window, pixel / (output[0] * output[1]), place);
                        let numbers = seen.iter().map(|(_, pixel)| pixel[channel]);
                        assert_eq!(greatest[index], numbers.clone().fold(f32::NEG_INFINITY, f32::max), "{window:?}");
                        let mean = numbers.map(f64::from).sum::<f64>() / seen.len() as f64;
                        assert!((f64::from(means[index]) - mean).abs() < 1e-6, "{window:?}");
                    }
                    greatest.into_iter().chain(means).collect()
                });
            }
        }
    }

    #[test]
    fn global_mean_is_that_of_each_image() {
        let (height, width, channels) = (5, 7, 19);
        let data = numbers(3 * 35 * channels, 9);
        let images = Images { data: &data, count: 3, height, width, channels };
        for_each_pool(&mut |pool| {
            let mut found = vec![f32::NAN; 3 * channels];
            pool.step(|step| global_average_pool(step, images, &mut found));
            for (index, found) in found.iter().enumerate() {
                let of_image = data[index / channels * 35 * channels..].iter().skip(index % channels);
                let mean = of_image.step_by(channels).take(35).map(|number| f64::from(*number)).sum::<f64>() / 35.0;
                assert!((f64::from(*found) - mean).abs() < 1e-6, "{index}");
            }
            found
        });
    }

    #[test]
    #[should_panic(expected = "sees nothing")]
    fn window_that_sees_nothing_somewhere_is_refused() {
        let pool = crate::Pool::new(&crate::PoolOptions::default()).unwrap();
        let images = Images { data: &[0.0; 9], count: 1, height: 3, width: 3, channels: 1 };
        pool.step(|step| max_pool(step, images, Window::square(2, 1, 2), &mut [0.0; 36]));
    }
}
