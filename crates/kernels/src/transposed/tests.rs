use super::*;
use crate::images_tests::{bits, for_each_pool, numbers};
use crate::{Pool, WeightFormat};

const WINDOWS: [TransposedWindow; 6] = [
    TransposedWindow { size: 4, stride: 2, padding: 1 },
    TransposedWindow { size: 2, stride: 2, padding: 0 },
    TransposedWindow { size: 3, stride: 2, padding: 1 },
    TransposedWindow { size: 3, stride: 1, padding: 1 },
    TransposedWindow { size: 5, stride: 3, padding: 1 },
    TransposedWindow { size: 7, stride: 2, padding: 3 },
];

/// Packs weights in the order of torch, `[channels, outputs, size, size]`.
fn pack(
    format: WeightFormat,
    window: TransposedWindow,
    channels: usize,
    outputs: usize,
    values: &[f32],
) -> Vec<PackedMatrix> {
    let area = window.size * window.size;
    let of_phase = |phase: Phase| {
        let places = phase.places();
        PackedMatrix::pack_f32(format, outputs, places.len() * channels, &mut |output, row| {
            for (place, pixel) in places.iter().zip(row.chunks_exact_mut(channels)) {
                for (channel, number) in pixel.iter_mut().enumerate() {
                    *number = values[(channel * outputs + output) * area + place];
                }
            }
        })
    };
    window.phases().into_iter().map(of_phase).collect()
}

fn run(
    pool: &Pool,
    images: Images<'_>,
    window: TransposedWindow,
    weights: &[PackedMatrix],
    form: ActivationForm,
    bias: &[f32],
) -> Vec<f32> {
    let [height, width] = window.output([images.height, images.width]);
    let mut output = vec![f32::NAN; images.count * height * width * bias.len()];
    let mut buffers = ConvolutionBuffers::default();
    pool.step(|step| {
        convolve_transposed(step, images, window, weights, form, &mut buffers, &mut output, Some(bias));
    });
    output
}

/// Lets each pixel add its window, in f64.
fn definition(images: Images<'_>, window: TransposedWindow, values: &[f32], bias: &[f32]) -> Vec<f64> {
    let [height, width] = window.output([images.height, images.width]);
    let outputs = bias.len();
    let mut sums: Vec<f64> =
        (0..images.count * height * width).flat_map(|_| bias.iter().map(|b| f64::from(*b))).collect();
    let place = |pixel: usize, tap: usize, side: usize| {
        (pixel * window.stride + tap).checked_sub(window.padding).filter(|place| *place < side)
    };
    for (pixel, numbers) in images.data.chunks_exact(images.channels).enumerate() {
        let (image, y, x) =
            (pixel / (images.height * images.width), pixel / images.width % images.height, pixel % images.width);
        for (down, right) in (0..window.size).flat_map(|down| (0..window.size).map(move |right| (down, right))) {
            let (Some(row), Some(column)) = (place(y, down, height), place(x, right, width)) else { continue };
            let sums = &mut sums[((image * height + row) * width + column) * outputs..][..outputs];
            for (channel, number) in numbers.iter().enumerate() {
                for (output, sum) in sums.iter_mut().enumerate() {
                    let weight = values[((channel * outputs + output) * window.size + down) * window.size + right];
                    *sum += f64::from(*number) * f64::from(weight);
                }
            }
        }
    }
    sums
}

#[test]
fn transposed_convolutions_are_those_of_f64_and_the_same_alone() {
    for window in WINDOWS {
        for (channels, outputs, height, width) in [(3, 5, 4, 7), (16, 33, 6, 5), (2, 1, 1, 1)] {
            let count = 3;
            let data = numbers(count * height * width * channels, 1);
            let values = numbers(channels * outputs * window.size * window.size, 2);
            let bias = numbers(outputs, 3);
            let images = Images { data: &data, count, height, width, channels };
            let expected = definition(images, window, &values, &bias);
            let precisions = [
                (WeightFormat::F32, ActivationForm::F32, 2e-5),
                // Of each of at most 16 places and 16 channels 2^-8 for both factors, and they seldom all agree.
                (WeightFormat::Bf16, ActivationForm::Bf16, 0.15),
                (WeightFormat::Int8, ActivationForm::Int8Rows, 0.3),
            ];
            for (format, form, allowed) in precisions {
                let weights = pack(format, window, channels, outputs, &values);
                for_each_pool(&mut |pool| {
                    let found = run(pool, images, window, &weights, form, &bias);
                    assert_eq!(found.len(), expected.len());
                    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        let difference = (f64::from(*found) - expected).abs();
                        assert!(difference < allowed, "{window:?} {form:?} {index}: {found}, not {expected}");
                    }
                    let (in_image, out_of_image) = (data.len() / count, found.len() / count);
                    for image in 0..count {
                        let one = Images { data: &data[image * in_image..][..in_image], count: 1, ..images };
                        let alone = run(pool, one, window, &weights, form, &bias);
                        assert_eq!(bits(&alone), bits(&found[image * out_of_image..][..out_of_image]), "{window:?}");
                    }
                    found
                });
            }
        }
    }
}

#[test]
fn every_place_of_a_window_belongs_to_one_phase() {
    for window in WINDOWS {
        let mut places: Vec<usize> = window.phases().iter().flat_map(Phase::places).collect();
        places.sort_unstable();
        assert_eq!(places, (0..window.size * window.size).collect::<Vec<_>>(), "{window:?}");
    }
}

#[test]
#[should_panic(expected = "leaves outputs without pixels")]
fn window_that_is_smaller_than_its_stride_is_refused() {
    TransposedWindow { size: 1, stride: 2, padding: 0 }.phases();
}
