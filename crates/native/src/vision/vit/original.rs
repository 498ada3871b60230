//! The vision transformer of the system that Seedhouse took over. Its records name `model_type` (`vit`), `image_size`,
//! `image_channels`, `num_classes` and `base_channels` (the width).
//!
//! No file with its weights was kept, so the tensor names are ours, those that a torch module would have:
//!
//! ```text
//! patch_embedding.weight, .bias                 [base_channels, image_channels, patch, patch], [base_channels]
//! class_token                                   [1, 1, base_channels]
//! position_embedding                            [1, patches + 1, base_channels]
//! layers.N.attention_norm.weight, .bias         [base_channels]
//! layers.N.attention.query.weight, .bias        [base_channels, base_channels], also key, value and output
//! layers.N.feed_forward_norm.weight, .bias      [base_channels]
//! layers.N.feed_forward.up.weight, .bias        [inner, base_channels]
//! layers.N.feed_forward.down.weight, .bias      [base_channels, inner]
//! final_norm.weight, .bias                      [base_channels]
//! classifier.weight, .bias                      [num_classes, base_channels]
//! ```
//!
//! Norms add 1e-6 to the variance, as in the paper's code; GELU is that of the error function. The number of heads is no shape: it
//! is `num_heads` of the record, or one head for each 64 numbers of the width.

use seedhouse_core::{Error, Result};
use seedhouse_kernels::Nonlinearity;
use serde_json::{Map, Value};

use super::names::ORIGINAL;
use super::{ARCHITECTURE, Layout, Settings};
use crate::layers::{Tensors, Weights};
use crate::vision::families::Family;

/// The family.
pub(in crate::vision) const FAMILY: Family =
    Family { architecture: ARCHITECTURE, title: "the vision transformer", recognises, describe };

const EPSILON: f32 = 1e-6;

/// The numbers of a head in every network of the paper.
const HEAD_WIDTH: usize = 64;

fn recognises(tensors: &Tensors<'_>) -> bool {
    ["patch_embedding.weight", "class_token", "position_embedding"].iter().all(|name| tensors.has(name))
}

fn describe(
    weights: &Weights<'_>,
    metadata: &Map<String, Value>,
) -> Result<Box<dyn crate::vision::network::Description>> {
    let settings = |width| {
        let heads = heads(metadata, width)?;
        Ok(Settings { heads, epsilon: EPSILON, nonlinearity: Nonlinearity::GeluErf })
    };
    Ok(Box::new(Layout::read(weights, &ORIGINAL, settings)?))
}

fn heads(metadata: &Map<String, Value>, width: usize) -> Result<usize> {
    match metadata.get("num_heads") {
        None | Some(Value::Null) => Ok((width / HEAD_WIDTH).max(1)),
        Some(value) => {
            let heads = value.as_u64().and_then(|heads| usize::try_from(heads).ok());
            heads.filter(|heads| *heads > 0 && width.is_multiple_of(*heads)).ok_or_else(|| {
                let rule = format!("must be a whole number that divides the width, {width}");
                Error::invalid("metadata.num_heads", value, rule)
            })
        }
    }
}
