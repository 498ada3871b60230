//! What a pickle can be made of.

use super::super::checkpoint::DataType;
use super::global::Global;
use super::tensor_record::TensorRecord;

/// A place in the arena of a pickle's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle(u32);

impl Handle {
    /// Returns the handle of the value at `index`, which the bound on operations keeps within 32 bits.
    pub(super) fn new(index: usize) -> Handle {
        Handle(u32::try_from(index).expect("a pickle has at most MOST_OPERATIONS values"))
    }

    /// Returns the position in the arena.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value; texts and bytes stay in the file.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// `None`.
    None,
    /// A boolean.
    Bool(bool),
    /// An integer that 64 bits hold.
    Integer(i64),
    /// A number; torch writes none into state dicts, but learning rates and losses stand beside them.
    Float,
    /// A text.
    Text(&'a str),
    /// Bytes, whatever they are.
    Bytes,
    /// A tuple.
    Tuple(Vec<Handle>),
    /// A list.
    List(Vec<Handle>),
    /// A `dict` or an `OrderedDict`; both keep their order.
    Dictionary(Vec<(Handle, Handle)>),
    /// One of the allowed globals.
    Global(Global),
    /// A storage, by its position among the pickle's storages.
    Storage(usize),
    /// A tensor.
    Tensor(Box<TensorRecord>),
}

impl Value<'_> {
    /// Returns what kind of value it is, for errors.
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::None => "`None`".into(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Integer(value) => format!("the integer {value}"),
            Value::Float => "a float".into(),
            Value::Text(text) => format!("the text {}", super::super::quote(text)),
            Value::Bytes => "a byte string".into(),
            Value::Tuple(items) => format!("a tuple of {} items", items.len()),
            Value::List(items) => format!("a list of {} items", items.len()),
            Value::Dictionary(entries) => format!("a dictionary of {} entries", entries.len()),
            Value::Global(global) => format!("the global `{}`", global.name()),
            Value::Storage(_) => "a storage".into(),
            Value::Tensor(_) => "a tensor".into(),
        }
    }
}

/// A storage as the pickle declares it; its bytes stand elsewhere in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage<'a> {
    /// Its name within the file.
    pub(crate) key: &'a str,
    /// The type of its elements.
    pub(crate) data_type: DataType,
    /// How many there are.
    pub(crate) element_count: usize,
    /// How many bytes they take.
    pub(crate) size_bytes: usize,
}
