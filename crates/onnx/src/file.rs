//! The files of a version: which of them is a graph, and its bytes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use seedhouse_core::{Error, ManifestPath, Result};

use crate::wire::take_varint;

/// A graph and each file beside it is read whole, so there is a limit; larger models are for formats that are mapped.
const MOST_BYTES: u64 = 4 << 30;

/// Returns how long a file is.
pub(crate) fn length(local: &Path) -> Result<u64> {
    Ok(std::fs::metadata(local).map_err(Error::io("read the length of", local))?.len())
}

/// Reads a whole file.
pub(crate) fn read(path: &ManifestPath, local: &Path) -> Result<Vec<u8>> {
    let bytes = length(local)?;
    if bytes > MOST_BYTES {
        return Err(Error::TooLarge {
            what: format!("file `{path}` of an ONNX model"),
            size: format!("{bytes} bytes"),
            limit: format!("{MOST_BYTES} bytes"),
        });
    }
    std::fs::read(local).map_err(Error::io("read", local))
}

/// Recognises a graph by its content: it begins with a version of the format, as every writer puts it, and of the fields of a model that
/// follow one is the graph. Only the heads of fields are read, however long they are.
///
/// A file that ends within its graph is one: that it is broken is said when it is read.
pub(crate) fn is_graph(local: &Path) -> Result<bool> {
    let mut file = File::open(local).map_err(Error::io("open", local))?;
    let length = file.metadata().map_err(Error::io("read the length of", local))?.len();
    let mut position = 0;
    for index in 0..MOST_FIELDS {
        let mut head = [0; LONGEST_HEAD];
        file.seek(SeekFrom::Start(position)).map_err(Error::io("read", local))?;
        let read = read_up_to(&mut file, &mut head).map_err(Error::io("read", local))?;
        match Head::read(&head[..read]) {
            Some(Head { number: IR_VERSION, content: Content::Number(version), head_bytes }) if index == 0 => {
                if !(1..=LAST_IR_VERSION).contains(&version) {
                    return Ok(false);
                }
                position += head_bytes;
            }
            Some(Head { number: GRAPH, content: Content::Bytes(_), .. }) if index > 0 => return Ok(true),
            Some(Head { number, content, head_bytes }) if index > 0 && is_field_of_a_model(number, content) => {
                let Content::Bytes(bytes) = content else {
                    position += head_bytes;
                    continue;
                };
                position = match (position + head_bytes).checked_add(bytes) {
                    Some(next) if next <= length => next,
                    _ => return Ok(false),
                };
            }
            _ => return Ok(false),
        }
    }
    Ok(false)
}

const IR_VERSION: u64 = 1;
const GRAPH: u64 = 7;
/// The format is at 13; a number that a file may have one day is no reason to see something else in it.
const LAST_IR_VERSION: u64 = 64;
/// More fields than stand before a graph.
const MOST_FIELDS: usize = 4096;
/// Two numbers of at most ten bytes.
const LONGEST_HEAD: usize = 20;

/// The beginning of a field.
struct Head {
    number: u64,
    content: Content,
    head_bytes: u64,
}

#[derive(Clone, Copy)]
enum Content {
    Number(u64),
    Bytes(u64),
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Head> {
        let mut rest = bytes;
        let tag = take_varint(&mut rest)?;
        let value = take_varint(&mut rest)?;
        let content = match tag & 7 {
            0 => Content::Number(value),
            2 => Content::Bytes(value),
            _ => return None,
        };
        Some(Head { number: tag >> 3, content, head_bytes: (bytes.len() - rest.len()) as u64 })
    }
}

/// The fields beside version and graph: producer, domain, model version, texts, operator sets, properties, functions.
fn is_field_of_a_model(number: u64, content: Content) -> bool {
    match content {
        Content::Number(_) => number == 5,
        Content::Bytes(_) => matches!(number, 2 | 3 | 4 | 6 | 8 | 14 | 20 | 25 | 26),
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read(&mut buffer[read..])? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognised(bytes: &[u8]) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        is_graph(file.path()).unwrap()
    }

    #[test]
    fn graphs_are_recognised_by_their_content() {
        let cases: [(&[u8], bool); 9] = [
            (b"\x08\x08\x12\x07pytorch\x3a\x00", true),
            (b"\x08\x08\x42\x02\x10\x11\x3a\x00", true),
            // Cut within the graph.
            (b"\x08\x08\x3a\xff\x01", true),
            (b"", false),
            (b"GGUF\x03\x00\x00\x00", false),
            (b"\x08\x08\x12\x07pyt", false),
            (b"\x3a\x00", false),
            (b"\x08\x00\x3a\x00", false),
            // A saved model of TensorFlow: a version and one long field.
            (b"\x08\x01\x12\x04abcd", false),
        ];
        for (bytes, expected) in cases {
            assert_eq!(recognised(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
