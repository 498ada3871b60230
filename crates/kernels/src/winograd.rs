//! Convolution of 3 x 3 with a quarter of the multiplications (Winograd 1980; Lavin and Gray 2015, <https://arxiv.org/abs/1509.09308>).
//!
//! Images are cut into tiles of 4 x 4 outputs. The 6 x 6 pixels that a tile sees are transformed into as many sums, and so were the
//! weights; for each of the 36 places one product of all tiles with all weights remains, and what comes of a tile's places is transformed
//! back. Transforms are exact up to rounding, which they let count some ten times as much as a plain sum does.
//!
//! Tiles are computed in strips, whose sums stay in the cache between the three parts.

#![expect(
    clippy::needless_range_loop,
    reason = "rows and columns of a tile are named as in the formulas, and change places"
)]

use crate::disjoint::Disjoint;
use crate::images::{Images, Window};
use crate::lanes::{self, Kernel, LANES, Lanes};
use crate::multiply::multiply_here;
use crate::{ConvolutionBuffers, Epilogue, Level, PackedMatrix, Step, WeightFormat};

/// Outputs of a tile in one direction, and pixels that it sees.
const TILE: usize = 4;
const SEEN: usize = 6;
const PLACES: usize = SEEN * SEEN;

/// Bytes of the transformed pixels of a strip.
const STRIP_BYTES: usize = 1536 << 10;

/// Rows of a tile of products; strips are whole tiles.
const PRODUCT_ROWS: usize = 12;

/// The weights of a convolution of 3 x 3 with stride 1 and one zero around images, transformed. They are f32.
#[derive(Debug)]
pub struct WinogradWeights {
    /// One for each place.
    matrices: Vec<PackedMatrix>,
}

