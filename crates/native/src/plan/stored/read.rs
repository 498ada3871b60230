//! A plan's file into parts. Matrices stay where they are, in mapped pages; vectors are copied, being short.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use seedhouse_kernels::{PackedMatrix, Pool, SharedBytes};
use twox_hash::XxHash3_64;

use super::header::{Header, PartEntry};
use super::key::PlanKey;
use super::{Unusable, layout};
use crate::mapped_file::MappedFile;
use crate::plan::parts::{Content, PackedParts, Part};

/// Parts that are checked before other models of the process get a turn.
const PARTS_PER_TURN: usize = 32;

/// Maps the plan at `path`, if it is that of `key` and every byte of it is what was written.
pub(super) fn read(path: &Path, key: &PlanKey, pool: &Pool) -> Result<PackedParts, Unusable> {
    let file = Arc::new(open(path)?);
    let header = Header::parse(&file, file.len())?;
    if header.key != *key {
        return Err(Unusable::OtherPlan("it was compiled from other files, or otherwise".into()));
    }
    check_parts(&file, &header.parts, pool)?;
    let bytes = SharedBytes::new(Arc::clone(&file) as Arc<dyn AsRef<[u8]> + Send + Sync>);
    let parts = header.parts.iter().map(|entry| part(&bytes, entry)).collect::<Result<_, _>>()?;
    Ok(PackedParts::new(parts, header.non_finite.iter().map(Into::into).collect()))
}

/// Reads what a plan says about itself, without its parts.
pub(super) fn read_header(path: &Path) -> Result<Header, Unusable> {
    let file = open(path)?;
    Header::parse(&file, file.len())
}

fn open(path: &Path) -> Result<MappedFile, Unusable> {
    let unreadable = |error: &dyn std::fmt::Display| Unusable::Unreadable(error.to_string());
    match File::open(path).and_then(|file| file.metadata()) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(Unusable::Unreadable("it is no file".into())),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Unusable::Absent),
        Err(error) => return Err(unreadable(&error)),
    }
    MappedFile::open(path).map_err(|error| unreadable(&error))
}

/// Computes the checksums with all threads, large parts first, so that no thread is left alone with one.
fn check_parts(file: &MappedFile, parts: &[PartEntry], pool: &Pool) -> Result<(), Unusable> {
    let mut order: Vec<&PartEntry> = parts.iter().collect();
    order.sort_unstable_by_key(|part| std::cmp::Reverse(part.length));
    let damaged = Mutex::new(None);
    for batch in order.chunks(PARTS_PER_TURN) {
        let check = |index: usize| {
            let part = batch[index];
            let end = part.offset + layout::padded(part.length).expect("counted when the table was checked");
            let found = XxHash3_64::oneshot(&file[part.offset..end]);
            if found != part.checksum {
                let (name, said) = (part.name.escape_debug(), part.checksum);
                let reason = format!("its part `{name}` has the checksum {found:016x}, not {said:016x}");
                damaged.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
            }
        };
        pool.step(|step| step.run(batch.len(), &check));
    }
    let damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
    damaged.map_or(Ok(()), |reason| Err(Unusable::Damaged(reason)))
}

fn part(file: &SharedBytes, entry: &PartEntry) -> Result<Part, Unusable> {
    let refused = |reason: String| Unusable::Damaged(format!("its part `{}`: {reason}", entry.name.escape_debug()));
    let bytes = file.part(entry.offset..entry.offset + entry.length).ok_or_else(|| refused("lies outside".into()))?;
    let content = match layout::format_of(&entry.format) {
        Some(format) => {
            let matrix = PackedMatrix::from_bytes(format, entry.outputs, entry.inputs, bytes);
            Content::Matrix(Arc::new(matrix.map_err(|error| refused(error.to_string()))?))
        }
        None => {
            let (numbers, _) = bytes.bytes().as_chunks::<{ size_of::<f32>() }>();
            Content::Vector(numbers.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect())
        }
    };
    Ok(Part { name: entry.name.clone(), content })
}
