//! Files that hold a model of Keras or TensorFlow Lite alone. They are recognised and said to be not served; nothing else of them is
//! read.

use memchr::memmem;
use seedhouse_core::runtime::{Inspection, LocalFiles};
use seedhouse_core::{Framework, Result};

use crate::description::undescribed;
use crate::mapped_file::MappedFile;

/// A kind of file, recognised by its content.
struct Kind {
    is_one: fn(&[u8]) -> bool,
    reason: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        is_one: is_archive,
        reason: "it is a Keras model, whose layers are not run here; load it with Keras, write it with \
            `model.export(\"model.onnx\", format=\"onnx\")`, and register the ONNX file",
    },
    Kind {
        is_one: is_hdf5,
        reason: "it is a Keras model or its weights in HDF5, which is not read here; load it with Keras, write it with \
            `model.export(\"model.onnx\", format=\"onnx\")`, and register the ONNX file",
    },
    Kind {
        is_one: is_lite,
        reason: "it is a TensorFlow Lite model, whose operators are not run here; convert it to ONNX, for example with \
            `python -m tf2onnx.convert --tflite MODEL --output model.onnx`, and register the ONNX file",
    },
];

/// Says what the first such file is, or returns `None` when there is none.
///
/// # Errors
/// [`seedhouse_core::Error::Io`] when a file cannot be read.
pub(super) fn inspect(files: &LocalFiles) -> Result<Option<Inspection>> {
    for file in &files.0 {
        let bytes = MappedFile::open(&file.local)?;
        if let Some(kind) = KINDS.iter().find(|kind| (kind.is_one)(&bytes)) {
            return Ok(Some(undescribed(Framework::Tensorflow, kind.reason.into())));
        }
    }
    Ok(None)
}

/// Keras 3 writes a ZIP archive, and `metadata.json` with its version first, uncompressed (`saving_lib.py`).
fn is_archive(bytes: &[u8]) -> bool {
    /// Where the name stands in a local file header (APPNOTE 6.3.10, section 4.3.7).
    const NAME_AT: usize = 30;
    /// Longer than that file.
    const WITHIN: usize = 256;
    const NAME: &[u8] = b"metadata.json";
    let rest = bytes.get(NAME_AT..).and_then(|bytes| bytes.strip_prefix(NAME));
    bytes.starts_with(b"PK\x03\x04")
        && rest.is_some_and(|rest| has(&rest[..rest.len().min(WITHIN)], "\"keras_version\""))
}

/// HDF5 keeps anything. Keras is known by the attributes it writes (`legacy/saving/hdf5_format.py`), or for weights of Keras 3, which
/// have none, by the two groups it has at the top (`saving_lib.py`), whose names lie near the beginning.
fn is_hdf5(bytes: &[u8]) -> bool {
    const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";
    const BEGINNING: usize = 4096;
    let is_at_top = |name| has(&bytes[..bytes.len().min(BEGINNING)], name);
    bytes.starts_with(SIGNATURE)
        && ((is_at_top("\0layers\0") && is_at_top("\0vars\0"))
            || has(bytes, "keras_version")
            || has(bytes, "layer_names"))
}

/// The identifier of a FlatBuffers schema stands behind the place of its root (`schema.fbs` of TensorFlow Lite).
fn is_lite(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"TFL3")
}

fn has(bytes: &[u8], word: &str) -> bool {
    memmem::find(bytes, word.as_bytes()).is_some()
}
