//! What a shared library says about itself: the head, the segments and the names of an ELF file of 64 bits.

use std::ops::Range;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SharedObject {
    /// The version of ONNX Runtime that its names are of; `None` when it is another library.
    pub(super) version: Option<String>,
}

/// The number of this machine in the format.
const MACHINE: Option<u16> = if cfg!(target_arch = "x86_64") {
    Some(62)
} else if cfg!(target_arch = "aarch64") {
    Some(183)
} else {
    None
};

const SHARED_OBJECT: u16 = 3;
const LOADED: u32 = 1;
const DYNAMIC: u32 = 2;
const NAMES: u64 = 5;
const NAMES_LENGTH: u64 = 10;

struct Segment {
    kind: u32,
    file: Range<u64>,
    address: u64,
}

impl SharedObject {
    /// Reads a file that must be whole and of this machine.
    pub(super) fn read(bytes: &[u8]) -> Result<SharedObject, String> {
        let length = bytes.len() as u64;
        if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err("it is no shared library of 64 bits".into());
        }
        let cut = || format!("it ends after {length} bytes, within its head");
        let [kind, machine, size, count] =
            [16, 18, 54, 56].map(|place| number(bytes, place, 2).map(|number| number as u16));
        if kind != Some(SHARED_OBJECT) {
            return Err("it is a program or a part of one, no shared library".into());
        }
        if let (Some(ours), Some(found)) = (MACHINE, machine)
            && ours != found
        {
            return Err(format!("it is for machine {found} of the ELF format, and this is {ours}"));
        }
        let (first, size, count) =
            number(bytes, 32, 8).zip(size).zip(count).map(|((a, b), c)| (a, b, c)).ok_or_else(cut)?;
        let mut segments = Vec::new();
        for index in 0..u64::from(count) {
            let place = index.checked_mul(u64::from(size)).and_then(|offset| first.checked_add(offset));
            segments.push(place.and_then(|place| segment(bytes, place)).ok_or_else(cut)?);
        }
        if let Some(end) = segments.iter().map(|segment| segment.file.end).max().filter(|end| *end > length) {
            return Err(format!("it ends after {length} bytes, and should have {end}"));
        }
        let version = names(bytes, &segments).and_then(version);
        Ok(SharedObject { version })
    }
}

fn segment(bytes: &[u8], place: u64) -> Option<Segment> {
    let field = |offset: u64, size| number(bytes, place.checked_add(offset)?, size);
    let offset = field(8, 8)?;
    let file = offset..offset.checked_add(field(32, 8)?)?;
    Some(Segment { kind: field(0, 4)? as u32, file, address: field(16, 8)? })
}

/// Returns the names of what the library gives and takes.
fn names<'b>(bytes: &'b [u8], segments: &[Segment]) -> Option<&'b [u8]> {
    let dynamic = segments.iter().find(|segment| segment.kind == DYNAMIC)?;
    let entries = slice(bytes, dynamic.file.clone())?.as_chunks::<16>().0;
    let entry = |wanted: u64| {
        let found = entries.iter().find(|entry| number(*entry, 0, 8) == Some(wanted))?;
        number(found, 8, 8)
    };
    let (address, length) = (entry(NAMES)?, entry(NAMES_LENGTH)?);
    let holds = |segment: &&Segment| {
        let size = segment.file.end - segment.file.start;
        segment.kind == LOADED && address.checked_sub(segment.address).is_some_and(|offset| offset < size)
    };
    let segment = segments.iter().find(holds)?;
    let start = segment.file.start + (address - segment.address);
    slice(bytes, start..start.checked_add(length)?)
}

/// ONNX Runtime gives its entry point a version of its own: `OrtGetApiBase@@VERS_1.32.0`.
fn version(names: &[u8]) -> Option<String> {
    let mut names = names.split(|byte| *byte == 0);
    if !names.clone().any(|name| name == b"OrtGetApiBase") {
        return None;
    }
    let version = names.find_map(|name| name.strip_prefix(b"VERS_"))?;
    std::str::from_utf8(version).ok().map(str::to_owned)
}

fn number(bytes: &[u8], place: u64, size: u64) -> Option<u64> {
    let bytes = slice(bytes, place..place.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn slice(bytes: &[u8], range: Range<u64>) -> Option<&[u8]> {
    bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a library of this machine with these names and nothing else.
    fn library_with(names: &str) -> Vec<u8> {
        const HEAD: usize = 64;
        const SEGMENT: usize = 56;
        let (dynamic, text) = (HEAD + 2 * SEGMENT, HEAD + 2 * SEGMENT + 32);
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend(SHARED_OBJECT.to_le_bytes());
        bytes.extend(MACHINE.unwrap_or_default().to_le_bytes());
        bytes.resize(32, 0);
        bytes.extend((HEAD as u64).to_le_bytes());
        bytes.resize(54, 0);
        bytes.extend((SEGMENT as u16).to_le_bytes());
        bytes.extend(2_u16.to_le_bytes());
        bytes.resize(HEAD, 0);
        for (kind, start, length) in [(LOADED, 0, text + names.len()), (DYNAMIC, dynamic, 32)] {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(0_u32.to_le_bytes());
            [start, start, start, length, length, 8]
                .iter()
                .for_each(|value| bytes.extend((*value as u64).to_le_bytes()));
        }
        for (tag, value) in [(NAMES, text as u64), (NAMES_LENGTH, names.len() as u64)] {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(names.as_bytes());
        bytes
    }

    #[test]
    fn version_stands_in_the_names() {
        let cases = [
            ("\0OrtGetApiBase\0VERS_1.16.3\0", Some("1.16.3")),
            ("\0cos\0VERS_1.16.3\0", None),
            ("\0OrtGetApiBase\0GLIBC_2.17\0", None),
        ];
        for (names, expected) in cases {
            let found = SharedObject::read(&library_with(names)).unwrap();
            assert_eq!(found.version.as_deref(), expected);
        }
    }

    #[test]
    fn file_that_is_cut_anywhere_is_refused() {
        let whole = library_with("\0OrtGetApiBase\0VERS_1.32.0\0");
        for length in 0..whole.len() {
            assert!(SharedObject::read(&whole[..length]).is_err(), "cut after {length} bytes");
        }
    }

    #[test]
    fn library_of_another_machine_is_refused() {
        let mut bytes = library_with("\0OrtGetApiBase\0VERS_1.32.0\0");
        bytes[18] = 243;
        bytes[19] = 0;
        let reason = SharedObject::read(&bytes).unwrap_err();
        assert!(reason.contains("machine 243"), "{reason}");
    }

    #[test]
    fn numbers_that_overflow_are_refused() {
        let whole = library_with("\0OrtGetApiBase\0VERS_1.32.0\0");
        for place in [32, 64 + 8, 64 + 32, 120 + 8, 120 + 32] {
            let mut bytes = whole.clone();
            bytes[place..place + 8].fill(0xff);
            assert!(SharedObject::read(&bytes).is_err(), "place {place}");
        }
    }
}
