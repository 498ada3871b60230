//! The table of allowed globals. What is not in it is refused by its full name.

use super::super::checkpoint::DataType;

/// A global that a pickle may name. None of them runs code of ours that depends on anything but its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    /// Makes a dictionary.
    OrderedDict,
    /// Makes a tensor out of a storage, an offset, a shape and strides.
    RebuildTensor,
    /// Returns the tensor it is given.
    RebuildParameter,
    /// Names the type of a storage's elements.
    StorageType(DataType),
}

const ALLOWED: [(&str, &str, Global); 13] = [
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils", "_rebuild_parameter", Global::RebuildParameter),
    ("torch", "DoubleStorage", Global::StorageType(DataType::F64)),
    ("torch", "FloatStorage", Global::StorageType(DataType::F32)),
    ("torch", "HalfStorage", Global::StorageType(DataType::F16)),
    ("torch", "BFloat16Storage", Global::StorageType(DataType::Bf16)),
    ("torch", "LongStorage", Global::StorageType(DataType::I64)),
    ("torch", "IntStorage", Global::StorageType(DataType::I32)),
    ("torch", "ShortStorage", Global::StorageType(DataType::I16)),
    ("torch", "CharStorage", Global::StorageType(DataType::I8)),
    ("torch", "ByteStorage", Global::StorageType(DataType::U8)),
    ("torch", "BoolStorage", Global::StorageType(DataType::Bool)),
];

impl Global {
    /// Returns the allowed global of this name.
    pub(super) fn find(module: &str, name: &str) -> Option<Global> {
        ALLOWED.iter().find(|entry| (entry.0, entry.1) == (module, name)).map(|entry| entry.2)
    }

    /// Returns its full name.
    pub(super) fn name(self) -> String {
        let entry = ALLOWED.iter().find(|entry| entry.2 == self).expect("every global stands in the table");
        format!("{}.{}", entry.0, entry.1)
    }
}
