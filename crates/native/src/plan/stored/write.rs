//! Parts into a plan's file. It gets its name when it is whole and on the disk; of two writers the later one's stays, and both wrote
//! the same.

use std::borrow::Cow;
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use seedhouse_kernels::PackedMatrix;
use twox_hash::XxHash3_64;

use super::folder::TEMPORARY;
use super::header::{Header, NonFiniteEntry, PartEntry, machine, program};
use super::key::PlanKey;
use super::layout;
use crate::plan::parts::{Content, PackedParts, Part};

const ZEROS: [u8; PackedMatrix::ALIGNMENT] = [0; PackedMatrix::ALIGNMENT];

/// Writes a plan beside `path` and puts it in place. Returns its size.
pub(super) fn write(path: &Path, key: &PlanKey, parts: &PackedParts) -> io::Result<u64> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a plan stands in a folder"))?;
    std::fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    // Nobody writes to a plan again, and every user of the registry may read it.
    let temporary = builder.suffix(TEMPORARY).permissions(Permissions::from_mode(0o444)).tempfile_in(folder)?;
    // Whoever cleans up leaves a file alone that somebody holds.
    temporary.as_file().lock()?;
    let (header, first_part) = header(key, parts);
    let mut to = BufWriter::with_capacity(1 << 20, temporary.as_file());
    to.write_all(&header.to_bytes(first_part))?;
    for part in &parts.parts {
        let bytes = bytes_of(part);
        to.write_all(&bytes)?;
        to.write_all(zeros_behind(bytes.len()))?;
    }
    to.flush()?;
    drop(to);
    temporary.as_file().sync_all()?;
    let size_bytes = temporary.as_file().metadata()?.len();
    temporary.persist(path)?;
    File::open(folder)?.sync_all()?;
    Ok(size_bytes)
}

/// Lays the parts out. Offsets are a part of the header, whose length decides them: it is made once with the widest numbers.
pub(super) fn header(key: &PlanKey, parts: &PackedParts) -> (Header, usize) {
    let mut header = Header {
        machine: machine(),
        program: program().to_owned(),
        key: key.clone(),
        parts: parts.parts.iter().map(entry).collect(),
        non_finite: parts.non_finite.iter().map(NonFiniteEntry::from).collect(),
    };
    let json_bytes = serde_json::to_vec(&header).map_or(0, |json| json.len());
    let mut end = layout::first_part(json_bytes).expect("a header is short");
    let first_part = end;
    for part in &mut header.parts {
        part.offset = end;
        end += layout::padded(part.length).expect("the part is in memory");
    }
    (header, first_part)
}

fn entry(part: &Part) -> PartEntry {
    let (format, outputs, inputs) = match &part.content {
        Content::Matrix(matrix) => (layout::format_name(matrix.format()), matrix.outputs(), matrix.inputs()),
        Content::Vector(values) => (layout::VECTOR, 1, values.len()),
    };
    let bytes = bytes_of(part);
    let mut checksum = XxHash3_64::new();
    std::hash::Hasher::write(&mut checksum, &bytes);
    std::hash::Hasher::write(&mut checksum, zeros_behind(bytes.len()));
    PartEntry {
        name: part.name.clone(),
        format: format.to_owned(),
        outputs,
        inputs,
        offset: usize::MAX,
        length: bytes.len(),
        checksum: std::hash::Hasher::finish(&checksum),
    }
}

fn bytes_of(part: &Part) -> Cow<'_, [u8]> {
    match &part.content {
        Content::Matrix(matrix) => Cow::Borrowed(matrix.bytes()),
        Content::Vector(values) => Cow::Owned(values.iter().flat_map(|value| value.to_ne_bytes()).collect()),
    }
}

fn zeros_behind(length: usize) -> &'static [u8] {
    &ZEROS[..length.next_multiple_of(PackedMatrix::ALIGNMENT) - length]
}
