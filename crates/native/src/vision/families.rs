//! Which family tensors belong to, and from files to models.

use std::sync::Arc;

use seedhouse_core::runtime::{Inspection, LoadedModel};
use seedhouse_core::{Error, ModelType, Result};
use serde_json::{Map, Value};

use super::network::{Description, VisionModel};
use super::{cnn, efficientnet_lite, resnet, vit};
use crate::layers::{Compile, Expected, Tensors, Weights};
use crate::quote::quote;
use crate::text_models::TextModels;

/// Makes a description of tensors and hyper-parameters.
type Describe = fn(&Weights<'_>, &Map<String, Value>) -> Result<Box<dyn Description>>;

/// A family of networks that are one file of tensors.
pub(super) struct Family {
    /// Its name in inspections and, as `model_type`, in records.
    pub(super) architecture: &'static str,
    /// Its name in messages.
    pub(super) title: &'static str,
    /// Whether tensors have its names.
    pub(super) recognises: fn(&Tensors<'_>) -> bool,
    /// Reads the shapes, and what they do not say from the record's hyper-parameters.
    pub(super) describe: Describe,
}

const FAMILIES: [&Family; 4] = [&efficientnet_lite::FAMILY, &resnet::FAMILY, &vit::original::FAMILY, &cnn::FAMILY];

/// Adds to an inspection what the tensors of a file are: family, hyper-parameters, and why they cannot be computed with.
pub(crate) fn describe(tensors: &Tensors<'_>, inspection: &mut Inspection) {
    let Some(family) = family(tensors) else {
        inspection.not_servable_because = Some(no_family(tensors));
        return;
    };
    inspection.model_type = ModelType::Vision;
    let weights = Weights { tensors, family: family.title };
    let read = || -> Result<(Map<String, Value>, Result<()>)> {
        let network = (family.describe)(&weights, &Map::new())?;
        match weights.check(&network.expected()) {
            Err(malformed @ Error::Malformed { .. }) => Err(malformed),
            checked => Ok((network.hyper_parameters(), checked)),
        }
    };
    let refusal = match read() {
        Ok((hyper_parameters, checked)) => {
            inspection.architecture = Some(family.architecture.to_owned());
            inspection.hyper_parameters = hyper_parameters;
            checked.err()
        }
        Err(malformed) => Some(malformed),
    };
    inspection.not_servable_because = refusal.map(|error| error.to_string());
}

/// Makes tensors ready to compute with.
///
/// # Errors
/// [`Error::Unsupported`] when no family has these names or for a type that is not computed with, [`Error::Malformed`] for missing,
/// superfluous or wrongly shaped tensors and for values that are not finite, [`Error::Invalid`] when the record does not say what
/// the tensors leave open.
pub(crate) fn load(tensors: &Tensors<'_>, metadata: &Map<String, Value>, models: &TextModels) -> Result<LoadedModel> {
    let unknown = || Error::unsupported(format!("the architecture of {}", tensors.subject()), no_family(tensors));
    let family = family(tensors).ok_or_else(unknown)?;
    let weights = Weights { tensors, family: family.title };
    let network = (family.describe)(&weights, metadata)?;
    compile(&weights, network.as_ref(), Map::new(), models)
}

/// Returns the tensors that the network of these tensors has, and the family's name in messages.
///
/// # Errors
/// As [`load`], but for values that are not finite.
pub(crate) fn expected(tensors: &Tensors<'_>, metadata: &Map<String, Value>) -> Result<(&'static str, Expected)> {
    let unknown = || Error::unsupported(format!("the architecture of {}", tensors.subject()), no_family(tensors));
    let family = family(tensors).ok_or_else(unknown)?;
    let weights = Weights { tensors, family: family.title };
    Ok((family.title, (family.describe)(&weights, metadata)?.expected()))
}

/// Compiles a network whose shapes were read. `declared` is what its files say about pre-processing and labels.
pub(super) fn compile(
    weights: &Weights<'_>,
    network: &dyn Description,
    declared: Map<String, Value>,
    models: &TextModels,
) -> Result<LoadedModel> {
    weights.check(&network.expected())?;
    let pool = models.pool()?;
    let compile = Compile { options: models.plan_options(), level: pool.level() };
    let network = network.build(weights, &compile)?;
    tracing::info!(plan.bytes = network.bytes(), level = pool.level().name(), "compiled a network");
    Ok(LoadedModel::Tensor(Arc::new(VisionModel::new(network, pool, declared))))
}

pub(super) fn family(tensors: &Tensors<'_>) -> Option<&'static Family> {
    FAMILIES.into_iter().find(|family| (family.recognises)(tensors))
}

pub(super) fn no_family(tensors: &Tensors<'_>) -> String {
    let first: Vec<String> = tensors.names().take(3).map(quote).collect();
    let count = tensors.all().len();
    format!("no known family has these {count} tensor names, the first being {}", first.join(", "))
}
