//! Diffusion models over pixels: U-Nets that tell the noise in an image from the image.
//!
//! ```text
//! layout      names and shapes of the tensors
//! settings    what shapes do not say
//! blocks      what the network is made of: residual blocks, attention
//! unet        the network, ready to compute with
//! graph       the network as a graph of operators, for other programs
//! model       the network as a denoiser: checks, batches, memory
//! ```
//!
//! Batches are computed together; the numbers of an image are the same in every batch. Channels lie side by side within a pixel.

mod blocks;
pub(crate) mod graph;
mod layout;
mod model;
mod settings;
#[cfg(test)]
mod tests;
mod unet;

use std::sync::Arc;

use seedhouse_core::runtime::{Inspection, LoadedModel};
use seedhouse_core::{Error, ModelType, Result};
use serde_json::{Map, Value};

use self::layout::Layout;
use self::model::DiffusionModel;
use self::settings::Settings;
use self::unet::Unet;
use crate::layers::{Compile, Expected, Tensors, Weights};
use crate::text_models::TextModels;

const ARCHITECTURE: &str = "unet";
const TITLE: &str = "the U-Net";

/// Returns whether tensors have the names of a U-Net.
pub(crate) fn recognises(tensors: &Tensors<'_>) -> bool {
    ["time_embedding.first.weight", "input.weight", "middle.0.conv1.weight"].iter().all(|name| tensors.has(name))
}

/// Adds to an inspection what the tensors of a file are, and why they cannot be computed with.
pub(crate) fn describe(tensors: &Tensors<'_>, inspection: &mut Inspection) {
    inspection.model_type = ModelType::Diffusion;
    inspection.architecture = Some(ARCHITECTURE.to_owned());
    let weights = Weights { tensors, family: TITLE };
    let read = || -> Result<(Map<String, Value>, Result<()>)> {
        let layout = Layout::read(&weights)?;
        let mut hyper_parameters = layout.hyper_parameters();
        hyper_parameters.extend(settings::noted(tensors)?);
        match weights.check(&layout.expected()) {
            Err(malformed @ Error::Malformed { .. }) => Err(malformed),
            checked => Ok((hyper_parameters, checked)),
        }
    };
    let refusal = match read() {
        Ok((hyper_parameters, checked)) => {
            inspection.hyper_parameters = hyper_parameters;
            checked.err()
        }
        Err(malformed) => Some(malformed),
    };
    inspection.not_servable_because = refusal.map(|error| error.to_string());
}

/// Returns the tensors that the network of these tensors has, and the family's name in messages.
///
/// # Errors
/// [`Error::Malformed`] for tensors that are missing or contradict each other.
pub(crate) fn expected(tensors: &Tensors<'_>) -> Result<(&'static str, Expected)> {
    Ok((TITLE, Layout::read(&Weights { tensors, family: TITLE })?.expected()))
}

/// Makes tensors ready to compute with.
///
/// # Errors
/// [`Error::Malformed`] for missing, superfluous or wrongly shaped tensors and for values that are not finite, [`Error::Unsupported`] for
/// types that are not computed with, [`Error::Invalid`] when neither file nor record say what the shapes leave open, or it does not
/// fit them, [`Error::TooLarge`] when an image would need too much memory.
pub(crate) fn load(tensors: &Tensors<'_>, metadata: &Map<String, Value>, models: &TextModels) -> Result<LoadedModel> {
    let weights = Weights { tensors, family: TITLE };
    let layout = Layout::read(&weights)?;
    weights.check(&layout.expected())?;
    let settings = Settings::read(tensors, metadata)?;
    layout.check_settings(&settings)?;
    let pool = models.pool()?;
    let compile = Compile { options: models.plan_options(), level: pool.level() };
    let network = Unet::build(&layout, &settings, &weights, &compile)?;
    tracing::info!(plan.bytes = network.bytes(), level = pool.level().name(), "compiled a diffusion model");
    Ok(LoadedModel::Diffusion(Arc::new(DiffusionModel::new(network, &layout, &settings, pool))))
}
