//! Which folders are sentence encoders; from files to a model.

use std::sync::Arc;

use seedhouse_core::runtime::{EmbedderInfo, LoadedModel, LocalFile, LocalFiles};
use seedhouse_core::{Error, Graph, Result};
use serde_json::{Map, Value};

use super::bert::{self, Layout};
use super::graph::draw;
use super::model::EmbeddingModel;
use super::settings::{MODULES, Settings};
use crate::decoder::huggingface::fields::Fields;
use crate::decoder::huggingface::{CONFIG, choose_weight_files};
use crate::export::builder::GraphBuilder;
use crate::huggingface::{read_object, text};
use crate::layers::{Compile, Expected, Tensors, Weights};
use crate::mapped_file::MappedFile;
use crate::quote::quote;
use crate::text_models::TextModels;

/// The network's name in messages.
const TITLE: &str = "BERT";

/// Returns whether a folder is a sentence encoder: sentence-transformers left its list of modules, or the class is BERT's.
///
/// # Errors
/// [`Error::Malformed`] for a configuration that is no JSON object.
pub(crate) fn is_encoder(files: &LocalFiles) -> Result<bool> {
    let has_modules = files.0.iter().any(|file| file.path.as_str() == MODULES);
    Ok(has_modules || classes(&config(files)?) == [bert::CLASS])
}

/// Checks a folder and returns what it says, in the record's names.
///
/// # Errors
/// [`Error::Malformed`] naming the file and both values, [`Error::Unsupported`] for what is not computed here.
pub(crate) fn inspect_folder(files: &LocalFiles) -> Result<Map<String, Value>> {
    with_network(files, |weights, layout, settings| {
        weights.check(&layout.expected())?;
        text::read_tokenizer(files, layout.sizes.vocab_size)?;
        let mut said = layout.hyper_parameters();
        said.insert("max_seq_len".into(), settings.longest_sequence.into());
        said.insert("dimensions".into(), layout.sizes.width.into());
        said.insert("pooling".into(), settings.pooling.name().into());
        said.insert("normalize".into(), settings.is_normalised.into());
        Ok(said)
    })
}

/// Makes a folder ready to compute with.
///
/// # Errors
/// As [`inspect_folder`], and [`Error::Malformed`] for values that are not finite.
pub(crate) fn load_folder(files: &LocalFiles, models: &TextModels) -> Result<LoadedModel> {
    with_network(files, |weights, layout, settings| {
        weights.check(&layout.expected())?;
        let info = EmbedderInfo {
            tokenizer: text::read_tokenizer(files, layout.sizes.vocab_size)?,
            lower_case: settings.lower_case,
            longest_sequence: settings.longest_sequence,
            dimensions: layout.sizes.width,
            prompts: settings.prompts,
        };
        let pool = models.pool()?;
        let compile = Compile { options: models.plan_options(), level: pool.level() };
        let network = layout.build(weights, &compile)?;
        tracing::info!(plan.bytes = network.bytes(), level = pool.level().name(), "compiled a sentence encoder");
        let model = EmbeddingModel::new(network, (settings.pooling, settings.is_normalised), info, pool);
        Ok(LoadedModel::Embedding(Arc::new(model)))
    })
}

/// Makes a graph of a folder.
///
/// # Errors
/// As [`load_folder`].
pub(crate) fn graph_of_folder(files: &LocalFiles, graph: GraphBuilder<'_>) -> Result<Graph> {
    with_network(files, |weights, layout, settings| {
        weights.check(&layout.expected())?;
        draw(weights, layout, &settings, graph)
    })
}

/// Does something with the tensors of a folder and what its network has.
///
/// # Errors
/// As [`inspect_folder`], and those of the work.
pub(crate) fn with_tensors(files: &LocalFiles, work: impl FnOnce(&Weights<'_>, &Expected) -> Result<()>) -> Result<()> {
    with_network(files, |weights, layout, _| work(weights, &layout.expected()))
}

fn config(files: &LocalFiles) -> Result<Map<String, Value>> {
    let is_config = |file: &&LocalFile| file.path.as_str() == CONFIG;
    read_object(files.0.iter().find(is_config).ok_or_else(|| Error::Internal(format!("a folder has a `{CONFIG}`")))?)
}

fn classes(config: &Map<String, Value>) -> Vec<&str> {
    let named = config.get("architectures").and_then(Value::as_array).into_iter().flatten();
    named.filter_map(Value::as_str).collect()
}

fn with_network<T>(files: &LocalFiles, work: impl FnOnce(&Weights<'_>, &Layout, Settings) -> Result<T>) -> Result<T> {
    let config = config(files)?;
    let found = classes(&config);
    if found != [bert::CLASS] {
        return Err(Error::unsupported(
            format!("class {} of a sentence encoder", quote(&found.join(", "))),
            format!("the class that is computed is `{}`", bert::CLASS),
        ));
    }
    let chosen = choose_weight_files(files)?;
    let maps = chosen.iter().map(|file| Ok((file.path.as_str(), MappedFile::open(&file.local)?)));
    let maps = maps.collect::<Result<Vec<_>>>()?;
    let views: Vec<(&str, &[u8])> = maps.iter().map(|(path, map)| (*path, &**map)).collect();
    let mut tensors = Tensors::of_safetensors("the folder", &views)?;
    tensors.forget(bert::POSITION_IDS);
    let weights = Weights { tensors: &tensors, family: TITLE };
    let fields = Fields::new(&config);
    let layout = Layout::read(&fields, &weights)?;
    fields.refuse_unknown()?;
    let settings = Settings::read(files, layout.sizes.width, layout.sizes.positions)?;
    work(&weights, &layout, settings)
}
