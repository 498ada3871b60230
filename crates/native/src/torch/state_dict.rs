//! From the object of a pickle to named tensors.

use std::collections::BTreeMap;

use seedhouse_core::{Error, Result};

use super::checkpoint::TensorView;
use super::pickle::{Handle, Pickle, TensorRecord, Value};
use super::quote;

/// Where training scripts keep the state dict when they save more than that.
const NESTED_UNDER: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// How often the numbers of a file may be named, on average. Tied weights are named twice; a file in which a thousand
/// tensors share one storage would need a thousand times its size once loaded.
const LARGEST_SHARING: usize = 4;

/// Finds the state dict and resolves its tensors. `storages` are the bytes of `pickle.storages`, in the same order.
pub(super) fn tensors<'a>(
    file: &str,
    file_size: usize,
    pickle: &Pickle<'a>,
    storages: &[&'a [u8]],
) -> Result<BTreeMap<&'a str, TensorView<'a>>> {
    let mut tensors = BTreeMap::new();
    let mut needed = 0_usize;
    for (key, value) in find(file, pickle)? {
        let Value::Text(name) = pickle.value(*key) else {
            let found = pickle.value(*key).describe();
            return Err(Error::malformed(file, format!("a key of the state dict is {found}, expected a text")));
        };
        let Value::Tensor(record) = pickle.value(*value) else {
            let found = pickle.value(*value).describe();
            return Err(Error::malformed(file, format!("{} is {found}, expected a tensor", quote(name))));
        };
        let view = view(pickle, record, storages);
        needed = needed.saturating_add(view.element_count().saturating_mul(view.data_type.size_bytes()));
        if tensors.insert(*name, view).is_some() {
            return Err(Error::malformed(file, format!("tensor {} is named twice", quote(name))));
        }
    }
    let limit = file_size.saturating_mul(LARGEST_SHARING);
    if needed > limit {
        let reason = format!(
            "its tensors share storages so often that they need {needed} bytes, but at most {LARGEST_SHARING} times \
             the file, {limit}, are allowed"
        );
        return Err(Error::malformed(file, reason));
    }
    Ok(tensors)
}

fn view<'a>(pickle: &Pickle<'a>, record: &TensorRecord, storages: &[&'a [u8]]) -> TensorView<'a> {
    let data_type = pickle.storages[record.storage].data_type;
    // The record was checked against the storage's element count, and the storage's bytes against that.
    let bytes = &storages[record.storage][record.offset * data_type.size_bytes()..];
    TensorView { data_type, shape: record.shape.clone(), strides: record.strides.clone(), bytes }
}

/// Returns the entries of the state dict: the object itself, or what it has under one of the usual keys.
fn find<'p>(file: &str, pickle: &'p Pickle<'_>) -> Result<&'p [(Handle, Handle)]> {
    let Value::Dictionary(entries) = pickle.root() else {
        let found = pickle.root().describe();
        return Err(Error::malformed(file, format!("it holds {found}, expected a state dict")));
    };
    if has_tensor(pickle, entries) {
        return Ok(entries);
    }
    for key in NESTED_UNDER {
        if let Some(Value::Dictionary(nested)) = pickle.entry(pickle.root(), key)
            && has_tensor(pickle, nested)
        {
            return Ok(nested);
        }
    }
    let reason = format!(
        "its dictionary of {} entries has no tensors, neither directly nor under {}",
        entries.len(),
        NESTED_UNDER.map(quote).join(", ")
    );
    Err(Error::malformed(file, reason))
}

fn has_tensor(pickle: &Pickle<'_>, entries: &[(Handle, Handle)]) -> bool {
    entries.iter().any(|(_, value)| matches!(pickle.value(*value), Value::Tensor(_)))
}
