//! Variables that are stored in parts: an entry under the variable's name has no bytes, and each part has an entry of its own.

use std::collections::HashMap;

use seedhouse_core::{Error, Result};

use super::entry::Entry;
use crate::quote::quote;

/// Checks that the parts of every variable add up to it, and that every part belongs to one.
pub(super) fn check(file: &str, variables: &[Entry], slices: &[Entry]) -> Result<()> {
    let mut found: HashMap<&[u8], Vec<&Entry>> = HashMap::new();
    for slice in slices {
        found.entry(variable_of(file, slice)?).or_default().push(slice);
    }
    for variable in variables.iter().filter(|variable| variable.is_sliced) {
        let parts = found.remove(variable.key()).unwrap_or_default();
        let about = |reason| Error::malformed(file, format!("tensor {} {reason}", quote(&variable.name())));
        if let Some(part) = parts.iter().find(|part| part.data_type != variable.data_type || part.is_sliced) {
            let (part, whole) = (part.data_type.name(), variable.data_type.name());
            return Err(about(format!("is of {whole}, but it has a part of {part} or one in parts itself")));
        }
        let elements = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.elements));
        if elements != variable.elements {
            return Err(about(format!(
                "has {} values, but {elements} are in its {} parts",
                variable.elements,
                parts.len()
            )));
        }
    }
    match found.keys().next() {
        Some(name) => {
            let name = quote(&String::from_utf8_lossy(name));
            Err(Error::malformed(file, format!("it has parts of {name}, which is no tensor in parts")))
        }
        None => Ok(()),
    }
}

/// Returns the name of the variable within the key of a part: a zero, the name, a zero and a one, the place
/// (`EncodeTensorNameSlice` in `saved_tensor_slice_util.cc`).
fn variable_of<'e>(file: &str, slice: &'e Entry) -> Result<&'e [u8]> {
    const END: [u8; 2] = [0, 1];
    let key = &slice.key()[1..];
    let end = key.windows(END.len()).position(|bytes| bytes == END);
    let name = end.map(|end| &key[..end]);
    name.ok_or_else(|| {
        Error::malformed(file, format!("key {} begins like a part and does not end so", quote(&slice.name())))
    })
}
