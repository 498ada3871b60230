//! Convolution as a packed product: what the window sees at each place becomes a row of activations.
//!
//! Rows are gathered for a strip of places at a time, which stays in the cache until the product has used it. Where rows are
//! rounded and windows overlap, images are rounded before, once, and the rows are copies of what came of it: bf16 number by
//! number, 8-bit integers with one scale per image. Where windows look at single pixels of numbers that nothing rounds, the images
//! are the rows, and nothing is copied.

use crate::activations::{ActivationRows, ImageRounding, QuantisedRow};
use crate::images::{Images, Window};
use crate::multiply::{BLOCK_BYTES, MOST_CHUNK_ROWS, TILE_ROWS, multiply_rows};
use crate::{ActivationForm, Activations, Epilogue, Nonlinearity, PackedMatrix, Step, WeightFormat, multiply_then};

/// Pixels this far apart all fall into the same lines of the first cache.
const CACHE_STRIDE: usize = 4096;

/// What a convolution keeps of one strip, and of rounded images. It keeps its memory for the next one.
#[derive(Debug, Default)]
pub struct ConvolutionBuffers {
    rounding: ImageRounding,
    pub(crate) strip: Activations,
    /// What has to be moved or summed up before it is the output.
    pub(crate) products: Vec<f32>,
}

impl ConvolutionBuffers {
    /// Returns the bytes that they have grown to.
    pub fn bytes(&self) -> usize {
        self.rounding.bytes() + self.strip.grown_bytes() + size_of_val(&self.products[..])
    }
}

/// Writes the convolution of images, in the order of [`Images`]. The weights of an output stand in the order of the window's
/// places, row by row, all channels of a place side by side; `form` is that of the activations they are multiplied with.
///
/// A number depends on its own image alone.
///
/// # Panics
/// When lengths do not fit together, the window stands still, or the format of the weights does not accept the form.
#[expect(clippy::too_many_arguments, reason = "those of a product, and the window and the buffers of a convolution")]
pub fn convolve(
    step: &mut Step<'_>,
    images: Images<'_>,
    window: Window,
    weights: &PackedMatrix,
    form: ActivationForm,
    buffers: &mut ConvolutionBuffers,
    output: &mut [f32],
    (epilogue, then): (Epilogue<'_>, Option<Nonlinearity>),
) {
    window.check();
    let sides = window.output([images.height, images.width]);
    let (width, outputs) = (window.area() * images.channels, weights.outputs());
    images.check(output, sides, outputs);
    assert!(weights.inputs() == width, "{} inputs instead of {width} for {window:?}", weights.inputs());
    if output.is_empty() {
        return;
    }
    if is_product(images, window, weights, form) {
        let rows = ActivationRows::of_numbers(images.data, width);
        return multiply_rows(step, weights, rows, output, epilogue, then);
    }
    let places = Places { images, window, sides };
    let source = match form {
        ActivationForm::Bf16 | ActivationForm::Int8Rows if !window.is_pointwise() => {
            buffers.rounding.fill(step, form, images);
            Source::Rounded(&buffers.rounding)
        }
        _ => Source::Numbers,
    };
    let rows = images.count * sides[0] * sides[1];
    let strip = strip_rows(rows, width, step.threads());
    for first in (0..rows).step_by(strip) {
        let count = strip.min(rows - first);
        places.gather(step, form, &source, first..first + count, &mut buffers.strip);
        let output = &mut output[first * outputs..][..count * outputs];
        multiply_then(step, weights, &buffers.strip, output, epilogue, then);
    }
}

/// Returns whether the pixels are rows that a product can read where they are.
fn is_product(images: Images<'_>, window: Window, weights: &PackedMatrix, form: ActivationForm) -> bool {
    let reads_single_numbers = matches!(weights.format(), WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Int16);
    let is_pixel = window.is_pointwise() && window.stride == [1; 2];
    let is_spread = !(images.channels * 4).is_multiple_of(CACHE_STRIDE);
    form == ActivationForm::F32 && reads_single_numbers && is_pixel && is_spread
}

/// Returns how many rows a strip has: for each thread a chunk of a product, or more if they stay in the cache, shared evenly among
/// the strips.
fn strip_rows(rows: usize, width: usize, threads: usize) -> usize {
    let of_thread = (BLOCK_BYTES / (width.max(1) * 4)).max(MOST_CHUNK_ROWS);
    let strips = rows.div_ceil(of_thread * threads);
    rows.div_ceil(strips).next_multiple_of(TILE_ROWS)
}

/// Where rows come from.
enum Source<'a> {
    /// The images; rows are rounded one by one.
    Numbers,
    Rounded(&'a ImageRounding),
}

/// What a window sees at the places of images.
struct Places<'a> {
    images: Images<'a>,
    window: Window,
    sides: [usize; 2],
}

impl Places<'_> {
    /// Fills a strip with rows.
    fn gather(
        &self,
        step: &mut Step<'_>,
        form: ActivationForm,
        source: &Source<'_>,
        rows: std::ops::Range<usize>,
        strip: &mut Activations,
    ) {
        let width = self.window.area() * self.images.channels;
        match source {
            Source::Numbers => strip.fill(step, form, rows.len(), width, &|row, numbers| {
                self.copy_row(
                    rows.start + row,
                    self.images.data,
                    self.images.height * self.images.width * self.images.channels,
                    numbers,
                );
            }),
            Source::Rounded(rounding) => {
                let (data, image_bytes, number_bytes) = rounding.parts();
                strip.fill_rounded(step, form, rows.len(), width, &|row, bytes| {
                    let row = rows.start + row;
                    self.copy_bytes(row, data, image_bytes, number_bytes, bytes);
                    let scale = rounding.scale(row / (self.sides[0] * self.sides[1]));
                    QuantisedRow { scale, sum: 0 }
                });
            }
        }
    }

    fn copy_row(&self, row: usize, data: &[f32], image_length: usize, into: &mut [f32]) {
        self.copy(row, data, image_length, self.images.channels, into);
    }

    fn copy_bytes(&self, row: usize, data: &[u8], image_bytes: usize, number_bytes: usize, into: &mut [u8]) {
        self.copy(row, data, image_bytes, self.images.channels * number_bytes, into);
    }

    /// Copies what the window sees for one output. An image has `image_length` items, a pixel `pixel`.
    fn copy<T: Copy + Default>(&self, row: usize, data: &[T], image_length: usize, pixel: usize, into: &mut [T]) {
        let Places { images, window, sides: [height, width] } = self;
        let (image, y, x) = (row / (height * width), row / width % height, row % width);
        let data = &data[image * image_length..][..image_length];
        let (top, left) = (window.start(0, y), window.start(1, x));
        let down = window.within(0, y, images.height);
        let right = window.within(1, x, images.width);
        let line = window.size[1] * pixel;
        if down.len() != window.size[0] || right.len() != window.size[1] {
            into.fill(T::default());
        }
        for down in down {
            let from = top.wrapping_add_unsigned(down * window.dilation[0]).cast_unsigned() * images.width;
            let line = &mut into[down * line..][..line];
            if window.dilation[1] == 1 && !right.is_empty() {
                let first = left.wrapping_add_unsigned(right.start).cast_unsigned();
                let from = &data[(from + first) * pixel..][..right.len() * pixel];
                line[right.start * pixel..right.end * pixel].copy_from_slice(from);
                continue;
            }
            for right in right.clone() {
                let column = left.wrapping_add_unsigned(right * window.dilation[1]).cast_unsigned();
                line[right * pixel..][..pixel].copy_from_slice(&data[(from + column) * pixel..][..pixel]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
