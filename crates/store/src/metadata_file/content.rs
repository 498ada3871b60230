//! What stands in `metadata.json`, written as it is read: no more than one version is in memory at a time.
//!
//! The bytes are those of [`RegistryFile::to_text`](seedhouse_core::RegistryFile::to_text), put together piece by piece; a test
//! compares the two.

use std::io::{self, Write};
use std::path::Path;

use seedhouse_core::{Entry, Error, MetadataStore, ModelName, Result, VersionEntry, VisitOrder};
use serde::Serialize;
use serde_json::Map;

/// Writes the whole registry: records, and the versions of each base, both in order of registration as in the original. `path`
/// names the file in errors.
pub(super) fn write_registry(store: &dyn MetadataStore, to: &mut dyn Write, path: &Path) -> Result<()> {
    let mut content = Content { to, base: None, models: 0, versions: 0 };
    let failed = || Error::io("write", path);
    store.visit_shown(&[VisitOrder::Registration, VisitOrder::Base], &mut |order, entry| {
        let written = match order {
            VisitOrder::Registration => content.model(&entry),
            VisitOrder::Base => content.version(entry),
        };
        written.map_err(failed())
    })?;
    content.end().map_err(failed())
}

/// The text as far as it was written.
struct Content<'a> {
    to: &'a mut dyn Write,
    /// The base whose list is open.
    base: Option<ModelName>,
    models: u64,
    versions: u64,
}

impl Content<'_> {
    fn model(&mut self, entry: &Entry) -> io::Result<()> {
        self.to.write_all(if self.models == 0 { b"{\n  \"models\": {\n    " } else { b",\n    " })?;
        self.models += 1;
        self.piece(&entry.record.model_id, 4)?;
        self.to.write_all(b": ")?;
        self.piece(&entry.record, 4)
    }

    fn version(&mut self, entry: Entry) -> io::Result<()> {
        if self.versions == 0 {
            self.to.write_all(b"\n  },\n  \"versions\": {\n    ")?;
        }
        if self.base.as_ref() == Some(&entry.base) {
            self.to.write_all(b",\n      ")?;
        } else {
            self.to.write_all(if self.versions == 0 { b"" } else { b"\n    ],\n    " })?;
            self.piece(&entry.base, 4)?;
            self.to.write_all(b": [\n      ")?;
            self.base = Some(entry.base);
        }
        self.versions += 1;
        let record = entry.record;
        let version = VersionEntry {
            model_id: record.model_id,
            version: record.version,
            created_at: record.created_at,
            status: record.status,
            fields: Map::new(),
        };
        self.piece(&version, 6)
    }

    fn end(&mut self) -> io::Result<()> {
        match self.models {
            0 => self.to.write_all(b"{\n  \"models\": {},\n  \"versions\": {}\n}\n"),
            _ => self.to.write_all(b"\n    ]\n  }\n}\n"),
        }
    }

    /// Writes a value whose lines stand `indent` spaces from the left. A line feed in JSON ends a line, never stands in a text.
    fn piece(&mut self, value: &impl Serialize, indent: usize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        for (number, line) in text.lines().enumerate() {
            if number > 0 {
                write!(self.to, "\n{:indent$}", "")?;
            }
            self.to.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}
