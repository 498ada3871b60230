//! The beginning of a plan's file: what it says about itself. It is believed only with its checksum, and then only what agrees with the
//! length of the file and with what was asked for.

use seedhouse_core::Digest;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::Unusable;
use super::key::PlanKey;
use super::layout;
use crate::decoder::NonFinite;

/// The version of everything that this module and packing write. It changes with the order of parts and with the layout of panels.
pub(super) const FORMAT: u32 = 1;

/// Where the JSON begins: magic, format (4 bytes), length of the JSON (4), checksum (8).
pub(super) const PREFIX_BYTES: usize = 24;
const CHECKSUM_AT: usize = 16;
const MAGIC: &[u8; 8] = b"\x89SHPLAN\n";

/// What the header says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// What of a machine the bytes depend on.
    pub(super) machine: String,
    /// The version of the program. Another one may name, fuse or round otherwise.
    pub(super) program: String,
    pub(super) key: PlanKey,
    pub(super) parts: Vec<PartEntry>,
    pub(super) non_finite: Vec<NonFiniteEntry>,
}

/// A part of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartEntry {
    pub(super) name: String,
    pub(super) format: String,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) offset: usize,
    pub(super) length: usize,
    /// Of the part and the zeros behind it.
    pub(super) checksum: u64,
}

/// A tensor with weights that are not finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NonFiniteEntry {
    subject: String,
    tensor: String,
    row: usize,
    /// The bits of the number: JSON has no infinity.
    value: u32,
    rows: u64,
}

/// Returns what of this machine the bytes depend on. All levels of one processor read the same panels.
pub(super) fn machine() -> String {
    let order = if cfg!(target_endian = "little") { "little-endian" } else { "big-endian" };
    format!("{order} {}-bit", usize::BITS)
}

/// Returns the version of the program.
pub(super) fn program() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

impl Header {
    /// Writes the beginning of a file, up to the first part.
    ///
    /// # Panics
    /// When the header is longer than the table foresaw.
    pub(super) fn to_bytes(&self, first_part: usize) -> Vec<u8> {
        self.to_bytes_of_format(first_part, FORMAT)
    }

