//! How a plan is compiled.

use seedhouse_kernels::{ActivationForm, GroupScales, Level, WeightFormat};

use crate::decoder::{NonFinitePolicy, Storage, TensorSource};

/// What may differ between two plans of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanOptions {
    /// How weights are kept.
    pub weights: WeightPrecision,
    /// How precisely activations meet them.
    pub activations: ActivationPrecision,
    /// Whether a model with weights that are not finite is loaded all the same.
    pub allow_non_finite: bool,
}

/// How weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightPrecision {
    /// As the file has them, without rounding.
    #[default]
    AsStored,
    /// 32-bit floating point.
    F32,
    /// The upper half of 32-bit floating point.
    Bf16,
    /// 8-bit integers with a scale per output.
    Int8,
    /// 8-bit integers with a scale for each 32 inputs.
    Int8Groups,
    /// 4-bit integers with a scale for each 32 inputs.
    Int4,
}

impl WeightPrecision {
    /// Every precision.
    pub const ALL: [WeightPrecision; 6] = [
        WeightPrecision::AsStored,
        WeightPrecision::F32,
        WeightPrecision::Bf16,
        WeightPrecision::Int8,
        WeightPrecision::Int8Groups,
        WeightPrecision::Int4,
    ];

    /// Returns the name under which settings know it.
    pub fn name(self) -> &'static str {
        match self {
            WeightPrecision::AsStored => "as-stored",
            WeightPrecision::F32 => "f32",
            WeightPrecision::Bf16 => "bf16",
            WeightPrecision::Int8 => "int8",
            WeightPrecision::Int8Groups => "int8-groups",
            WeightPrecision::Int4 => "int4",
        }
    }
}

/// How precisely activations meet the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ActivationPrecision {
    /// Rounded to what the instructions for the weights take: 8-bit integers for integers, bf16 for bf16.
    #[default]
    Fast,
    /// 32-bit floating point; weights are widened.
    F32,
}

impl PlanOptions {
    pub(super) fn non_finite(&self) -> NonFinitePolicy {
        match self.allow_non_finite {
            true => NonFinitePolicy::Flag,
            false => NonFinitePolicy::Refuse,
        }
    }

    /// Returns how the weights of a tensor are packed.
    pub(super) fn format(&self, source: &TensorSource) -> WeightFormat {
        match self.weights {
            WeightPrecision::AsStored => as_stored(source.storage()),
            WeightPrecision::F32 => WeightFormat::F32,
            WeightPrecision::Bf16 => WeightFormat::Bf16,
            WeightPrecision::Int8 => WeightFormat::Int8,
            WeightPrecision::Int8Groups => WeightFormat::Int8Groups(GroupScales::Scale),
            WeightPrecision::Int4 => WeightFormat::Int4Groups(GroupScales::Scale),
        }
    }

    /// Returns whether the groups or integers of a tensor are packed as they are stored.
    pub(super) fn keeps(&self, source: &TensorSource) -> bool {
        let is_as_asked = || source.is_quantized() && self.format(source) == as_stored(source.storage());
        self.weights == WeightPrecision::AsStored || is_as_asked()
    }

    /// Returns the form of the activations that meet weights of a format.
    pub(super) fn activations(&self, format: WeightFormat, level: Level) -> ActivationForm {
        match self.activations {
            ActivationPrecision::Fast => format.best_activations(level),
            ActivationPrecision::F32 => ActivationForm::F32,
        }
    }
}

/// Returns the format that holds every weight of a type exactly.
fn as_stored(storage: Storage) -> WeightFormat {
    match storage {
        Storage::F32 => WeightFormat::F32,
        Storage::F16 => WeightFormat::F16,
        Storage::BF16 => WeightFormat::Bf16,
        Storage::I16 => WeightFormat::Int16,
        Storage::I8 => WeightFormat::Int8,
        Storage::Q8_0 | Storage::Q5_0 | Storage::I8Groups => WeightFormat::Int8Groups(GroupScales::Scale),
        Storage::Q5_1 => WeightFormat::Int8Groups(GroupScales::ScaleAndOffset),
        Storage::Q6K => WeightFormat::Int8Groups(GroupScales::FactoredScale),
        Storage::Q5K => WeightFormat::Int8Groups(GroupScales::FactoredScaleAndOffset),
        Storage::Q4_0 | Storage::I4Groups => WeightFormat::Int4Groups(GroupScales::Scale),
        Storage::Q4_1 => WeightFormat::Int4Groups(GroupScales::ScaleAndOffset),
        Storage::Q4K => WeightFormat::Int4Groups(GroupScales::FactoredScaleAndOffset),
    }
}
