//! What the tests of operations on images share: the definition of a window in f64, and pools of every kind.

use crate::images::{Images, Window};
use crate::{Level, Pool, PoolOptions};

/// Returns numbers from -1 to 1 that look random and are the same every time.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

pub(crate) fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// Windows as networks have them, and odd ones.
pub(crate) fn windows() -> Vec<Window> {
    vec![
        Window::PIXEL,
        Window::square(1, 2, 0),
        Window::square(3, 1, 1),
        Window::square(3, 2, 1),
        Window::square(5, 2, 2),
        Window::square(7, 2, 3),
        Window::same(3, 2, [11, 23]),
        Window { size: [2, 3], stride: [1, 3], dilation: [3, 2], before: [1, 3], after: [2, 0] },
    ]
}

/// Runs `work` on pools of every level with one and with two threads; its numbers must be the same on both.
pub(crate) fn for_each_pool(work: &mut dyn FnMut(&Pool) -> Vec<f32>) {
    for level in Level::available() {
        let pool = |threads| Pool::new(&PoolOptions { threads, level, ..PoolOptions::default() }).unwrap();
        let (one, two) = (work(&pool(1)), work(&pool(2)));
        assert_eq!(bits(&one), bits(&two), "{level:?}: two threads give other numbers than one");
    }
}

/// Returns the sums of the products of what a window sees with `weight(output, place, channel)`, in the order of [`Images`].
pub(crate) fn definition(
    images: Images<'_>,
    window: Window,
    outputs: usize,
    weight: &dyn Fn(usize, usize, usize) -> f64,
) -> Vec<f64> {
    let [height, width] = window.output([images.height, images.width]);
    let mut sums = Vec::with_capacity(images.count * height * width * outputs);
    for image in 0..images.count {
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let seen = seen(images, window, image, [y, x]);
            for output in 0..outputs {
                let products = seen.iter().map(|(place, pixel)| {
                    let terms = pixel.iter().enumerate();
                    terms.map(|(channel, number)| f64::from(*number) * weight(output, *place, channel)).sum::<f64>()
                });
                sums.push(products.sum());
            }
        }
    }
    sums
}

/// Returns the places of a window that lie within the image, with the pixels there.
pub(crate) fn seen<'a>(
    images: Images<'a>,
    window: Window,
    image: usize,
    [y, x]: [usize; 2],
) -> Vec<(usize, &'a [f32])> {
    let mut seen = Vec::new();
    for down in 0..window.size[0] {
        for right in 0..window.size[1] {
            let row = (y * window.stride[0] + down * window.dilation[0]).checked_sub(window.before[0]);
            let column = (x * window.stride[1] + right * window.dilation[1]).checked_sub(window.before[1]);
            if let (Some(row), Some(column)) = (row, column)
                && row < images.height
                && column < images.width
            {
                let pixel = ((image * images.height + row) * images.width + column) * images.channels;
                seen.push((down * window.size[1] + right, &images.data[pixel..pixel + images.channels]));
            }
        }
    }
    seen
}
