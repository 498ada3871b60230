//! The table of kernels: which one multiplies a format with a form of activations.

use super::bf16::Bf16;
use super::groups::Grouped;
use super::int8::Int8;
use super::portable::Portable;
use super::tile::{TileFunction, add};
use super::vector::Vector;
use super::widened::Widened;
use crate::{ActivationForm, Level, WeightFormat};

/// Returns the kernel of a format that accepts the form.
pub(super) fn tile_function(level: Level, format: WeightFormat, form: ActivationForm) -> TileFunction {
    match level {
        Level::Portable => kernel::<Portable>(format, form),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => kernel::<super::avx2::Avx2>(format, form),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => kernel::<super::avx512::Avx512>(format, form),
        #[cfg(not(target_arch = "x86_64"))]
        Level::Avx2 | Level::Avx512 => kernel::<Portable>(format, form),
    }
}

fn kernel<V: Vector>(format: WeightFormat, form: ActivationForm) -> TileFunction {
    match form {
        ActivationForm::F32 => widened::<V>()[number(format)],
        ActivationForm::Bf16 => add::<Bf16, V>,
        ActivationForm::Int8Rows => add::<Int8, V>,
        ActivationForm::Int8Groups => grouped::<V>()[number(format) - FIRST_WITH_GROUPS],
    }
}

/// Where the formats with groups begin in [`WeightFormat::ALL`].
const FIRST_WITH_GROUPS: usize = 5;

fn number(format: WeightFormat) -> usize {
    WeightFormat::ALL.iter().position(|known| *known == format).expect("every format is in the list")
}

fn widened<V: Vector>() -> [TileFunction; 13] {
    [
        add::<Widened<0>, V>,
        add::<Widened<1>, V>,
        add::<Widened<2>, V>,
        add::<Widened<3>, V>,
        add::<Widened<4>, V>,
        add::<Widened<5>, V>,
        add::<Widened<6>, V>,
        add::<Widened<7>, V>,
        add::<Widened<8>, V>,
        add::<Widened<9>, V>,
        add::<Widened<10>, V>,
        add::<Widened<11>, V>,
        add::<Widened<12>, V>,
    ]
}

fn grouped<V: Vector>() -> [TileFunction; 8] {
    [
        add::<Grouped<5>, V>,
        add::<Grouped<6>, V>,
        add::<Grouped<7>, V>,
        add::<Grouped<8>, V>,
        add::<Grouped<9>, V>,
        add::<Grouped<10>, V>,
        add::<Grouped<11>, V>,
        add::<Grouped<12>, V>,
    ]
}
