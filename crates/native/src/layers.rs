//! What networks are made of: tensors by name, layers on the kernels, activations between them.
//!
//! ```text
//! tensors      named tensors of a file, held against what a family expects of them
//! precision    how weights are kept, and what they are multiplied with
//! map          the activations of a batch between two layers
//! group_norm, upsampling    layers of networks that draw images
//! ```

use seedhouse_core::{Error, Result};
use seedhouse_kernels::{
    ActivationForm, Activations, ConvolutionBuffers, Depthwise, Epilogue, Level, Nonlinearity, PackedMatrix, Step,
    WeightFormat, Window, WinogradWeights, convolve, convolve_depthwise, convolve_winograd, multiply_then, rows,
};

use crate::quantization::Quantized;
use crate::quote::quote;
use crate::torch::checkpoint::DataType;

mod group_norm;
mod map;
mod precision;
mod tensors;
mod upsampling;

pub(crate) use group_norm::GroupNorm;
pub(crate) use map::Map;
pub(crate) use precision::Compile;
pub(crate) use tensors::{Expected, ExpectedTensor, Normalised, Part, Tensors, Weights};
pub(crate) use upsampling::{Upsampling, transposed_of_doubling};

/// A matrix, and what is added to its products.
#[derive(Debug)]
pub(crate) struct Linear {
    matrix: PackedMatrix,
    bias: Vec<f32>,
    form: ActivationForm,
}

impl Linear {
    /// Reads layers of the same input, one under the other: `NAME.weight` and `NAME.bias`.
    pub(crate) fn read(weights: &Weights<'_>, compile: &Compile, names: &[String]) -> Result<Linear> {
        let (mut values, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            bias.extend(weights.values(&format!("{name}.bias"))?);
        }
        if let Some(integers) = integers(weights, compile, names)? {
            let matrix = Quantized::pack(&integers);
            let form = compile.form(matrix.format());
            return Ok(Linear { matrix, bias, form });
        }
        for name in names {
            values.extend(weights.values(&format!("{name}.weight"))?);
        }
        let format = compile.format(weights.data_type(&format!("{}.weight", names[0]))?);
        let (outputs, inputs) = (bias.len(), values.len() / bias.len());
        let matrix = PackedMatrix::pack_f32(format, outputs, inputs, &mut |output, row| {
            row.copy_from_slice(&values[output * inputs..][..inputs]);
        });
        Ok(Linear { matrix, bias, form: compile.form(format) })
    }

    pub(crate) fn inputs(&self) -> usize {
        self.matrix.inputs()
    }

    pub(crate) fn outputs(&self) -> usize {
        self.matrix.outputs()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.matrix.bytes().len() + size_of_val(&self.bias[..])
    }

    /// Replaces the output, or adds to it, with the products of rows that `write` gives.
    pub(crate) fn apply(
        &self,
        step: &mut Step<'_>,
        activations: &mut Activations,
        count: usize,
        write: &(dyn Fn(usize, &mut [f32]) + Sync),
        (output, add): (&mut [f32], bool),
    ) {
        activations.fill(step, self.form, count, self.inputs(), write);
        multiply_then(step, &self.matrix, activations, output, Epilogue { bias: Some(&self.bias), add }, None);
    }
}

/// Returns the matrices of layers of the same input where they are integers that are computed with as they are.
///
/// # Errors
/// [`Error::Unsupported`] when some of them are of another type.
fn integers<'w>(
    weights: &'w Weights<'_>,
    compile: &Compile,
    names: &[String],
) -> Result<Option<Vec<&'w Quantized<'w>>>> {
    let mut found = Vec::new();
    for name in names {
        found.extend(weights.quantized(&format!("{name}.weight")).filter(|stored| compile.keeps(stored.layout.kind())));
    }
    match found.first() {
        None => Ok(None),
        Some(first)
            if found.len() == names.len() && found.iter().all(|one| one.layout.kind() == first.layout.kind()) =>
        {
            Ok(Some(found))
        }
        Some(_) => Err(Error::unsupported(
            format!("tensors of several types in the layers {}", quote(&names.join(", "))),
            "they are one product, so they are quantised together",
        )),
    }
}

/// How many zeros lie around images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// So many on each side.
    Zeros(usize),
    /// As many as make one output for each step (TensorFlow).
    Same,
}

/// A square window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Square {
    pub(crate) size: usize,
    pub(crate) stride: usize,
    pub(crate) padding: Padding,
}

impl Square {
    /// Returns a window with so many zeros on each side.
    pub(crate) fn new(size: usize, stride: usize, padding: usize) -> Square {
        Square { size, stride, padding: Padding::Zeros(padding) }
    }

