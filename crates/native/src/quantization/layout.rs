//! One quantised tensor: how it is stored, and its integers and scales output by output.

use half::f16;
use seedhouse_core::QuantizationType;
use seedhouse_kernels::{GroupScales, PackedMatrix, WeightFormat};

/// Inputs that share a scale.
pub(super) const GROUP: usize = 32;

/// The greatest scale of an output: no integer of 16 bits makes it infinite.
pub(super) const MOST_SCALE: f32 = f32::MAX / 32_768.0;

/// Returns the name of the tensor with the scales of another.
pub(super) fn scale_name(tensor: &str) -> String {
    format!("{tensor}.scale")
}

/// The form of a tensor. There is no dimension of 0, and every size that follows can be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    kind: QuantizationType,
    shape: Vec<usize>,
    axis: usize,
}

/// A tensor in the bytes of its file.
#[derive(Debug)]
pub(crate) struct Quantized<'a> {
    pub(crate) layout: Layout,
    pub(crate) integers: &'a [u8],
    pub(crate) scales: &'a [u8],
}

impl Layout {
    /// Returns a layout, or which rule it breaks.
    pub(super) fn new(kind: QuantizationType, shape: Vec<usize>, axis: usize) -> Result<Layout, String> {
        if matches!(kind, QuantizationType::Float16 | QuantizationType::Bfloat16) {
            return Err(format!("`{kind}` has no scales"));
        }
        let dimensions = if has_groups(kind) { 2..=2 } else { 2..=4 };
        if !dimensions.contains(&shape.len()) || axis > 1 {
            return Err(format!("the shape {shape:?} with the outputs in dimension {axis} is no `{kind}` tensor"));
        }
        let elements = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        // No type takes more than two bytes for a number, and no scale more than four for an output or a group.
        match elements.and_then(|elements| elements.checked_mul(8)) {
            Some(elements) if elements > 0 => Ok(Layout { kind, shape, axis }),
            _ => Err(format!("the shape {shape:?} cannot be that of a tensor")),
        }
    }

    pub(crate) fn kind(&self) -> QuantizationType {
        self.kind
    }

    /// Returns the dimensions before it was quantised, outermost first.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns which dimension is that of the outputs.
    pub(crate) fn axis(&self) -> usize {
        self.axis
    }

