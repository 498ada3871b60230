//! Plans on the disk: packed weights in the order and form in which products read them, mapped at the next start.
//!
//! ```text
//! key      what a plan depends on
//! header   what a file says about itself, and which of it can be believed
//! layout   where the parts of a file lie
//! read     a file into parts that are mapped
//! write    parts into a file, whole or not at all
//! folder   all plans of a registry
//! ```
//!
//! ```text
//! file   = magic, format, length of the header, checksum of everything before the first part
//!          header: JSON with the key and the table of the parts
//!          spaces up to a page, then the parts, each on a cache line
//! ```
//!
//! Every byte is under a checksum (XXH3), that of the header or that of a part with the zeros behind it. A file that is anything else
//! than what its key asks for is left aside, and compiling replaces it.

mod folder;
mod header;
mod key;
mod layout;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use folder::PlanFolder;
pub(super) use key::PlanKey;

/// Why there is no plan on the disk that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There is none.
    Absent,
    /// It cannot be read.
    Unreadable(String),
    /// Another version of this program made it, and what that wrote is not read.
    OtherFormat(String),
    /// A machine made it on which the same bytes are other numbers.
    OtherMachine(String),
    /// It is of another model, or was compiled otherwise.
    OtherPlan(String),
    /// Its bytes are not those that were written.
    Damaged(String),
}

impl Unusable {
    /// Returns the name under which statistics count it.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Unusable::Absent => "absent",
            Unusable::Unreadable(_) => "unreadable",
            Unusable::OtherFormat(_) => "other_format",
            Unusable::OtherMachine(_) => "other_machine",
            Unusable::OtherPlan(_) => "other_plan",
            Unusable::Damaged(_) => "damaged",
        }
    }

    /// Returns the reason, for people.
    pub(super) fn reason(&self) -> &str {
        match self {
            Unusable::Absent => "there is none",
            Unusable::Unreadable(reason)
            | Unusable::OtherFormat(reason)
            | Unusable::OtherMachine(reason)
            | Unusable::OtherPlan(reason)
            | Unusable::Damaged(reason) => reason,
        }
    }
}
