//! One condition: a field and what is asked of its value. A comparison with a field that is missing never holds.

use std::fmt;

use super::{Field, Pattern, Value};

/// A field, and what is asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The field.
    pub field: Field,
    /// The question.
    pub test: Test,
}

/// What is asked of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// How it compares with another. Values of different kinds are unequal, and neither is less.
    Compare(Comparison, Value),
    /// Whether it is one of several.
    In(Vec<Value>),
    /// Whether it fits a pattern.
    Like(Pattern),
    /// Whether there is none.
    IsNull,
    /// Whether there is one.
    IsNotNull,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// Every comparison; of two where one begins like the other the longer first, as a reader needs them.
    pub const ALL: [Comparison; 6] = [
        Comparison::AtMost,
        Comparison::AtLeast,
        Comparison::NotEqual,
        Comparison::Equal,
        Comparison::Less,
        Comparison::Greater,
    ];

    /// Returns the sign, which is that of SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::AtMost => "<=",
            Comparison::Greater => ">",
            Comparison::AtLeast => ">=",
        }
    }

    fn holds(self, found: &Value, wanted: &Value) -> bool {
        let comparable = found.is_comparable_with(wanted);
        match self {
            Comparison::Equal => found == wanted,
            Comparison::NotEqual => found != wanted,
            Comparison::Less => comparable && found < wanted,
            Comparison::AtMost => comparable && found <= wanted,
            Comparison::Greater => comparable && found > wanted,
            Comparison::AtLeast => comparable && found >= wanted,
        }
    }
}

impl Test {
    /// Returns whether a value, or the lack of one, passes.
    pub fn holds(&self, found: Option<&Value>) -> bool {
        match (self, found) {
            (Test::IsNull, found) => found.is_none(),
            (Test::IsNotNull, found) => found.is_some(),
            (Test::Compare(comparison, wanted), Some(found)) => comparison.holds(found, wanted),
            (Test::In(wanted), Some(found)) => wanted.contains(found),
            (Test::Like(pattern), Some(Value::Text(text))) => pattern.matches(text),
            (Test::Like(_), Some(_)) => false,
            (Test::Compare(..) | Test::In(_) | Test::Like(_), None) => false,
        }
    }
}

impl Condition {
    /// Returns whether the values are of the kind that the field holds, as the reader of the language sees to.
    pub(super) fn fits(&self) -> bool {
        match &self.test {
            Test::Compare(_, value) => self.field.can_hold(value),
            Test::In(values) => values.iter().all(|value| self.field.can_hold(value)),
            Test::Like(_) => self.field.holds_text(),
            Test::IsNull | Test::IsNotNull => true,
        }
    }
}

/// As the filter language writes it.
impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.field)?;
        match &self.test {
            Test::Compare(comparison, value) => write!(formatter, "{} {value}", comparison.as_str()),
            Test::In(values) => {
                let values: Vec<String> = values.iter().map(Value::to_string).collect();
                write!(formatter, "IN ({})", values.join(", "))
            }
            Test::Like(pattern) => write!(formatter, "LIKE {pattern}"),
            Test::IsNull => formatter.write_str("IS NULL"),
            Test::IsNotNull => formatter.write_str("IS NOT NULL"),
        }
    }
}
