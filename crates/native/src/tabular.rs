//! Networks for tables: named features in, classes or numbers out.
//!
//! The format is a safetensors file with a text `seedhouse.tabular` among its metadata; docs/tabular.md describes every field. Its
//! framework is `safetensors`, not `seedhouse`: that is what the bytes are, every library for it reads the tensors, and only what they
//! are for is said in a text of ours.
//!
//! ```text
//! declaration    the text, held against its rules; which tensors it asks for
//! graph          a network as a graph of operators, for other programs
//! network        a compiled network as a tensor model: raw numbers in, logits or targets out
//! ```
//!
//! Scaling, categories and missing values are a part of the network: it takes raw numbers ([`seedhouse_core::tabular`]). Rows are computed
//! together, and a row has the same numbers in every batch.

mod declaration;
pub(crate) mod graph;
mod network;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use seedhouse_core::runtime::{Inspection, LoadedModel};
use seedhouse_core::tabular::Outcome;
use seedhouse_core::{ModelType, Result};

use self::declaration::Declaration;
use self::network::TabularNetwork;
use crate::layers::{Expected, Tensors, Weights};
use crate::text_models::TextModels;

/// The name of the text with the declaration.
const KEY: &str = "seedhouse.tabular";

/// The family's name in messages.
const FAMILY: &str = "the network for tables";

/// Returns the declaration among the metadata of a file, if it is one of this format.
pub(crate) fn declaration_of(texts: &HashMap<String, String>) -> Option<&str> {
    texts.get(KEY).map(String::as_str)
}

/// Adds to an inspection what the declaration says. The file is called `path`.
///
/// # Errors
/// [`seedhouse_core::Error::Malformed`] for a declaration that breaks a rule or that the tensors contradict.
pub(crate) fn describe(path: &str, text: &str, tensors: &Tensors<'_>, inspection: &mut Inspection) -> Result<()> {
    let declaration = Declaration::read(path, text)?;
    let weights = Weights { tensors, family: FAMILY };
    let layers = declaration.layers(&weights)?;
    weights.check(&declaration.expected(&layers))?;
    inspection.model_type = match declaration.table.outcome {
        Outcome::Classes(_) => ModelType::Classification,
        Outcome::Targets(_) => ModelType::Regression,
    };
    inspection.architecture = Some("tabular".into());
    inspection.hyper_parameters = declaration.hyper_parameters(&layers);
    inspection.not_servable_because = None;
    Ok(())
}

/// Returns the tensors that the network of these tensors has, and the family's name in messages.
///
/// # Errors
/// As [`describe`].
pub(crate) fn expected(path: &str, text: &str, tensors: &Tensors<'_>) -> Result<(&'static str, Expected)> {
    let declaration = Declaration::read(path, text)?;
    let layers = declaration.layers(&Weights { tensors, family: FAMILY })?;
    Ok((FAMILY, declaration.expected(&layers)))
}

/// Makes a file ready to compute with.
///
/// # Errors
/// As [`describe`], and [`seedhouse_core::Error::Malformed`] for values that are not finite.
pub(crate) fn load(path: &str, text: &str, tensors: &Tensors<'_>, models: &TextModels) -> Result<LoadedModel> {
    let declaration = Declaration::read(path, text)?;
    let weights = Weights { tensors, family: FAMILY };
    let layers = declaration.layers(&weights)?;
    weights.check(&declaration.expected(&layers))?;
    let network = TabularNetwork::compile(declaration, &weights, models.pool()?)?;
    Ok(LoadedModel::Tensor(Arc::new(network)))
}