    pub(crate) fn over(self, sides: [usize; 2]) -> Window {
        match self.padding {
            Padding::Zeros(zeros) => Window::square(self.size, self.stride, zeros),
            Padding::Same => Window::same(self.size, self.stride, sides),
        }
    }
}

/// The weights of a convolution, as its kernel takes them.
#[derive(Debug)]
enum ConvolutionWeights {
    Rows(PackedMatrix),
    /// For windows of 3 x 3 in f32.
    Winograd(WinogradWeights),
}

/// Channels from which on transforming tiles costs less than it saves.
const LEAST_WINOGRAD_CHANNELS: usize = 16;

/// A convolution over all channels.
#[derive(Debug)]
pub(crate) struct Convolution {
    square: Square,
    weights: ConvolutionWeights,
    bias: Vec<f32>,
    form: ActivationForm,
    then: Option<Nonlinearity>,
}

impl Convolution {
    /// Reads `NAME.weight` and `NAME.bias`, which are multiplied with patches of the image.
    pub(crate) fn of_patches(
        weights: &Weights<'_>,
        compile: &Compile,
        name: &str,
        square: Square,
        then: Option<Nonlinearity>,
    ) -> Result<Convolution> {
        let (weight, bias) = (format!("{name}.weight"), weights.values(&format!("{name}.bias"))?);
        match weights.quantized(&weight).filter(|stored| compile.keeps(stored.layout.kind())) {
            Some(stored) => Ok(Convolution::of_integers(compile, stored, square, bias, then)),
            None => {
                let values = weights.values(&weight)?;
                Ok(Convolution::new(compile, weights.data_type(&weight)?, square, (&values, bias), then))
            }
        }
    }

    /// Packs the integers of a file.
    fn of_integers(
        compile: &Compile,
        stored: &Quantized<'_>,
        square: Square,
        bias: Vec<f32>,
        then: Option<Nonlinearity>,
    ) -> Convolution {
        let (format, inputs) = (stored.layout.format(), stored.layout.inputs());
        let mut of_output = vec![0; inputs];
        let matrix = PackedMatrix::pack_integers(format, bias.len(), inputs, &mut |output, row| {
            stored.layout.read_integers(stored.integers, output, &mut of_output);
            by_place(&of_output, square.size * square.size, row);
            stored.layout.scale(stored.scales, output)
        });
        Convolution { square, weights: ConvolutionWeights::Rows(matrix), bias, form: compile.form(format), then }
    }

    /// Packs weights in the order of torch, `[outputs, channels, size, size]`.
    fn new(
        compile: &Compile,
        stored: DataType,
        square: Square,
        (weights, bias): (&[f32], Vec<f32>),
        then: Option<Nonlinearity>,
    ) -> Convolution {
        let (outputs, area) = (bias.len(), square.size * square.size);
        // Patches of groups that images do not share are rounded one by one; a scale per image is as good for 8 bits.
        let format = match compile.format(stored) {
            WeightFormat::Int4Groups(_) | WeightFormat::Int8Groups(_) => WeightFormat::Int8,
            format => format,
        };
        let inputs = weights.len() / outputs;
        let matrix = PackedMatrix::pack_f32(format, outputs, inputs, &mut |output, row| {
            by_place(&weights[output * inputs..][..inputs], area, row);
        });
        let weights = ConvolutionWeights::Rows(matrix);
        Convolution { square, weights, bias, form: compile.form(format), then }
    }

    /// Reads `NAME.weight` and `NAME.bias`. In f32 a window of 3 x 3 that looks at every pixel is computed in tiles.
    pub(crate) fn read(weights: &Weights<'_>, compile: &Compile, name: &str, square: Square) -> Result<Convolution> {
        let weight = format!("{name}.weight");
        if weights.quantized(&weight).is_some() {
            return Convolution::of_patches(weights, compile, name, square, None);
        }
        let (values, bias) = (weights.values(&weight)?, weights.values(&format!("{name}.bias"))?);
        let format = compile.format(weights.data_type(&weight)?);
        let (form, channels) = (compile.form(format), values.len() / (bias.len() * square.size * square.size));
        let is_wide = channels.min(bias.len()) >= LEAST_WINOGRAD_CHANNELS;
        if is_wide && square == Square::new(3, 1, 1) && (format, form) == (WeightFormat::F32, ActivationForm::F32) {
            let weights = WinogradWeights::pack(bias.len(), channels, &|output, channel| {
                std::array::from_fn(|place| values[(output * channels + channel) * 9 + place])
            });
            return Ok(Convolution { square, weights: ConvolutionWeights::Winograd(weights), bias, form, then: None });
        }
        Ok(Convolution::new(compile, weights.data_type(&weight)?, square, (&values, bias), None))
    }

