use super::*;
use crate::images_tests::{bits, definition, for_each_pool, numbers, windows};
use crate::{GroupScales, Level, Pool, PoolOptions, WeightFormat};

const FORMS: [(WeightFormat, ActivationForm); 6] = [
    (WeightFormat::F32, ActivationForm::F32),
    (WeightFormat::F16, ActivationForm::F32),
    (WeightFormat::Bf16, ActivationForm::F32),
    (WeightFormat::Bf16, ActivationForm::Bf16),
    (WeightFormat::Int8, ActivationForm::Int8Rows),
    (WeightFormat::Int8Groups(GroupScales::Scale), ActivationForm::Int8Groups),
];

fn pack(format: WeightFormat, outputs: usize, weights: &[f32]) -> PackedMatrix {
    let inputs = weights.len() / outputs;
    PackedMatrix::pack_f32(format, outputs, inputs, &mut |output, row| {
        row.copy_from_slice(&weights[output * inputs..][..inputs]);
    })
}

fn run(
    pool: &Pool,
    images: Images<'_>,
    window: Window,
    weights: &PackedMatrix,
    form: ActivationForm,
    end: (Epilogue<'_>, Option<Nonlinearity>),
) -> Vec<f32> {
    let [height, width] = window.output([images.height, images.width]);
    let mut output = vec![0.25; images.count * height * width * weights.outputs()];
    let mut buffers = ConvolutionBuffers::default();
    pool.step(|step| convolve(step, images, window, weights, form, &mut buffers, &mut output, end));
    output
}

/// Returns what a number of the input may be off by, itself being `magnitude` and at most 1.
fn rounding(form: ActivationForm, magnitude: f32) -> f32 {
    match form {
        ActivationForm::F32 => 1e-5 * magnitude,
        ActivationForm::Bf16 => 2.0_f32.powi(-8) * magnitude,
        // Half a step of 127 of the greatest number, and what scales are rounded by.
        ActivationForm::Int8Rows | ActivationForm::Int8Groups => 0.51 / 127.0,
    }
}

#[test]
fn convolutions_are_those_of_f64_in_every_precision_and_the_same_alone() {
    for window in windows() {
        for (channels, outputs) in [(3, 5), (16, 33)] {
            let (count, height, width) = (3, 11, 23);
            let data = numbers(count * height * width * channels, 1);
            let values = numbers(outputs * window.area() * channels, 2);
            let bias = numbers(outputs, 3);
            let images = Images { data: &data, count, height, width, channels };
            for (format, form) in FORMS {
                let weights = pack(format, outputs, &values);
                let mut stored = vec![vec![0.0; window.area() * channels]; outputs];
                stored.iter_mut().enumerate().for_each(|(output, row)| weights.read_row(output, row));
                let of =
                    |output: usize, place: usize, channel: usize| f64::from(stored[output][place * channels + channel]);
                let sums = definition(images, window, outputs, &of);
                let roundings: Vec<f32> = data.iter().map(|number| rounding(form, number.abs())).collect();
                let roundings = Images { data: &roundings, ..images };
                let allowed = definition(roundings, window, outputs, &|o, p, c| of(o, p, c).abs());
                for_each_pool(&mut |pool| {
                    let end = (Epilogue { bias: Some(&bias), add: true }, Some(Nonlinearity::Relu));
                    let found = run(pool, images, window, &weights, form, end);
                    for (index, found) in found.iter().enumerate() {
                        let expected = (sums[index] + f64::from(bias[index % outputs]) + 0.25).max(0.0);
                        let allowed = allowed[index] + 1e-5;
                        let difference = (f64::from(*found) - expected).abs();
                        assert!(
                            difference <= allowed,
                            "{window:?} {form:?} {index}: {found}, not {expected} ({allowed})"
                        );
                    }
                    let (in_image, out_of_image) = (data.len() / count, found.len() / count);
                    for image in 0..count {
                        let images = Images { data: &data[image * in_image..][..in_image], count: 1, ..images };
                        let alone = run(pool, images, window, &weights, form, end);
                        let together = &found[image * out_of_image..][..out_of_image];
                        assert_eq!(bits(&alone), bits(together), "{window:?} {form:?} image {image}");
                    }
                    found
                });
            }
        }
    }
}

#[test]
fn several_strips_are_one_convolution() {
    let (height, width, channels, outputs) = (60, 70, 24, 40);
    let window = Window::square(3, 1, 1);
    let data = numbers(height * width * channels, 4);
    let values = numbers(outputs * 9 * channels, 5);
    let images = Images { data: &data, count: 1, height, width, channels };
    assert!(strip_rows(height * width, 9 * channels, 2) < height * width / 4, "the test has several strips");
    let weights = pack(WeightFormat::F32, outputs, &values);
    let expected = definition(images, window, outputs, &|output, place, channel| {
        f64::from(values[(output * 9 + place) * channels + channel])
    });
    for_each_pool(&mut |pool| {
        let found = run(pool, images, window, &weights, ActivationForm::F32, (Epilogue::default(), None));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} {expected}");
        }
        found
    });
}

#[test]
fn pixels_are_rows_wherever_they_are_read() {
    let pool = Pool::new(&PoolOptions { threads: 2, ..PoolOptions::default() }).unwrap();
    // Pixels of 4 KB are copied, the others are read where they are.
    for (channels, outputs) in [(1, 3), (7, 40), (130, 33), (1024, 5)] {
        let data = numbers(3 * 55 * channels, 8);
        let weights = pack(WeightFormat::F32, outputs, &numbers(outputs * channels, 9));
        let images = Images { data: &data, count: 3, height: 5, width: 11, channels };
        let end = (Epilogue::default(), None);
        let found = run(&pool, images, Window::PIXEL, &weights, ActivationForm::F32, end);
        let mut activations = Activations::new();
        let mut expected = vec![f32::NAN; found.len()];
        pool.step(|step| {
            let copy = |row: usize, to: &mut [f32]| to.copy_from_slice(&data[row * channels..][..channels]);
            activations.fill(step, ActivationForm::F32, 3 * 55, channels, &copy);
            multiply_then(step, &weights, &activations, &mut expected, Epilogue::default(), None);
        });
        assert_eq!(bits(&found), bits(&expected), "{channels} channels");
    }
}

#[test]
fn image_that_is_not_finite_spoils_only_itself() {
    let (window, channels) = (Window::square(3, 1, 1), 8);
    let mut data = numbers(2 * 36 * channels, 6);
    data[40] = f32::NAN;
    let images = Images { data: &data, count: 2, height: 6, width: 6, channels };
    let pool = Pool::new(&PoolOptions { threads: 2, level: Level::best(), ..PoolOptions::default() }).unwrap();
    for (format, form) in FORMS {
        let weights = pack(format, 7, &numbers(7 * 9 * channels, 7));
        let found = run(&pool, images, window, &weights, form, (Epilogue::default(), Some(Nonlinearity::Relu6)));
        assert!(found[..36 * 7].iter().any(|number| number.is_nan()), "{format:?} {form:?}");
        assert!(found[36 * 7..].iter().all(|number| number.is_finite()), "{format:?} {form:?}");
    }
}

#[test]
fn window_that_does_not_fit_gives_nothing() {
    let images = Images { data: &[1.0; 4], count: 1, height: 2, width: 2, channels: 1 };
    let pool = Pool::new(&PoolOptions::default()).unwrap();
    let weights = pack(WeightFormat::F32, 2, &[1.0; 18]);
    let end = (Epilogue::default(), None);
    assert!(run(&pool, images, Window::square(3, 1, 0), &weights, ActivationForm::F32, end).is_empty());
}
