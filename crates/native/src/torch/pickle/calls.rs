//! The opcodes that name globals and call them: the place where Python would run code and this parser does not.

use seedhouse_core::{Error, Result};

use super::global::Global;
use super::machine::Machine;
use super::opcode::Opcode;
use super::tensor_record::{MOST_DIMENSIONS, TensorRecord};
use super::value::{Handle, Storage, Value};
use crate::torch::checkpoint::DataType;
use crate::torch::quote;

impl<'a> Machine<'_, 'a> {
    pub(super) fn global(&mut self, opcode: Opcode) -> Result<()> {
        let (module, name) = match opcode {
            Opcode::StackGlobal => {
                let names = self.pop_many(2)?;
                (self.text(names[0], "a module")?, self.text(names[1], "a global")?)
            }
            _ => (self.cursor.line()?, self.cursor.line()?),
        };
        let Some(global) = Global::find(module, name) else {
            let full_name = quote(&format!("{module}.{name}"));
            let reason = format!(
                "the pickle asks for the global {full_name}, which is not among the allowed ones; nothing was executed"
            );
            return Err(Error::malformed(self.file, reason));
        };
        if opcode == Opcode::Inst {
            return Err(self
                .cursor
                .error(format!("the opcode INST makes `{}`, which torch never does", global.name())));
        }
        self.push(Value::Global(global));
        Ok(())
    }

    /// Makes a storage of `("storage", type, key, device, element count[, view])`.
    pub(super) fn persistent_id(&mut self) -> Result<()> {
        let handle = self.pop()?;
        let parts = self.tuple(handle, "a persistent id")?;
        let (data_type, key, count) = match *parts.as_slice() {
            [kind, data_type, key, _device, count] => (self.storage_type(kind, data_type)?, key, count),
            [kind, data_type, key, _device, count, view] => {
                let data_type = self.storage_type(kind, data_type)?;
                if !matches!(self.value(view), Value::None) {
                    let reason = "one of its storages is a view of another one; whole storages are read";
                    return Err(Error::unsupported(self.file, reason));
                }
                (data_type, key, count)
            }
            ref other => {
                return Err(self.cursor.error(format!("a persistent id has {} parts, expected 5 or 6", other.len())));
            }
        };
        let key = self.text(key, "the key of a storage")?;
        let element_count = self.size(count, "the length of a storage")?;
        let size_bytes = element_count
            .checked_mul(data_type.size_bytes())
            .ok_or_else(|| self.cursor.error(format!("storage {} has {element_count} elements", quote(key))))?;
        let index = self.declare(Storage { key, data_type, element_count, size_bytes })?;
        self.push(Value::Storage(index));
        Ok(())
    }

    fn storage_type(&self, kind: Handle, data_type: Handle) -> Result<DataType> {
        let kind = self.text(kind, "the kind of a persistent id")?;
        if kind != "storage" {
            return Err(self.cursor.error(format!("a persistent id is for {}, expected `storage`", quote(kind))));
        }
        match self.value(data_type) {
            Value::Global(Global::StorageType(data_type)) => Ok(*data_type),
            other => Err(self.cursor.error(format!("the type of a storage is {}", other.describe()))),
        }
    }

    /// Returns the position of a storage, which several tensors may name, in the same words.
    fn declare(&mut self, storage: Storage<'a>) -> Result<usize> {
        let Some(index) = self.storage_indices.get(storage.key).copied() else {
            self.storage_indices.insert(storage.key, self.storages.len());
            self.storages.push(storage);
            return Ok(self.storages.len() - 1);
        };
        let known = &self.storages[index];
        if *known == storage {
            return Ok(index);
        }
        Err(self.cursor.error(format!(
            "storage {} has {} elements of {}, but had {} of {} before",
            quote(storage.key),
            storage.element_count,
            storage.data_type.as_str(),
            known.element_count,
            known.data_type.as_str()
        )))
    }

    pub(super) fn reduce(&mut self) -> Result<()> {
        /// `_rebuild_tensor_v2` has the most: it may carry hooks and metadata at the end.
        const MOST_ARGUMENTS: usize = 7;
        let call = self.pop_many(2)?;
        let Value::Global(global) = *self.value(call[0]) else {
            let found = self.value(call[0]).describe();
            return Err(self.cursor.error(format!("the pickle calls {found}; nothing was executed")));
        };
        let arguments = self.tuple(call[1], "the arguments of a call")?;
        if arguments.len() > MOST_ARGUMENTS {
            let reason = format!("`{}` is called with {} arguments", global.name(), arguments.len());
            return Err(self.cursor.error(reason));
        }
        let arguments = arguments.clone();
        match (global, arguments.as_slice()) {
            (Global::OrderedDict, []) => self.push(Value::Dictionary(Vec::new())),
            (Global::OrderedDict, [pairs]) => {
                let entries = self.pairs(*pairs)?;
                self.push(Value::Dictionary(entries));
            }
            // Gradients and hooks, the rest of the arguments, say nothing about the values.
            (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                let tensor = self.rebuild_tensor(*storage, *offset, *shape, *strides)?;
                self.push(Value::Tensor(Box::new(tensor)));
            }
            (Global::RebuildParameter, [tensor, ..]) if arguments.len() <= 3 => match self.value(*tensor) {
                Value::Tensor(_) => self.stack.push(*tensor),
                other => return Err(self.cursor.error(format!("a parameter is made of {}", other.describe()))),
            },
            (other, arguments) => {
                let reason = format!("`{}` is called with {} arguments", other.name(), arguments.len());
                return Err(self.cursor.error(reason));
            }
        }
        Ok(())
    }

    /// Returns the entries of an `OrderedDict` as Python 2 wrote it: one list of pairs.
    fn pairs(&mut self, handle: Handle) -> Result<Vec<(Handle, Handle)>> {
        let Value::List(list) = self.value(handle) else {
            let found = self.value(handle).describe();
            return Err(self.cursor.error(format!("an OrderedDict is made of {found}, expected a list of pairs")));
        };
        let pair = |handle: &Handle| match self.value(*handle) {
            Value::List(items) | Value::Tuple(items) if items.len() == 2 => Ok((items[0], items[1])),
            other => {
                Err(self.cursor.error(format!("an entry of an OrderedDict is {}, expected a pair", other.describe())))
            }
        };
        let entries = list.iter().map(pair).collect::<Result<Vec<_>>>()?;
        // The memo may hold one list that is copied again and again.
        self.spend(entries.len())?;
        Ok(entries)
    }

    fn rebuild_tensor(
        &mut self,
        storage: Handle,
        offset: Handle,
        shape: Handle,
        strides: Handle,
    ) -> Result<TensorRecord> {
        let Value::Storage(storage) = *self.value(storage) else {
            let found = self.value(storage).describe();
            return Err(self.cursor.error(format!("a tensor is made of {found}, expected a storage")));
        };
        let record = TensorRecord {
            storage,
            offset: self.size(offset, "the offset of a tensor")?,
            shape: self.sizes(shape, "the shape of a tensor")?,
            strides: self.sizes(strides, "the strides of a tensor")?,
        };
        // The memo may hold one shape that is copied again and again.
        self.spend(record.shape.len() + record.strides.len())?;
        record.check(&self.storages[storage]).map_err(|reason| self.cursor.error(reason))?;
        Ok(record)
    }

    /// Drops the attributes of a dictionary: `_metadata` counts versions of modules and says nothing about tensors.
    pub(super) fn build(&mut self) -> Result<()> {
        let attributes = self.pop()?;
        let object = self.top()?;
        match (self.value(object), self.value(attributes)) {
            (Value::Dictionary(_), Value::Dictionary(_)) => Ok(()),
            (object, attributes) => {
                let reason = format!("BUILD gives {} to {}", attributes.describe(), object.describe());
                Err(self.cursor.error(reason))
            }
        }
    }

    fn value(&self, handle: Handle) -> &Value<'a> {
        &self.values[handle.index()]
    }

    fn text(&self, handle: Handle, what: &str) -> Result<&'a str> {
        match self.value(handle) {
            Value::Text(text) => Ok(text),
            other => Err(self.cursor.error(format!("{what} is {}, expected a text", other.describe()))),
        }
    }

    fn tuple(&self, handle: Handle, what: &str) -> Result<&Vec<Handle>> {
        match self.value(handle) {
            Value::Tuple(items) => Ok(items),
            other => Err(self.cursor.error(format!("{what} is {}, expected a tuple", other.describe()))),
        }
    }

    fn size(&self, handle: Handle, what: &str) -> Result<usize> {
        match self.value(handle) {
            Value::Integer(value) => {
                usize::try_from(*value).map_err(|_| self.cursor.error(format!("{what} is {value}, expected 0 or more")))
            }
            other => Err(self.cursor.error(format!("{what} is {}, expected an integer", other.describe()))),
        }
    }

    fn sizes(&self, handle: Handle, what: &str) -> Result<Vec<usize>> {
        let items = self.tuple(handle, what)?;
        if items.len() > MOST_DIMENSIONS {
            let reason = format!("{what} has {} dimensions, but at most {MOST_DIMENSIONS} are read", items.len());
            return Err(self.cursor.error(reason));
        }
        items.iter().map(|item| self.size(*item, what)).collect()
    }
}
