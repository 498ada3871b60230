//! Where the parts of a plan's file lie.

use seedhouse_kernels::{GroupScales, PackedMatrix, WeightFormat};

use super::header::{PREFIX_BYTES, PartEntry};

/// The first part begins on a page.
const PAGE: usize = 4096;

/// What the table calls a part that is a vector of f32.
pub(super) const VECTOR: &str = "vector";

/// The formats of matrices, as the table calls them.
const FORMATS: [(&str, WeightFormat); 13] = [
    ("f32", WeightFormat::F32),
    ("f16", WeightFormat::F16),
    ("bf16", WeightFormat::Bf16),
    ("int16", WeightFormat::Int16),
    ("int8", WeightFormat::Int8),
    ("int8/scale", WeightFormat::Int8Groups(GroupScales::Scale)),
    ("int8/scale+offset", WeightFormat::Int8Groups(GroupScales::ScaleAndOffset)),
    ("int8/factored-scale", WeightFormat::Int8Groups(GroupScales::FactoredScale)),
    ("int8/factored-scale+offset", WeightFormat::Int8Groups(GroupScales::FactoredScaleAndOffset)),
    ("int4/scale", WeightFormat::Int4Groups(GroupScales::Scale)),
    ("int4/scale+offset", WeightFormat::Int4Groups(GroupScales::ScaleAndOffset)),
    ("int4/factored-scale", WeightFormat::Int4Groups(GroupScales::FactoredScale)),
    ("int4/factored-scale+offset", WeightFormat::Int4Groups(GroupScales::FactoredScaleAndOffset)),
];

pub(super) fn format_name(format: WeightFormat) -> &'static str {
    FORMATS.iter().find(|(_, known)| *known == format).map(|(name, _)| *name).expect("every format has a name")
}

pub(super) fn format_of(name: &str) -> Option<WeightFormat> {
    FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
}

/// Returns where the first part begins behind a header of that length, or `None` when that cannot be counted.
pub(super) fn first_part(header_bytes: usize) -> Option<usize> {
    PREFIX_BYTES.checked_add(header_bytes)?.checked_next_multiple_of(PAGE)
}

/// Returns the bytes of a part with the zeros behind it.
pub(super) fn padded(length: usize) -> Option<usize> {
    length.checked_next_multiple_of(PackedMatrix::ALIGNMENT)
}

/// Returns how long a part is by its form, or `None` for a form that is not known or a length that cannot be counted.
pub(super) fn length_of(entry: &PartEntry) -> Option<usize> {
    match entry.format.as_str() {
        VECTOR => entry.outputs.checked_mul(entry.inputs)?.checked_mul(size_of::<f32>()),
        name => Some(PackedMatrix::packed_len(format_of(name)?, entry.outputs, entry.inputs)),
    }
}
