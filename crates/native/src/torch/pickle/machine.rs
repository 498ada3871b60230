//! The stack machine.

use std::collections::HashMap;

use seedhouse_core::{Error, Result};

use super::cursor::Cursor;
use super::opcode::{Opcode, name_of};
use super::value::{Handle, Storage, Value};
use super::{MOST_OPERATIONS, Pickle};

/// The state of a pickle that is being read. Every operation takes at least a byte and makes at most one value, pushes
/// at most one handle and notes at most one in the memo, so the bound on operations bounds them all.
pub(super) struct Machine<'f, 'a> {
    pub(super) file: &'f str,
    pub(super) cursor: Cursor<'f, 'a>,
    pub(super) values: Vec<Value<'a>>,
    pub(super) stack: Vec<Handle>,
    /// Heights of the stack.
    marks: Vec<usize>,
    /// A map, since a pickle may note a value under any number.
    memo: HashMap<u32, Handle>,
    pub(super) storages: Vec<Storage<'a>>,
    pub(super) storage_indices: HashMap<&'a str, usize>,
    /// What may still be spent of [`MOST_OPERATIONS`].
    budget: usize,
}

impl<'f, 'a> Machine<'f, 'a> {
    pub(super) fn new(file: &'f str, bytes: &'a [u8], start: usize) -> Self {
        Machine {
            file,
            cursor: Cursor::new(file, bytes, start),
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            storages: Vec::new(),
            storage_indices: HashMap::new(),
            budget: MOST_OPERATIONS,
        }
    }