impl WinogradWeights {
    /// Transforms weights; `weight` gives the window of an output and a channel, row by row.
    pub fn pack(outputs: usize, channels: usize, weight: &dyn Fn(usize, usize) -> [f32; 9]) -> WinogradWeights {
        // In 64 bits: they are rounded once.
        const G: [[f64; 3]; SEEN] = [
            [1.0 / 4.0, 0.0, 0.0],
            [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
            [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
            [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
            [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
            [0.0, 0.0, 1.0],
        ];
        let of_place = |place: usize| {
            let (down, right) = (G[place / SEEN], G[place % SEEN]);
            PackedMatrix::pack_f32(WeightFormat::F32, outputs, channels, &mut |output, row| {
                for (channel, number) in row.iter_mut().enumerate() {
                    let window = weight(output, channel);
                    let of_row = |row: usize| {
                        (0..3).map(|column| right[column] * f64::from(window[row * 3 + column])).sum::<f64>()
                    };
                    *number = (0..3).map(|row| down[row] * of_row(row)).sum::<f64>() as f32;
                }
            })
        };
        WinogradWeights { matrices: (0..PLACES).map(of_place).collect() }
    }

    /// Returns the channels of the images.
    pub fn channels(&self) -> usize {
        self.matrices[0].inputs()
    }

    /// Returns the channels of what comes out.
    pub fn outputs(&self) -> usize {
        self.matrices[0].outputs()
    }

    /// Returns the bytes that they take.
    pub fn bytes(&self) -> usize {
        self.matrices.iter().map(|matrix| matrix.bytes().len()).sum()
    }
}

/// Writes the convolution of images with a window of 3 x 3, stride 1 and one zero around them, in the order of [`Images`].
///
/// A number depends on its own image alone.
///
/// # Panics
/// When lengths do not fit together.
pub fn convolve_winograd(
    step: &mut Step<'_>,
    images: Images<'_>,
    weights: &WinogradWeights,
    buffers: &mut ConvolutionBuffers,
    output: &mut [f32],
    epilogue: Epilogue<'_>,
) {
    let (channels, outputs) = (images.channels, weights.outputs());
    images.check(output, Window::square(3, 1, 1).output([images.height, images.width]), outputs);
    assert!(weights.channels() == channels, "{} channels instead of {channels}", weights.channels());
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == outputs), "one bias per output");
    if output.is_empty() {
        return;
    }
    let grid = [images.height, images.width].map(|side| side.div_ceil(TILE));
    let tiles = images.count * grid[0] * grid[1];
    let fitting = STRIP_BYTES / (PLACES * channels.max(outputs) * 4) / PRODUCT_ROWS * PRODUCT_ROWS;
    let strips = tiles.div_ceil(fitting.max(4 * PRODUCT_ROWS));
    let strip = tiles.div_ceil(strips);
    let call = Call { level: step.level(), images, grid, outputs, epilogue, output: Disjoint::new(output) };
    for first in (0..tiles).step_by(strip) {
        let count = strip.min(tiles - first);
        let parts = count.min(4 * step.threads());
        let of_part = |part: usize| first + count * part / parts..first + count * (part + 1) / parts;
        let length = PLACES * count * outputs;
        if buffers.products.len() < length {
            buffers.products.resize(length, 0.0);
        }
        let (stride, seen) = buffers.strip.floats_mut(PLACES * count, channels);
        let seen = Disjoint::new(seen);
        step.run(parts, &|part| {
            for tile in of_part(part) {
                // SAFETY: each tile is in one part, and has rows of its own.
                unsafe { call.transform(tile, [tile - first, count], stride, &seen) };
            }
        });
        let (seen, products) = (&buffers.strip, Disjoint::new(&mut buffers.products[..length]));
        step.run(PLACES, &|place| {
            // SAFETY: each place is in one part, and has rows of its own.
            let products = unsafe { products.piece(place * count * outputs..(place + 1) * count * outputs) };
            multiply_here(call.level, &weights.matrices[place], seen, place * count..(place + 1) * count, products);
        });
        let products = &buffers.products[..length];
        step.run(parts, &|part| {
            for tile in of_part(part) {
                // SAFETY: each tile is in one part, and has outputs of its own.
                unsafe { call.finish(tile, [tile - first, count], products) };
            }
        });
    }
}

/// A convolution that threads work on.
struct Call<'a> {
    level: Level,
    images: Images<'a>,
    /// Tiles of an image, down and to the right.
    grid: [usize; 2],
    outputs: usize,
    epilogue: Epilogue<'a>,
    output: Disjoint<'a, f32>,
}

impl Call<'_> {
    /// Returns the image of a tile, and its first output.
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let [down, right] = self.grid;
        (tile / (down * right), tile / right % down * TILE, tile % right * TILE)
    }

    /// Writes what a tile sees, transformed: a row for each place.
    ///
    /// # Safety
    /// No other thread writes these rows.
    unsafe fn transform(&self, tile: usize, [at, count]: [usize; 2], stride: usize, seen: &Disjoint<'_, f32>) {
        let (image, top, left) = self.place(tile);
        let Images { height, width, channels, .. } = self.images;
        let pixel = |place: usize| {
            let row = (top + place / SEEN).checked_sub(1).filter(|row| *row < height)?;
            let column = (left + place % SEEN).checked_sub(1).filter(|column| *column < width)?;
            Some(&self.images.data[((image * height + row) * width + column) * channels..][..channels])
        };
        let pixels: [Option<&[f32]>; PLACES] = std::array::from_fn(pixel);
        let rows: [&mut [f32]; PLACES] = std::array::from_fn(|place| {
            let start = (place * count + at) * stride;
            // SAFETY: by the contract of this function; places have rows of their own.
            unsafe { seen.piece(start..start + stride) }
        });
        lanes::run(self.level, Transform { pixels, rows, channels });
    }

    /// Writes the outputs of a tile.
    ///
    /// # Safety
    /// No other thread writes them.
    unsafe fn finish(&self, tile: usize, [at, count]: [usize; 2], products: &[f32]) {
        let (image, top, left) = self.place(tile);
        let Images { height, width, .. } = self.images;
        let outputs = self.outputs;
        let pixels: [Option<&mut [f32]>; TILE * TILE] = std::array::from_fn(|place| {
            let (row, column) = (top + place / TILE, left + place % TILE);
            let start = ((image * height + row) * width + column) * outputs;
            // SAFETY: by the contract of this function; places have pixels of their own.
            (row < height && column < width).then(|| unsafe { self.output.piece(start..start + outputs) })
        });
        let rows: [&[f32]; PLACES] =
            std::array::from_fn(|place| &products[(place * count + at) * outputs..][..outputs]);
        lanes::run(self.level, Finish { rows, pixels, outputs, epilogue: self.epilogue });
    }
}

