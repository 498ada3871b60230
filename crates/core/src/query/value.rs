//! Values that are compared: what a field holds, and what a condition names.

use std::cmp::Ordering;
use std::fmt;

use crate::{Timestamp, Version};

/// A value of a field. Values of different kinds are never equal; in an order, numbers come before texts.
#[derive(Debug, Clone)]
pub enum Value {
    /// A number of the record, as JSON has it.
    Number(f64),
    /// A count: an ordinal or a size.
    Whole(u64),
    /// A point in time, compared by microseconds.
    Time(Timestamp),
    /// A version label, in version order.
    Version(Version),
    /// A text; `true` and `false` of the record are the texts `true` and `false`.
    Text(String),
}

impl Value {
    /// Returns a number. The two zeros are one.
    pub fn number(number: f64) -> Value {
        Value::Number(number + 0.0)
    }

    /// Returns whether the two can be less or greater than each other.
    pub(crate) fn is_comparable_with(&self, other: &Value) -> bool {
        self.rank() == other.rank()
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Number(_) => 0,
            Value::Whole(_) => 1,
            Value::Time(_) => 2,
            Value::Version(_) => 3,
            Value::Text(_) => 4,
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Number(a), Value::Number(b)) => a.total_cmp(b),
            (Value::Whole(a), Value::Whole(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) => a.as_microseconds().cmp(&b.as_microseconds()),
            (Value::Version(a), Value::Version(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

/// As the filter language writes it.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => fmt::Display::fmt(number, formatter),
            Value::Whole(number) => fmt::Display::fmt(number, formatter),
            Value::Time(time) => write!(formatter, "'{time}'"),
            Value::Version(version) => write!(formatter, "'{version}'"),
            Value::Text(text) => write!(formatter, "'{}'", text.replace('\'', "''")),
        }
    }
}
