//! Rows as they stand in the tables, read into our types. A row that cannot be read is reported, never skipped.

use rusqlite::Row;
use seedhouse_core::{Entry, Error, Event, Happening, Result};

/// The columns that [`VersionRow::read`] expects.
pub(super) const VERSION_COLUMNS: &str = "base, ordinal, revision, record";

/// The columns that [`EventRow::read`] expects.
pub(super) const EVENT_COLUMNS: &str = "sequence, at, actor, action, subject, reason, before, after, previous, digest";

/// A row of the table `version`.
pub(super) struct VersionRow {
    base: String,
    ordinal: i64,
    revision: i64,
    record: String,
}

impl VersionRow {
    /// Takes the columns out of a row.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<VersionRow> {
        Ok(VersionRow { base: row.get(0)?, ordinal: row.get(1)?, revision: row.get(2)?, record: row.get(3)? })
    }

    /// Reads the columns' content.
    pub(super) fn into_entry(self) -> Result<Entry> {
        let corrupt = |reason: String| Error::CorruptState {
            what: format!("version {} of `{}` in the database", self.ordinal, self.base),
            reason,
        };
        let record = serde_json::from_str(&self.record).map_err(|error| corrupt(error.to_string()))?;
        let base = self.base.parse().map_err(|error: Error| corrupt(error.to_string()))?;
        let ordinal = u64::try_from(self.ordinal).map_err(|error| corrupt(error.to_string()))?;
        let revision = u64::try_from(self.revision).map_err(|error| corrupt(error.to_string()))?;
        Ok(Entry { base, ordinal, revision, record })
    }
}

/// A row of the table `event`.
pub(super) struct EventRow {
    sequence: i64,
    texts: [String; 8],
    reason: Option<String>,
}

impl EventRow {
    /// Takes the columns out of a row.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<EventRow> {
        let text = |index| row.get::<_, String>(index);
        let texts = [text(1)?, text(2)?, text(3)?, text(4)?, text(6)?, text(7)?, text(8)?, text(9)?];
        Ok(EventRow { sequence: row.get(0)?, texts, reason: row.get(5)? })
    }

    /// Reads the columns' content. Whether the event is intact is another question: see [`Event::check`].
    pub(super) fn into_event(self) -> Result<Event> {
        let sequence = self.sequence;
        let corrupt =
            |reason: String| Error::CorruptState { what: format!("event {sequence} in the database"), reason };
        let json = |text: &str| serde_json::from_str(text).map_err(|error| corrupt(error.to_string()));
        let [at, actor, action, subject, before, after, previous, digest] = self.texts;
        let happening = Happening {
            at: at.try_into().map_err(|error: Error| corrupt(error.to_string()))?,
            actor,
            action,
            subject,
            reason: self.reason,
            before: json(&before)?,
            after: json(&after)?,
        };
        Ok(Event {
            sequence: u64::try_from(sequence).map_err(|error| corrupt(error.to_string()))?,
            happening,
            previous: previous.parse().map_err(|error: Error| corrupt(error.to_string()))?,
            digest: digest.parse().map_err(|error: Error| corrupt(error.to_string()))?,
        })
    }
}
