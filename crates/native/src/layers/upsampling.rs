//! Layers that double the sides of images.

use seedhouse_core::Result;
use seedhouse_kernels::{
    ActivationForm, ConvolutionBuffers, PackedMatrix, Phase, Step, TransposedWindow, WeightFormat, convolve_transposed,
};

use super::{Compile, Map, Weights};
use crate::quantization::Quantized;

/// Each pixel adds a window of 4 x 4, of which neighbours share two rows or columns.
const WINDOW: TransposedWindow = TransposedWindow { size: SIDE, stride: 2, padding: 1 };

const SIDE: usize = 4;
const AREA: usize = SIDE * SIDE;

/// Which places of a 3 x 3 window over doubled pixels a place of the transposed window stands for, in one direction: of a pixel and
/// its copy those that fall on one pixel of the image.
const PLACES: [&[usize]; SIDE] = [&[2], &[1, 2], &[0, 1], &[0]];

/// A transposed convolution that doubles sides, or the doubling of pixels and a convolution of 3 x 3, which is one as well.
#[derive(Debug)]
pub(crate) struct Upsampling {
    /// One for each phase.
    matrices: Vec<PackedMatrix>,
    bias: Vec<f32>,
    form: ActivationForm,
}

impl Upsampling {
    /// Reads a transposed convolution, `[inputs, outputs, 4, 4]`, with stride 2 and padding 1.
    pub(crate) fn transposed(weights: &Weights<'_>, compile: &Compile, name: &str) -> Result<Upsampling> {
        let bias = weights.values(&format!("{name}.bias"))?;
        let weight = format!("{name}.weight");
        if let Some(stored) = weights.quantized(&weight).filter(|stored| compile.keeps(stored.layout.kind())) {
            return Ok(Upsampling::of_integers(compile, stored, bias));
        }
        let (values, outputs) = (weights.values(&weight)?, bias.len());
        let weight = |output: usize, input: usize, place: usize| values[(input * outputs + output) * AREA + place];
        let inputs = values.len() / (outputs * AREA);
        Upsampling::pack(weights, compile, name, inputs, bias, &weight)
    }

    /// Reads a convolution of doubled pixels, `[outputs, inputs, 3, 3]`, with padding 1. Weights that meet copies of one pixel are added.
    pub(crate) fn nearest(weights: &Weights<'_>, compile: &Compile, name: &str) -> Result<Upsampling> {
        let (values, bias) = read(weights, name)?;
        let inputs = values.len() / (bias.len() * 9);
        let weight = |output: usize, input: usize, place: usize| {
            of_doubled(&values[(output * inputs + input) * 9..][..9], place)
        };
        Upsampling::pack(weights, compile, name, inputs, bias, &weight)
    }

    /// Packs the integers of a file, `[inputs, outputs, 4, 4]`.
    fn of_integers(compile: &Compile, stored: &Quantized<'_>, bias: Vec<f32>) -> Upsampling {
        let (layout, format) = (&stored.layout, stored.layout.format());
        let inputs = layout.inputs() / AREA;
        let mut of_output = vec![0; layout.inputs()];
        let mut of_phase = |phase: Phase| {
            let places = phase.places();
            PackedMatrix::pack_integers(format, bias.len(), places.len() * inputs, &mut |output, row| {
                layout.read_integers(stored.integers, output, &mut of_output);
                for (place, pixel) in places.iter().zip(row.chunks_exact_mut(inputs)) {
                    pixel.iter_mut().zip(of_output[*place..].iter().step_by(AREA)).for_each(|(to, from)| *to = *from);
                }
                layout.scale(stored.scales, output)
            })
        };
        let matrices = WINDOW.phases().into_iter().map(&mut of_phase).collect();
        Upsampling { matrices, bias, form: compile.form(format) }
    }

    /// Packs what `weight` gives for an output, an input and a place.
    fn pack(
        weights: &Weights<'_>,
        compile: &Compile,
        name: &str,
        inputs: usize,
        bias: Vec<f32>,
        weight: &dyn Fn(usize, usize, usize) -> f32,
    ) -> Result<Upsampling> {
        // As for every convolution.
        let format = match compile.format(weights.data_type(&format!("{name}.weight"))?) {
            WeightFormat::Int4Groups(_) | WeightFormat::Int8Groups(_) => WeightFormat::Int8,
            format => format,
        };
        let of_phase = |phase: Phase| {
            let places = phase.places();
            PackedMatrix::pack_f32(format, bias.len(), places.len() * inputs, &mut |output, row| {
                for (place, pixel) in places.iter().zip(row.chunks_exact_mut(inputs)) {
                    pixel.iter_mut().enumerate().for_each(|(input, number)| *number = weight(output, input, *place));
                }
            })
        };
        let matrices = WINDOW.phases().into_iter().map(of_phase).collect();
        Ok(Upsampling { matrices, bias, form: compile.form(format) })
    }

    pub(crate) fn bytes(&self) -> usize {
        let matrices: usize = self.matrices.iter().map(|matrix| matrix.bytes().len()).sum();
        matrices + size_of_val(&self.bias[..])
    }

    /// Replaces the output.
    pub(crate) fn apply(&self, step: &mut Step<'_>, buffers: &mut ConvolutionBuffers, input: &Map, output: &mut Map) {
        output.reset(input.count, WINDOW.output(input.sides), self.bias.len());
        let numbers = output.numbers_mut();
        convolve_transposed(
            step,
            input.images(),
            WINDOW,
            &self.matrices,
            self.form,
            buffers,
            numbers,
            Some(&self.bias),
        );
    }
}

/// Returns the weights of the transposed convolution `[inputs, outputs, 4, 4]` that does what a convolution of doubled pixels does.
pub(crate) fn transposed_of_doubling(values: &[f32], outputs: usize) -> Vec<f32> {
    let inputs = values.len() / (outputs * 9);
    let window = |input: usize, output: usize| &values[(output * inputs + input) * 9..][..9];
    let pairs = (0..inputs).flat_map(|input| (0..outputs).map(move |output| (input, output)));
    pairs.flat_map(|(input, output)| (0..AREA).map(move |place| of_doubled(window(input, output), place))).collect()
}

/// Returns the weight at a place of the transposed window of a window over doubled pixels.
fn of_doubled(window: &[f32], place: usize) -> f32 {
    let of_row = |row: usize| PLACES[place % SIDE].iter().map(move |column| f64::from(window[row * 3 + column]));
    PLACES[place / SIDE].iter().flat_map(|row| of_row(*row)).sum::<f64>() as f32
}

fn read(weights: &Weights<'_>, name: &str) -> Result<(Vec<f32>, Vec<f32>)> {
    Ok((weights.values(&format!("{name}.weight"))?, weights.values(&format!("{name}.bias"))?))
}