/// The transform of the pixels that a tile sees.
struct Transform<'a> {
    /// Nothing stands for zeros.
    pixels: [Option<&'a [f32]>; PLACES],
    rows: [&'a mut [f32]; PLACES],
    channels: usize,
}

impl Kernel for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let zero = lanes.splat(0.0);
        for first in (0..self.channels).step_by(LANES) {
            let width = LANES.min(self.channels - first);
            let mut half = [[zero; SEEN]; SEEN];
            for column in 0..SEEN {
                let mut numbers = [zero; SEEN];
                for row in 0..SEEN {
                    if let Some(pixel) = self.pixels[row * SEEN + column] {
                        numbers[row] = load(lanes, &pixel[first..first + width]);
                    }
                }
                let numbers = forward(lanes, numbers);
                for row in 0..SEEN {
                    half[row][column] = numbers[row];
                }
            }
            for row in 0..SEEN {
                let numbers = forward(lanes, half[row]);
                for column in 0..SEEN {
                    store(lanes, numbers[column], &mut self.rows[row * SEEN + column][first..first + width]);
                }
            }
        }
        for row in &mut self.rows {
            row[self.channels..].fill(0.0);
        }
    }
}

/// The transform back.
struct Finish<'a> {
    rows: [&'a [f32]; PLACES],
    /// Nothing stands for what lies outside of the image.
    pixels: [Option<&'a mut [f32]>; TILE * TILE],
    outputs: usize,
    epilogue: Epilogue<'a>,
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let zero = lanes.splat(0.0);
        for first in (0..self.outputs).step_by(LANES) {
            let width = LANES.min(self.outputs - first);
            let mut half = [[zero; SEEN]; TILE];
            for column in 0..SEEN {
                let mut numbers = [zero; SEEN];
                for row in 0..SEEN {
                    numbers[row] = load(lanes, &self.rows[row * SEEN + column][first..first + width]);
                }
                let numbers = backward(lanes, numbers);
                for row in 0..TILE {
                    half[row][column] = numbers[row];
                }
            }
            let bias = self.epilogue.bias.map_or(zero, |bias| load(lanes, &bias[first..first + width]));
            for row in 0..TILE {
                let numbers = backward(lanes, half[row]);
                for column in 0..TILE {
                    let Some(pixel) = &mut self.pixels[row * TILE + column] else { continue };
                    let pixel = &mut pixel[first..first + width];
                    let mut number = lanes.add(numbers[column], bias);
                    if self.epilogue.add {
                        number = lanes.add(load(lanes, pixel), number);
                    }
                    store(lanes, number, pixel);
                }
            }
        }
    }
}

/// What six pixels give for the points 0, 1, -1, 2, -2 and infinity.
#[inline(always)]
fn forward<L: Lanes>(lanes: L, [a, b, c, d, e, f]: [L::F32s; SEEN]) -> [L::F32s; SEEN] {
    let number = |number: f32| lanes.splat(number);
    let (four, five, two) = (number(4.0), number(-5.0), number(2.0));
    let even = lanes.multiply_add(c, number(-4.0), e);
    let odd = lanes.multiply_add(b, number(-4.0), d);
    let (near, far) = (lanes.subtract(e, c), lanes.multiply(lanes.subtract(d, b), two));
    [
        lanes.multiply_add(a, four, lanes.multiply_add(c, five, e)),
        lanes.add(even, odd),
        lanes.subtract(even, odd),
        lanes.add(near, far),
        lanes.subtract(near, far),
        lanes.multiply_add(b, four, lanes.multiply_add(d, five, f)),
    ]
}

/// Four outputs of what the six points give.
#[inline(always)]
fn backward<L: Lanes>(lanes: L, [a, b, c, d, e, f]: [L::F32s; SEEN]) -> [L::F32s; TILE] {
    let number = |number: f32| lanes.splat(number);
    let (near, near_difference) = (lanes.add(b, c), lanes.subtract(b, c));
    let (far, far_difference) = (lanes.add(d, e), lanes.subtract(d, e));
    [
        lanes.add(lanes.add(a, near), far),
        lanes.multiply_add(far_difference, number(2.0), near_difference),
        lanes.multiply_add(far, number(4.0), near),
        lanes.add(lanes.multiply_add(far_difference, number(8.0), near_difference), f),
    ]
}

#[inline(always)]
fn load<L: Lanes>(lanes: L, numbers: &[f32]) -> L::F32s {
    match numbers.first_chunk::<LANES>() {
        Some(numbers) => lanes.load(numbers),
        None => lanes.load_first(numbers),
    }
}

#[inline(always)]
fn store<L: Lanes>(lanes: L, numbers: L::F32s, target: &mut [f32]) {
    match target.first_chunk_mut::<LANES>() {
        Some(target) => lanes.store(numbers, target),
        None => lanes.store_first(numbers, target),
    }
}

#[cfg(test)]
mod tests;