    /// Does the same with another number for the format.
    pub(super) fn to_bytes_of_format(&self, first_part: usize, format: u32) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("names and numbers are JSON");
        assert!(json.len() <= first_part - PREFIX_BYTES, "the table was laid out behind a header of this length");
        // JSON may end with spaces.
        json.resize(first_part - PREFIX_BYTES, b' ');
        let length = u32::try_from(json.len()).expect("a table of some hundred parts is short");
        let mut bytes = Vec::with_capacity(first_part);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&format.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[0; PREFIX_BYTES - CHECKSUM_AT]);
        bytes.extend_from_slice(&json);
        let checksum = checksum(&bytes);
        bytes[CHECKSUM_AT..PREFIX_BYTES].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the beginning of a file of `file_bytes`, of which `start` is at least as much as [`Header::bytes_of`] says.
    pub(super) fn parse(start: &[u8], file_bytes: usize) -> Result<Header, Unusable> {
        let damaged = |reason: String| Unusable::Damaged(reason);
        let first_part = Header::bytes_of(start, file_bytes)?;
        let start = start.get(..first_part).ok_or_else(|| damaged("its header was cut short".into()))?;
        let said = u64::from_le_bytes(start[CHECKSUM_AT..PREFIX_BYTES].try_into().expect("8 bytes"));
        let found = checksum(start);
        if said != found {
            return Err(damaged(format!("its header has the checksum {found:016x}, not {said:016x}")));
        }
        let json = &start[PREFIX_BYTES..PREFIX_BYTES + json_bytes(start)];
        let header: Header =
            serde_json::from_slice(json).map_err(|error| damaged(format!("its header cannot be read: {error}")))?;
        if header.machine != machine() {
            let reason =
                format!("it was made on a {} machine, this one is {}", header.machine.escape_debug(), machine());
            return Err(Unusable::OtherMachine(reason));
        }
        if header.program != program() {
            let reason = format!("it was made by version {}, this is {}", header.program.escape_debug(), program());
            return Err(Unusable::OtherFormat(reason));
        }
        header.check_table(first_part, file_bytes)?;
        Ok(header)
    }

    /// Returns how much of a file its header takes, as its first bytes say. It is no more than the file has.
    pub(super) fn bytes_of(start: &[u8], file_bytes: usize) -> Result<usize, Unusable> {
        if start.len() < PREFIX_BYTES || file_bytes < PREFIX_BYTES {
            let reason = format!("it has {file_bytes} bytes, fewer than the {PREFIX_BYTES} with which a plan begins");
            return Err(Unusable::Damaged(reason));
        }
        if start[..MAGIC.len()] != MAGIC[..] {
            return Err(Unusable::Damaged("it does not begin as a plan does".into()));
        }
        let format = u32::from_le_bytes(start[8..12].try_into().expect("4 bytes"));
        if format != FORMAT {
            return Err(Unusable::OtherFormat(format!("its format is {format}, not {FORMAT}")));
        }
        let json_bytes = json_bytes(start);
        layout::first_part(json_bytes).filter(|first| *first <= file_bytes).ok_or_else(|| {
            Unusable::Damaged(format!("it says that its header has {json_bytes} bytes, but the file has {file_bytes}"))
        })
    }

    /// Parts follow each other without gaps up to the end of the file, and each is as long as its form says.
    fn check_table(&self, first_part: usize, file_bytes: usize) -> Result<(), Unusable> {
        let mut end = first_part;
        for part in &self.parts {
            let name = part.name.escape_debug();
            let expected = layout::length_of(part);
            if expected != Some(part.length) || part.offset != end {
                let expected =
                    expected.map_or("no length that can be counted".into(), |length| format!("{length} bytes"));
                return Err(Unusable::Damaged(format!(
                    "its part `{name}` ({} {} x {}) lies at {} with {} bytes, not at {end} with {expected}",
                    part.format.escape_debug(),
                    part.outputs,
                    part.inputs,
                    part.offset,
                    part.length,
                )));
            }
            let next = layout::padded(part.length).and_then(|length| end.checked_add(length));
            end = next.filter(|next| *next <= file_bytes).ok_or_else(|| {
                let (offset, length) = (part.offset, part.length);
                Unusable::Damaged(format!(
                    "its part `{name}` of {length} bytes at {offset} ends behind the {file_bytes} bytes of the file"
                ))
            })?;
        }
        match end == file_bytes {
            true => Ok(()),
            false => Err(Unusable::Damaged(format!("its parts end at {end}, the file at {file_bytes}"))),
        }
    }

    /// Returns the digests of the files that were compiled.
    pub(super) fn made_of(&self) -> Vec<Digest> {
        self.key.files.iter().map(|file| file.digest).collect()
    }
}

impl From<&NonFinite> for NonFiniteEntry {
    fn from(found: &NonFinite) -> NonFiniteEntry {
        let NonFinite { subject, tensor, row, value, rows } = found;
        let (subject, tensor) = (subject.to_string(), tensor.clone());
        NonFiniteEntry { subject, tensor, row: *row, value: value.to_bits(), rows: *rows }
    }
}

impl From<&NonFiniteEntry> for NonFinite {
    fn from(entry: &NonFiniteEntry) -> NonFinite {
        let (subject, tensor) = (entry.subject.as_str().into(), entry.tensor.clone());
        NonFinite { subject, tensor, row: entry.row, value: f32::from_bits(entry.value), rows: entry.rows }
    }
}

fn json_bytes(start: &[u8]) -> usize {
    u32::from_le_bytes(start[12..16].try_into().expect("4 bytes")) as usize
}

/// Of everything before the first part but the checksum itself.
fn checksum(start: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&start[..CHECKSUM_AT]), &start[PREFIX_BYTES..])
}
