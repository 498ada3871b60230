//! Queries over versions: what is looked for, in which order, and from where on.
//!
//! ```text
//! text     words that must all occur            wheat 分类
//! filter   conditions that must all hold        type = vision AND metadata.num_classes >= 10
//! order    a field and a direction              -created_at
//! cursor   the place where the last page ended
//! ```
//!
//! Here is what each means, by plain evaluation; an adapter may answer faster, but not differently.

mod condition;
mod cursor;
mod field;
mod filter;
mod json_filter;
mod order;
mod parser;
mod pattern;
mod scalars;
mod value;

use crate::{Entry, Error, Result};

pub use condition::{Comparison, Condition, Test};
pub use cursor::{Cursor, Position};
pub use field::{Field, FieldPath};
pub use filter::Filter;
pub use order::{Direction, Order, OrderBy};
pub use pattern::Pattern;
pub use scalars::{LONGEST_SCALAR_BYTES, MOST_SCALARS, scalars};
pub use value::Value;

/// The longest text of a search, in characters.
pub const LONGEST_TEXT: usize = 256;

/// The most words of a search.
pub const MOST_WORDS: usize = 16;

/// Which versions to list, in which order, and how many.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    /// Words that must all occur in id, name, type, tags or description.
    pub text: Option<String>,
    /// Conditions that must all hold.
    pub filter: Filter,
    /// By default the newest registration first.
    pub order: Order,
    /// At most this many; `None` for all.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

/// Some of the versions that match.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The versions, in the order of the query.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` when nothing follows.
    pub next: Option<Cursor>,
}

/// How many versions match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The number, or the most that was counted to.
    pub number: u64,
    /// Whether that is all of them.
    pub exact: bool,
}

impl Query {
    /// Checks what an adapter relies on, and returns where the page begins. Every adapter calls this first.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming a limit of 0, a text beyond [`LONGEST_TEXT`] or [`MOST_WORDS`], an order by a field that
    /// has none, or a cursor that is damaged or belongs to another query.
    pub fn check(&self) -> Result<Option<Position>> {
        if self.limit == Some(0) {
            return Err(Error::invalid("limit", 0, "must be at least 1"));
        }
        if let Some(text) = &self.text {
            check_text(text)?;
        }
        self.filter.check()?;
        self.order.check()?;
        self.cursor.as_ref().map(|cursor| cursor.position(self)).transpose()
    }

    /// Returns the text that two queries share exactly if they ask for the same versions in the same order.
    pub(crate) fn identity(&self) -> String {
        let text = self.text.as_deref().unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        format!("{}\n{}\n{}", words.join(" "), self.filter, self.order)
    }
}

fn check_text(text: &str) -> Result<()> {
    let length = text.chars().count();
    if length > LONGEST_TEXT {
        let rule = format!("it has {length} characters, and at most {LONGEST_TEXT} are searched for");
        return Err(Error::invalid("search", text, rule));
    }
    let words = text.split_whitespace().count();
    if words > MOST_WORDS {
        let rule = format!("it has {words} words, and at most {MOST_WORDS} are searched for");
        return Err(Error::invalid("search", text, rule));
    }
    Ok(())
}