    /// Reads a convolution and folds the batch normalisation after it in, unless it is.
    pub(crate) fn normalised(
        weights: &Weights<'_>,
        compile: &Compile,
        [convolution, norm]: [&str; 2],
        epsilon: f32,
        square: Square,
        then: Option<Nonlinearity>,
    ) -> Result<Convolution> {
        if weights.tensors.is_folded() {
            return Convolution::of_patches(weights, compile, convolution, square, then);
        }
        let (values, bias) = weights.folded(convolution, norm, epsilon)?;
        Ok(Convolution::new(compile, DataType::F32, square, (&values, bias), then))
    }

    pub(crate) fn bytes(&self) -> usize {
        let weights = match &self.weights {
            ConvolutionWeights::Rows(matrix) => matrix.bytes().len(),
            ConvolutionWeights::Winograd(weights) => weights.bytes(),
        };
        weights + size_of_val(&self.bias[..])
    }

    /// Replaces the output.
    pub(crate) fn apply(&self, step: &mut Step<'_>, buffers: &mut ConvolutionBuffers, input: &Map, output: &mut Map) {
        let window = self.square.over(input.sides);
        output.reset(input.count, window.output(input.sides), self.bias.len());
        self.run(step, buffers, input, output, false);
    }

    /// Adds to the output, before the nonlinearity.
    ///
    /// # Panics
    /// When the output has another size.
    pub(crate) fn add(&self, step: &mut Step<'_>, buffers: &mut ConvolutionBuffers, input: &Map, output: &mut Map) {
        self.run(step, buffers, input, output, true);
    }

    fn run(&self, step: &mut Step<'_>, buffers: &mut ConvolutionBuffers, input: &Map, output: &mut Map, add: bool) {
        let window = self.square.over(input.sides);
        let (epilogue, output) = (Epilogue { bias: Some(&self.bias), add }, output.numbers_mut());
        match &self.weights {
            ConvolutionWeights::Rows(matrix) => {
                convolve(step, input.images(), window, matrix, self.form, buffers, output, (epilogue, self.then));
            }
            ConvolutionWeights::Winograd(weights) => {
                convolve_winograd(step, input.images(), weights, buffers, output, epilogue);
            }
        }
    }
}

/// Writes the numbers of an output, channel by channel, place by place.
fn by_place<T: Copy>(of_output: &[T], area: usize, row: &mut [T]) {
    for (place, pixel) in row.chunks_exact_mut(of_output.len() / area).enumerate() {
        pixel.iter_mut().zip(of_output[place..].iter().step_by(area)).for_each(|(to, from)| *to = *from);
    }
}

/// A convolution of each channel with a window of its own.
#[derive(Debug)]
pub(crate) struct DepthwiseConvolution {
    square: Square,
    /// For each place of the window one number per channel.
    weights: Vec<f32>,
    bias: Vec<f32>,
    then: Option<Nonlinearity>,
}

impl DepthwiseConvolution {
    /// Takes weights in the order of torch, `[channels, 1, size, size]`.
    pub(crate) fn new(square: Square, weights: &[f32], bias: Vec<f32>, then: Option<Nonlinearity>) -> Self {
        let area = square.size * square.size;
        let by_place = (0..area).flat_map(|place| weights[place..].iter().step_by(area).copied());
        DepthwiseConvolution { square, weights: by_place.collect(), bias, then }
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }

    /// Replaces the output.
    pub(crate) fn apply(&self, step: &mut Step<'_>, input: &Map, output: &mut Map) {
        let window = self.square.over(input.sides);
        output.reset(input.count, window.output(input.sides), input.channels);
        let depthwise = Depthwise { window, weights: &self.weights, bias: &self.bias, then: self.then };
        convolve_depthwise(step, input.images(), depthwise, output.numbers_mut());
    }
}

/// A layer norm with its weights.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl LayerNorm {
    /// Reads `NAME.weight` and `NAME.bias`.
    pub(crate) fn read(weights: &Weights<'_>, name: &str, epsilon: f32) -> Result<LayerNorm> {
        let read = |part: &str| weights.values(&format!("{name}.{part}"));
        Ok(LayerNorm { weight: read("weight")?, bias: read("bias")?, epsilon })
    }

    pub(crate) fn apply(&self, level: Level, input: &[f32], output: &mut [f32]) {
        rows::layer_norm(level, input, &self.weight, Some(&self.bias), self.epsilon, output);
    }
}