    /// Reads up to and with the first STOP.
    pub(super) fn run(mut self) -> Result<Pickle<'a>> {
        loop {
            self.spend(1)?;
            let [byte] = self.cursor.array("an opcode")?;
            let opcode = Opcode::from_byte(byte).ok_or_else(|| self.unknown_opcode(byte))?;
            if opcode == Opcode::Stop {
                return self.finish();
            }
            self.execute(opcode)?;
        }
    }

    /// Accounts for operations, and for values that one operation copies.
    pub(super) fn spend(&mut self, operations: usize) -> Result<()> {
        self.budget = self
            .budget
            .checked_sub(operations)
            .ok_or_else(|| self.cursor.error(format!("there are more than {MOST_OPERATIONS} operations")))?;
        Ok(())
    }

    fn finish(mut self) -> Result<Pickle<'a>> {
        let root = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            let reason = format!("STOP leaves {} values and {} marks behind", self.stack.len(), self.marks.len());
            return Err(self.cursor.error(reason));
        }
        let Machine { cursor, values, storages, storage_indices, .. } = self;
        Ok(Pickle { values, root, storages, storage_indices, end: cursor.position })
    }

    fn execute(&mut self, opcode: Opcode) -> Result<()> {
        match opcode {
            Opcode::Stop => unreachable!("run ends at STOP"),
            Opcode::Proto => self.protocol(),
            Opcode::Frame => self.cursor.array::<8>("a frame's length").map(|_| ()),
            Opcode::Mark => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            Opcode::Pop | Opcode::PopMark | Opcode::Dup => self.rearrange(opcode),
            Opcode::BinPut | Opcode::LongBinPut | Opcode::Memoize => self.note(opcode),
            Opcode::BinGet | Opcode::LongBinGet => self.recall(opcode),
            Opcode::Append | Opcode::Appends | Opcode::SetItem | Opcode::SetItems => self.fill(opcode),
            Opcode::Global | Opcode::StackGlobal | Opcode::Inst => self.global(opcode),
            Opcode::BinPersid => self.persistent_id(),
            Opcode::Reduce => self.reduce(),
            Opcode::Build => self.build(),
            _ => {
                let value = self.constant(opcode)?;
                self.push(value);
                Ok(())
            }
        }
    }

    /// Returns the value of an opcode that makes one out of its operand, or out of the top of the stack.
    fn constant(&mut self, opcode: Opcode) -> Result<Value<'a>> {
        Ok(match opcode {
            Opcode::None => Value::None,
            Opcode::NewTrue => Value::Bool(true),
            Opcode::NewFalse => Value::Bool(false),
            Opcode::BinInt => Value::Integer(i32::from_le_bytes(self.cursor.array("an integer")?).into()),
            Opcode::BinInt1 => Value::Integer(self.short_length()? as i64),
            Opcode::BinInt2 => Value::Integer(u16::from_le_bytes(self.cursor.array("an integer")?).into()),
            Opcode::Long1 => self.long()?,
            Opcode::BinFloat => self.cursor.array::<8>("a float").map(|_| Value::Float)?,
            Opcode::ShortBinString | Opcode::ShortBinUnicode => {
                let length = self.short_length()?;
                Value::Text(self.cursor.text(length)?)
            }
            Opcode::BinString | Opcode::BinUnicode => {
                let length = self.length()?;
                Value::Text(self.cursor.text(length)?)
            }
            Opcode::BinUnicode8 => {
                let length = self.long_length()?;
                Value::Text(self.cursor.text(length)?)
            }
            Opcode::ShortBinBytes => {
                let length = self.short_length()?;
                self.cursor.take(length, "a byte string").map(|_| Value::Bytes)?
            }
            Opcode::BinBytes => {
                let length = self.length()?;
                self.cursor.take(length, "a byte string").map(|_| Value::Bytes)?
            }
            Opcode::BinBytes8 => {
                let length = self.long_length()?;
                self.cursor.take(length, "a byte string").map(|_| Value::Bytes)?
            }
            Opcode::EmptyTuple => Value::Tuple(Vec::new()),
            Opcode::EmptyList => Value::List(Vec::new()),
            Opcode::EmptyDict => Value::Dictionary(Vec::new()),
            Opcode::Tuple => Value::Tuple(self.pop_to_mark()?),
            Opcode::Tuple1 => Value::Tuple(vec![self.pop()?]),
            Opcode::Tuple2 => Value::Tuple(self.pop_many(2)?),
            Opcode::Tuple3 => Value::Tuple(self.pop_many(3)?),
            other => return Err(Error::Internal(format!("the opcode {other:?} has no value"))),
        })
    }

    fn short_length(&mut self) -> Result<u64> {
        self.cursor.array::<1>("a length").map(|[byte]| byte.into())
    }

    fn length(&mut self) -> Result<u64> {
        self.cursor.array("a length").map(|bytes| u32::from_le_bytes(bytes).into())
    }

    fn long_length(&mut self) -> Result<u64> {
        self.cursor.array("a length").map(u64::from_le_bytes)
    }

    /// Reads an integer in two's complement of as many bytes as it says.
    fn long(&mut self) -> Result<Value<'a>> {
        const WIDEST: usize = 8;
        let length = self.short_length()?;
        let bytes = self.cursor.take(length, "an integer")?;
        if bytes.len() > WIDEST {
            return Err(self.cursor.error(format!("an integer has {length} bytes, but at most {WIDEST} are read")));
        }
        let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut extended = [sign; WIDEST];
        extended[..bytes.len()].copy_from_slice(bytes);
        Ok(Value::Integer(i64::from_le_bytes(extended)))
    }

    fn protocol(&mut self) -> Result<()> {
        let [version] = self.cursor.array("the protocol's number")?;
        if (2..=5).contains(&version) {
            return Ok(());
        }
        Err(self.cursor.error(format!("the pickle is of protocol {version}, but 2 to 5 are read")))
    }

    fn unknown_opcode(&self, byte: u8) -> Error {
        match name_of(byte) {
            Some(name) => self.cursor.error(format!(
                "the opcode {name} (0x{byte:02x}) stands, which no state dict needs; nothing was executed"
            )),
            None => self.cursor.error(format!("the byte 0x{byte:02x} stands, which is no opcode")),
        }
    }

    fn rearrange(&mut self, opcode: Opcode) -> Result<()> {
        match opcode {
            Opcode::PopMark => self.pop_to_mark().map(|_| ()),
            Opcode::Dup => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            _ => self.pop().map(|_| ()),
        }
    }

    fn note(&mut self, opcode: Opcode) -> Result<()> {
        let number = match opcode {
            Opcode::BinPut => self.cursor.array::<1>("a memo number").map(|[byte]| byte.into())?,
            Opcode::LongBinPut => self.cursor.array("a memo number").map(u32::from_le_bytes)?,
            _ => u32::try_from(self.memo.len()).expect("a pickle has at most MOST_OPERATIONS notes"),
        };
        let top = self.top()?;
        self.memo.insert(number, top);
        Ok(())
    }

    fn recall(&mut self, opcode: Opcode) -> Result<()> {
        let number = match opcode {
            Opcode::BinGet => self.cursor.array::<1>("a memo number").map(|[byte]| byte.into())?,
            _ => self.cursor.array("a memo number").map(u32::from_le_bytes)?,
        };
        let noted = self.memo.get(&number).copied();
        let handle = noted.ok_or_else(|| self.cursor.error(format!("the memo has no number {number}")))?;
        self.stack.push(handle);
        Ok(())
    }

    fn fill(&mut self, opcode: Opcode) -> Result<()> {
        let items = match opcode {
            Opcode::Append => self.pop_many(1)?,
            Opcode::SetItem => self.pop_many(2)?,
            _ => self.pop_to_mark()?,
        };
        let container = self.top()?;
        let wants_list = matches!(opcode, Opcode::Append | Opcode::Appends);
        match &mut self.values[container.index()] {
            Value::List(list) if wants_list => list.extend(items),
            Value::Dictionary(entries) if !wants_list && items.len().is_multiple_of(2) => {
                entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            other => {
                let reason = format!("{opcode:?} puts {} values into {}", items.len(), other.describe());
                return Err(self.cursor.error(reason));
            }
        }
        Ok(())
    }

    pub(super) fn push(&mut self, value: Value<'a>) {
        self.stack.push(Handle::new(self.values.len()));
        self.values.push(value);
    }

    pub(super) fn pop(&mut self) -> Result<Handle> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Returns the top of the stack without reaching below the last mark.
    pub(super) fn top(&self) -> Result<Handle> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        self.stack[bottom..]
            .last()
            .copied()
            .ok_or_else(|| self.cursor.error("an opcode needs a value, but none is there"))
    }

    pub(super) fn pop_many(&mut self, count: usize) -> Result<Vec<Handle>> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        let available = self.stack.len() - bottom;
        if available < count {
            return Err(self.cursor.error(format!("an opcode needs {count} values, but {available} are there")));
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    pub(super) fn pop_to_mark(&mut self) -> Result<Vec<Handle>> {
        let mark = self.marks.pop().ok_or_else(|| self.cursor.error("an opcode needs a mark, but none is there"))?;
        Ok(self.stack.split_off(mark))
    }
}
