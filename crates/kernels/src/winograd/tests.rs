use super::*;
use crate::Pool;
use crate::images_tests::{bits, definition, for_each_pool, numbers};

fn run(pool: &Pool, images: Images<'_>, weights: &WinogradWeights, epilogue: Epilogue<'_>) -> Vec<f32> {
    let mut output = vec![0.25; images.count * images.height * images.width * weights.outputs()];
    let mut buffers = ConvolutionBuffers::default();
    pool.step(|step| convolve_winograd(step, images, weights, &mut buffers, &mut output, epilogue));
    output
}

#[test]
fn convolutions_are_those_of_f64_and_the_same_alone() {
    let sizes = [(3, 5, 4, 4), (16, 33, 7, 9), (40, 16, 1, 2), (64, 64, 13, 6), (8, 48, 30, 31)];
    for (channels, outputs, height, width) in sizes {
        let count = 3;
        let data = numbers(count * height * width * channels, 1);
        let values = numbers(outputs * 9 * channels, 2);
        let bias = numbers(outputs, 3);
        let images = Images { data: &data, count, height, width, channels };
        let weight = |output: usize, place: usize, channel: usize| values[(output * channels + channel) * 9 + place];
        let weights = WinogradWeights::pack(outputs, channels, &|output, channel| {
            std::array::from_fn(|place| weight(output, place, channel))
        });
        let window = Window::square(3, 1, 1);
        let of = |output, place, channel| f64::from(weight(output, place, channel));
        let sums = definition(images, window, outputs, &of);
        let sizes: Vec<f32> = data.iter().map(|number| number.abs()).collect();
        let magnitudes = definition(Images { data: &sizes, ..images }, window, outputs, &|o, p, c| of(o, p, c).abs());
        let greatest = magnitudes.iter().fold(0.0_f64, |most, number| most.max(*number));
        for (add, bias) in [(true, Some(&bias[..])), (false, None)] {
            for_each_pool(&mut |pool| {
                let epilogue = Epilogue { bias, add };
                let found = run(pool, images, &weights, epilogue);
                for (index, found) in found.iter().enumerate() {
                    let more = bias.map_or(0.0, |bias| f64::from(bias[index % outputs])) + if add { 0.25 } else { 0.0 };
                    let difference = (f64::from(*found) - sums[index] - more).abs();
                    // A share of the greatest sum of magnitudes in reach, since a tile's outputs are made of the same places.
                    assert!(difference < 3e-6 * greatest, "{channels} {outputs} {index}: {difference} of {greatest}");
                }
                let (in_image, out_of_image) = (data.len() / count, found.len() / count);
                for image in 0..count {
                    let one = Images { data: &data[image * in_image..][..in_image], count: 1, ..images };
                    let alone = run(pool, one, &weights, epilogue);
                    assert_eq!(bits(&alone), bits(&found[image * out_of_image..][..out_of_image]), "image {image}");
                }
                found
            });
        }
    }
}

#[test]
fn several_strips_are_one_convolution() {
    let (height, width, channels, outputs) = (70, 60, 48, 32);
    let data = numbers(height * width * channels, 4);
    let values = numbers(outputs * 9 * channels, 5);
    let images = Images { data: &data, count: 1, height, width, channels };
    let tiles = height.div_ceil(TILE) * width.div_ceil(TILE);
    assert!(PLACES * tiles * channels * 4 > STRIP_BYTES, "the test has several strips");
    let weight = |output: usize, place: usize, channel: usize| values[(output * channels + channel) * 9 + place];
    let weights = WinogradWeights::pack(outputs, channels, &|output, channel| {
        std::array::from_fn(|place| weight(output, place, channel))
    });
    let window = Window::square(3, 1, 1);
    let expected = definition(images, window, outputs, &|o, p, c| f64::from(weight(o, p, c)));
    for_each_pool(&mut |pool| {
        let found = run(pool, images, &weights, Epilogue::default());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 3e-4, "{found} {expected}");
        }
        found
    });
}

#[test]
fn image_that_is_not_finite_spoils_only_itself() {
    let mut data = numbers(2 * 36 * 8, 6);
    data[40] = f32::NAN;
    let images = Images { data: &data, count: 2, height: 6, width: 6, channels: 8 };
    let weights = WinogradWeights::pack(7, 8, &|output, channel| [(output + channel) as f32 * 0.1; 9]);
    for_each_pool(&mut |pool| {
        let found = run(pool, images, &weights, Epilogue::default());
        let (first, second) = found.split_at(36 * 7);
        assert!(first.iter().any(|number| number.is_nan()) && second.iter().all(|number| number.is_finite()));
        second.to_vec()
    });
}
