//! What a reference means, on versions at hand: which match, which of those answers, and what is missing if none does.

use seedhouse_core::{Entry, Error, Kind, Reference, Selector};

/// Returns the version a reference points at, among versions of its base in order of
/// registration, or those of them that can be meant.
///
/// A bare name that is a `model_id` is no matter of this function: it does not depend on the base.
pub(crate) fn resolved<'a>(selector: &Selector, of_base: &[&'a Entry]) -> Option<&'a Entry> {
    let mut matching = of_base.iter().copied().filter(|entry| matches(selector, entry));
    match selector {
        // One version at most has an alias, an ordinal or a label.
        Selector::Alias(_) | Selector::Ordinal(_) | Selector::Label(_) => matching.next(),
        Selector::Newest | Selector::Digest(_) => {
            let is_servable = |entry: &Entry| entry.record.status.is_servable();
            let is_sound = |entry: &Entry| is_servable(entry) && !entry.record.is_corrupt();
            matching.max_by_key(|entry| (is_sound(entry), is_servable(entry), &entry.record.version))
        }
    }
}

/// Returns whether a version of the right base is meant by the selector.
fn matches(selector: &Selector, entry: &Entry) -> bool {
    match selector {
        Selector::Newest => true,
        Selector::Ordinal(ordinal) => entry.ordinal == *ordinal,
        Selector::Label(version) => entry.record.version == *version,
        Selector::Digest(digest) => entry.record.digest() == Some(*digest),
        Selector::Alias(alias) => entry.record.aliases().contains(alias),
    }
}

/// Returns the error about a reference that points at nothing.
pub(crate) fn missing(reference: &Reference, base: BaseFound) -> Error {
    match base {
        BaseFound::No => Error::not_found(Kind::Model, &reference.name),
        BaseFound::Yes => Error::not_found(Kind::Version, reference),
    }
}

/// Whether the base of a reference has any version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BaseFound {
    /// It has; another version than the one meant.
    Yes,
    /// It has none.
    No,
}
