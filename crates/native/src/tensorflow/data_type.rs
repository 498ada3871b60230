//! Types of values.

/// A type by its number in `types.proto` of TensorFlow; an unknown number stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataType(pub(super) i32);

/// How the values of a type are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    /// Each takes as many bytes.
    Bytes(u64),
    /// Texts: their lengths, a checksum, their bytes.
    Texts,
    /// Objects of TensorFlow.
    Objects,
}

/// Names and storage in the order of the numbers, from 1.
const TYPES: [(&str, Storage); 33] = [
    ("float32", Storage::Bytes(4)),
    ("float64", Storage::Bytes(8)),
    ("int32", Storage::Bytes(4)),
    ("uint8", Storage::Bytes(1)),
    ("int16", Storage::Bytes(2)),
    ("int8", Storage::Bytes(1)),
    ("string", Storage::Texts),
    ("complex64", Storage::Bytes(8)),
    ("int64", Storage::Bytes(8)),
    ("bool", Storage::Bytes(1)),
    ("qint8", Storage::Bytes(1)),
    ("quint8", Storage::Bytes(1)),
    ("qint32", Storage::Bytes(4)),
    ("bfloat16", Storage::Bytes(2)),
    ("qint16", Storage::Bytes(2)),
    ("quint16", Storage::Bytes(2)),
    ("uint16", Storage::Bytes(2)),
    ("complex128", Storage::Bytes(16)),
    ("float16", Storage::Bytes(2)),
    ("resource", Storage::Objects),
    ("variant", Storage::Objects),
    ("uint32", Storage::Bytes(4)),
    ("uint64", Storage::Bytes(8)),
    ("float8_e5m2", Storage::Bytes(1)),
    ("float8_e4m3fn", Storage::Bytes(1)),
    ("float8_e4m3fnuz", Storage::Bytes(1)),
    ("float8_e4m3b11fnuz", Storage::Bytes(1)),
    ("float8_e5m2fnuz", Storage::Bytes(1)),
    // Types of fewer bits have a byte for each value as well.
    ("int4", Storage::Bytes(1)),
    ("uint4", Storage::Bytes(1)),
    ("int2", Storage::Bytes(1)),
    ("uint2", Storage::Bytes(1)),
    ("float4_e2m1fn", Storage::Bytes(1)),
];

/// Graphs of TensorFlow 1 name a variable of a type, not its value, by a number that is so much higher.
const REFERENCE: i32 = 100;

impl DataType {
    /// Returns the name that `tf.DType` has.
    pub(super) fn name(self) -> String {
        match (self.known(), DataType(self.0.saturating_sub(REFERENCE)).known()) {
            (Some((name, _)), _) => name.to_owned(),
            (None, Some((name, _))) => format!("{name}_ref"),
            (None, None) => format!("data type {}", self.0),
        }
    }

    /// Returns how values are stored; `None` for an unknown type.
    pub(super) fn storage(self) -> Option<Storage> {
        self.known().map(|(_, storage)| storage)
    }

    fn known(self) -> Option<(&'static str, Storage)> {
        let index = usize::try_from(self.0).ok()?.checked_sub(1)?;
        TYPES.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_tensorflow() {
        let cases = [(1, "float32"), (14, "bfloat16"), (33, "float4_e2m1fn"), (101, "float32_ref"), (0, "data type 0")];
        for (number, name) in cases {
            assert_eq!(DataType(number).name(), name);
        }
        for number in [i32::MIN, -1, 0, 34, 101, i32::MAX] {
            assert_eq!(DataType(number).storage(), None, "{number}");
        }
    }
}