    /// Returns the dimension of the outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.shape[self.axis]
    }

    /// Returns how many numbers an output has.
    pub(crate) fn inputs(&self) -> usize {
        self.elements() / self.outputs()
    }

    /// Returns how many numbers there are.
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns how many scales an output has.
    pub(crate) fn groups(&self) -> usize {
        if has_groups(self.kind) { self.inputs().div_ceil(GROUP) } else { 1 }
    }

    pub(crate) fn has_groups(&self) -> bool {
        has_groups(self.kind)
    }

    /// Returns the type of safetensors that the integers have.
    pub(super) fn dtype(&self) -> &'static str {
        match self.kind {
            QuantizationType::Int16 => "I16",
            QuantizationType::Int4 => "U8",
            _ => "I8",
        }
    }

    /// Returns the name under which inspections count the tensor.
    pub(super) fn type_name(&self) -> &'static str {
        if self.kind == QuantizationType::Int4 { "I4" } else { self.dtype() }
    }

    /// Returns the dimensions of the tensor with the integers.
    pub(super) fn stored_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if self.kind == QuantizationType::Int4
            && let Some(last) = shape.last_mut()
        {
            *last = last.div_ceil(2);
        }
        shape
    }

    /// Returns the bytes of the integers.
    pub(super) fn stored_bytes(&self) -> usize {
        let numbers: usize = self.stored_shape().iter().product();
        if self.kind == QuantizationType::Int16 { numbers * 2 } else { numbers }
    }

    /// Returns the type of safetensors that the scales have.
    pub(super) fn scale_dtype(&self) -> &'static str {
        if self.has_groups() { "F16" } else { "F32" }
    }

    /// Returns the dimensions of the tensor with the scales.
    pub(super) fn scale_shape(&self) -> Vec<usize> {
        if self.has_groups() { vec![self.outputs(), self.groups()] } else { vec![self.outputs()] }
    }

    /// Returns the format in which products take the tensor.
    pub(crate) fn format(&self) -> WeightFormat {
        match self.kind {
            QuantizationType::Int16 => WeightFormat::Int16,
            QuantizationType::Int8Groups => WeightFormat::Int8Groups(GroupScales::Scale),
            QuantizationType::Int4 => WeightFormat::Int4Groups(GroupScales::Scale),
            _ => WeightFormat::Int8,
        }
    }

    /// Returns how far neighbours stand from each other: outputs, inputs, and how many inputs lie side by side.
    fn steps(&self) -> (usize, usize, usize) {
        let rest: usize = self.shape[2..].iter().product();
        match self.axis {
            0 => (self.shape[1] * rest, rest, rest),
            _ => (rest, self.shape[1] * rest, rest),
        }
    }

    /// Writes the integers of an output in the order of its other dimensions.
    ///
    /// # Panics
    /// When there is no such output, or the slices have other lengths.
    pub(crate) fn read_integers(&self, stored: &[u8], output: usize, integers: &mut [i16]) {
        assert_eq!(integers.len(), self.inputs(), "the caller has space for an output");
        match self.kind {
            QuantizationType::Int4 => self.read_nibbles(stored, output, integers),
            QuantizationType::Int16 => {
                let (numbers, _) = stored.as_chunks::<2>();
                self.gather(numbers, output, integers, i16::from_le_bytes);
            }
            _ => self.gather(stored, output, integers, |byte| byte.cast_signed().into()),
        }
    }

    /// Writes integers of an output to their places among the stored bytes, which are 0 before.
    pub(super) fn put_integers(&self, stored: &mut [u8], output: usize, integers: &[i16]) {
        match self.kind {
            QuantizationType::Int4 => self.put_nibbles(stored, output, integers),
            QuantizationType::Int16 => {
                let (numbers, _) = stored.as_chunks_mut::<2>();
                self.scatter(numbers, output, integers, i16::to_le_bytes);
            }
            _ => self.scatter(stored, output, integers, |integer| (integer as i8).cast_unsigned()),
        }
    }

    fn scatter<T: Copy>(&self, stored: &mut [T], output: usize, integers: &[i16], encode: impl Fn(i16) -> T) {
        let (of_output, of_input, together) = self.steps();
        let first = &mut stored[output * of_output..];
        let (length, step) = if self.axis == 0 { (integers.len(), integers.len()) } else { (together, of_input) };
        for (run, integers) in integers.chunks_exact(length).enumerate() {
            let run = &mut first[run * step..][..length];
            run.iter_mut().zip(integers).for_each(|(stored, integer)| *stored = encode(*integer));
        }
    }

    fn put_nibbles(&self, stored: &mut [u8], output: usize, integers: &[i16]) {
        let row_bytes = self.shape[1].div_ceil(2);
        let nibble = |integer: i16| ((integer + 8) & 15).cast_unsigned() as u8;
        if self.axis == 0 {
            let row = &mut stored[output * row_bytes..][..row_bytes];
            for (byte, pair) in row.iter_mut().zip(integers.chunks(2)) {
                *byte = nibble(pair[0]) | pair.get(1).map_or(0, |second| nibble(*second) << 4);
            }
            return;
        }
        for (input, integer) in integers.iter().enumerate() {
            stored[input * row_bytes + output / 2] |= nibble(*integer) << (output % 2 * 4);
        }
    }

    fn gather<T: Copy>(&self, stored: &[T], output: usize, integers: &mut [i16], number: impl Fn(T) -> i16) {
        let (of_output, of_input, together) = self.steps();
        let first = &stored[output * of_output..];
        // Inputs of an output that follow each other without a gap are one run.
        let (length, step) = if self.axis == 0 { (integers.len(), integers.len()) } else { (together, of_input) };
        for (run, integers) in integers.chunks_exact_mut(length).enumerate() {
            let run = &first[run * step..][..length];
            integers.iter_mut().zip(run).for_each(|(integer, stored)| *integer = number(*stored));
        }
    }

    fn read_nibbles(&self, stored: &[u8], output: usize, integers: &mut [i16]) {
        let row_bytes = self.shape[1].div_ceil(2);
        let nibble = |byte: u8, place: usize| i16::from((byte >> (place % 2 * 4)) & 15) - 8;
        for (input, integer) in integers.iter_mut().enumerate() {
            let (row, column) = if self.axis == 0 { (output, input) } else { (input, output) };
            *integer = nibble(stored[row * row_bytes + column / 2], column);
        }
    }

    /// Returns whether a number is a scale: one greater than 0 with which no weight is infinite, and with 4 bits perhaps below 0.
    pub(super) fn is_scale(&self, number: f32) -> bool {
        match self.kind {
            QuantizationType::Int4 => number != 0.0 && number.is_finite(),
            _ => number > 0.0 && number <= MOST_SCALE,
        }
    }

    /// Returns the scale of an output of a type without groups.
    pub(crate) fn scale(&self, stored: &[u8], output: usize) -> f32 {
        let (scales, _) = stored.as_chunks::<4>();
        f32::from_le_bytes(scales[output])
    }

    /// Writes the scales of the groups of an output.
    pub(crate) fn read_scales(&self, stored: &[u8], output: usize, scales: &mut [f32]) {
        let (halves, _) = stored.as_chunks::<2>();
        let halves = &halves[output * self.groups()..][..self.groups()];
        scales.iter_mut().zip(halves).for_each(|(scale, half)| *scale = f16::from_le_bytes(*half).to_f32());
    }

    /// Writes the weights of an output in the order of its other dimensions.
    pub(crate) fn read_weights(&self, (integers, scales): (&[u8], &[u8]), output: usize, weights: &mut [f32]) {
        let mut row = vec![0; self.inputs()];
        self.read_integers(integers, output, &mut row);
        let mut of_groups = vec![0.0; self.groups()];
        match self.has_groups() {
            true => self.read_scales(scales, output, &mut of_groups),
            false => of_groups[0] = self.scale(scales, output),
        }
        let length = if self.has_groups() { GROUP } else { row.len() };
        let groups = weights.chunks_mut(length).zip(row.chunks(length));
        for ((weights, integers), scale) in groups.zip(of_groups) {
            weights.iter_mut().zip(integers).for_each(|(weight, integer)| *weight = f32::from(*integer) * scale);
        }
    }
}

