//! One value of a row, as the file has it; which of them are missing.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// One value of a row.
#[derive(Debug, Clone)]
pub(crate) enum Cell<'t> {
    /// Nothing.
    Missing,
    /// What a file without types has: a number if it reads as one.
    Written(&'t str),
    /// A text that is no number, whatever it reads as.
    Text(Cow<'t, str>),
    /// A number.
    Number(f64),
    /// A truth value, which is a category.
    Boolean(bool),
}

/// Which values are missing: nothing, the empty text, and what the user declares.
pub(crate) struct Missing {
    texts: BTreeSet<String>,
    numbers: Vec<f64>,
}

impl Missing {
    pub(crate) fn new(declared: &[String]) -> Missing {
        let texts: BTreeSet<String> = declared.iter().map(|text| text.trim().to_owned()).collect();
        let numbers = texts.iter().filter_map(|text| text.parse().ok()).collect();
        Missing { texts, numbers }
    }

    pub(crate) fn is_missing(&self, cell: &Cell<'_>) -> bool {
        match cell {
            Cell::Missing => true,
            Cell::Written(text) => self.is_missing_text(text),
            Cell::Text(text) => self.is_missing_text(text),
            Cell::Number(number) => {
                self.numbers.iter().any(|missing| missing == number || missing.is_nan() && number.is_nan())
            }
            Cell::Boolean(_) => false,
        }
    }

    pub(crate) fn is_missing_text(&self, text: &str) -> bool {
        let text = text.trim();
        text.is_empty() || self.texts.contains(text)
    }
}
