//! How the weights of layers are kept, and what they are multiplied with.

use seedhouse_core::QuantizationType;
use seedhouse_kernels::{ActivationForm, GroupScales, Level, WeightFormat};

use crate::plan::{ActivationPrecision, PlanOptions, WeightPrecision};
use crate::torch::checkpoint::DataType;

/// How networks are compiled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compile {
    pub(crate) options: PlanOptions,
    pub(crate) level: Level,
}

impl Compile {
    /// Returns the format of weights that are stored in a type. What was folded is not as it was stored: it is f32.
    pub(crate) fn format(&self, stored: DataType) -> WeightFormat {
        match (self.options.weights, stored) {
            (WeightPrecision::AsStored, DataType::F16) => WeightFormat::F16,
            (WeightPrecision::AsStored, DataType::Bf16) | (WeightPrecision::Bf16, _) => WeightFormat::Bf16,
            (WeightPrecision::AsStored | WeightPrecision::F32, _) => WeightFormat::F32,
            (WeightPrecision::Int8, _) => WeightFormat::Int8,
            (WeightPrecision::Int8Groups, _) => WeightFormat::Int8Groups(GroupScales::Scale),
            (WeightPrecision::Int4, _) => WeightFormat::Int4Groups(GroupScales::Scale),
        }
    }

    /// Returns whether integers of a type are computed with as the file has them, and not as weights of another precision.
    pub(crate) fn keeps(&self, kind: QuantizationType) -> bool {
        match self.options.weights {
            WeightPrecision::AsStored => true,
            WeightPrecision::Int8 => kind == QuantizationType::Int8,
            WeightPrecision::Int8Groups => kind == QuantizationType::Int8Groups,
            WeightPrecision::Int4 => kind == QuantizationType::Int4,
            WeightPrecision::F32 | WeightPrecision::Bf16 => false,
        }
    }

    /// Returns how layers are compiled that are not rounded, whatever is asked for.
    pub(crate) fn exact(&self) -> Compile {
        let options =
            PlanOptions { weights: WeightPrecision::F32, activations: ActivationPrecision::F32, ..self.options };
        Compile { options, ..*self }
    }

    /// Returns the form of the activations that meet weights of a format.
    pub(crate) fn form(&self, format: WeightFormat) -> ActivationForm {
        match self.options.activations {
            ActivationPrecision::Fast => format.best_activations(self.level),
            ActivationPrecision::F32 => ActivationForm::F32,
        }
    }
}