impl Quantized<'_> {
    /// Returns the weights in row-major order of the shape.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        let (of_output, of_input, together) = self.layout.steps();
        let mut weights = vec![0.0; self.layout.elements()];
        let mut row = vec![0.0; self.layout.inputs()];
        for output in 0..self.layout.outputs() {
            self.layout.read_weights((self.integers, self.scales), output, &mut row);
            for (run, numbers) in row.chunks_exact(together).enumerate() {
                weights[output * of_output + run * of_input..][..together].copy_from_slice(numbers);
            }
        }
        weights
    }

    /// Packs matrices of the same type and the same inputs, one under the other, with the integers and scales that they have.
    pub(crate) fn pack(matrices: &[&Quantized<'_>]) -> PackedMatrix {
        let layout = &matrices[0].layout;
        let (format, inputs) = (layout.format(), layout.inputs());
        let outputs = matrices.iter().map(|matrix| matrix.layout.outputs()).sum();
        if !layout.has_groups() {
            return PackedMatrix::pack_integers(format, outputs, inputs, &mut |output, row| {
                let (matrix, output) = locate(matrices, output);
                matrix.layout.read_integers(matrix.integers, output, row);
                matrix.layout.scale(matrix.scales, output)
            });
        }
        let mut integers = vec![0; inputs];
        PackedMatrix::pack_groups(format, outputs, inputs, &mut |output, row| {
            let (matrix, output) = locate(matrices, output);
            matrix.layout.read_integers(matrix.integers, output, &mut integers);
            row.quants.iter_mut().zip(&integers).for_each(|(quant, integer)| *quant = *integer as i8);
            matrix.layout.read_scales(matrix.scales, output, row.scales);
        })
    }
}

/// Returns the matrix of an output of matrices that stand one under the other, and the output within it.
fn locate<'m, 'a>(matrices: &[&'m Quantized<'a>], mut output: usize) -> (&'m Quantized<'a>, usize) {
    for matrix in matrices {
        if output < matrix.layout.outputs() {
            return (matrix, output);
        }
        output -= matrix.layout.outputs();
    }
    unreachable!("the packed matrix has as many outputs as its parts")
}

fn has_groups(kind: QuantizationType) -> bool {
    matches!(kind, QuantizationType::Int8Groups | QuantizationType::Int4)
}
