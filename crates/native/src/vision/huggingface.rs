//! Folders of the transformers library: `config.json`, `preprocessor_config.json`, labels, safetensors files.
//!
//! `ViTForImageClassification` and `ResNetForImageClassification` are read. What the configuration says is held against the tensors,
//! and a field that nobody knows is refused: a variant of a family is a field more.

mod preprocessor;

use seedhouse_core::runtime::{LoadedModel, LocalFiles};
use seedhouse_core::{Error, Graph, Result};
use seedhouse_kernels::Nonlinearity;
use serde_json::{Map, Value};

use super::families::compile;
use super::graph::of_network;
use super::network::Description;
use super::{resnet, vit};
use crate::decoder::huggingface::fields::{Fields, broken};
use crate::decoder::huggingface::{CONFIG, choose_weight_files};
use crate::export::builder::GraphBuilder;
use crate::huggingface::read_object;
use crate::layers::{Expected, Tensors, Weights};
use crate::mapped_file::MappedFile;
use crate::text_models::TextModels;

/// A class of the library.
struct Class {
    name: &'static str,
    /// Its name in messages.
    title: &'static str,
    describe: fn(&Fields<'_>, &Weights<'_>) -> Result<Box<dyn Description>>,
}

const CLASSES: [Class; 2] = [
    Class { name: "ViTForImageClassification", title: "ViT", describe: describe_vit },
    Class { name: "ResNetForImageClassification", title: "ResNet", describe: describe_resnet },
];

/// What the library assumes where a configuration is silent.
const DEFAULT_HEADS: usize = 12;
const DEFAULT_EPSILON: f64 = 1e-12;

/// Returns whether a folder is one of the classes that are read here.
///
/// # Errors
/// [`Error::Malformed`] for a configuration that is no JSON object.
pub(crate) fn is_classifier(files: &LocalFiles) -> Result<bool> {
    Ok(class_of(&config(files)?).is_some())
}

/// Checks a folder and returns what it says, in the record's names.
///
/// # Errors
/// [`Error::Malformed`] naming the file and both values, [`Error::Unsupported`] for what is not computed here.
pub(crate) fn inspect_folder(files: &LocalFiles) -> Result<Map<String, Value>> {
    with_network(files, |weights, network, _| {
        weights.check(&network.expected())?;
        Ok(network.hyper_parameters())
    })
}

/// Makes a folder ready to compute with.
///
/// # Errors
/// As [`inspect_folder`], and [`Error::Malformed`] for values that are not finite.
pub(crate) fn load_folder(files: &LocalFiles, models: &TextModels) -> Result<LoadedModel> {
    with_network(files, |weights, network, declared| compile(weights, network, declared, models))
}

/// Makes a graph of a folder.
///
/// # Errors
/// As [`load_folder`].
pub(crate) fn graph_of_folder(files: &LocalFiles, graph: GraphBuilder<'_>) -> Result<Graph> {
    let name = class_of(&config(files)?).map_or("classifier", |class| class.title);
    with_network(files, |weights, network, _| of_network(weights, network, name, graph))
}

/// Does something with the tensors of a folder and what its network has.
///
/// # Errors
/// As [`inspect_folder`], and those of the work.
pub(crate) fn with_tensors(files: &LocalFiles, work: impl FnOnce(&Weights<'_>, &Expected) -> Result<()>) -> Result<()> {
    with_network(files, |weights, network, _| work(weights, &network.expected()))
}

fn config(files: &LocalFiles) -> Result<Map<String, Value>> {
    let file = files.0.iter().find(|file| file.path.as_str() == CONFIG);
    read_object(file.ok_or_else(|| Error::Internal(format!("a folder has a `{CONFIG}`")))?)
}

fn class_of(config: &Map<String, Value>) -> Option<&'static Class> {
    let named = config.get("architectures")?.as_array()?;
    CLASSES.iter().find(|class| named.iter().any(|name| name.as_str() == Some(class.name)))
}

fn with_network<T>(
    files: &LocalFiles,
    work: impl FnOnce(&Weights<'_>, &dyn Description, Map<String, Value>) -> Result<T>,
) -> Result<T> {
    let config = config(files)?;
    let class = class_of(&config).ok_or_else(|| {
        Error::unsupported(format!("the classes of `{CONFIG}`"), "none of them is an image classifier")
    })?;
    let chosen = choose_weight_files(files)?;
    let maps = chosen.iter().map(|file| Ok((file.path.as_str(), MappedFile::open(&file.local)?)));
    let maps = maps.collect::<Result<Vec<_>>>()?;
    let views: Vec<(&str, &[u8])> = maps.iter().map(|(path, map)| (*path, &**map)).collect();
    let tensors = Tensors::of_safetensors("the folder", &views)?;
    let weights = Weights { tensors: &tensors, family: class.title };
    let fields = Fields::new(&config);
    let network = (class.describe)(&fields, &weights)?;
    fields.refuse_unknown()?;
    let mut declared = preprocessor::declared(files)?;
    declared.extend(labels(&config, network.as_ref())?);
    work(&weights, network.as_ref(), declared)
}

fn describe_vit(fields: &Fields<'_>, weights: &Weights<'_>) -> Result<Box<dyn Description>> {
    let heads = fields.size("num_attention_heads")?.unwrap_or(DEFAULT_HEADS);
    let epsilon = fields.float("layer_norm_eps")?.unwrap_or(DEFAULT_EPSILON) as f32;
    let nonlinearity = nonlinearity(fields, "gelu")?;
    let layout =
        vit::Layout::read(weights, &vit::HUGGING_FACE, |_| Ok(vit::Settings { heads, epsilon, nonlinearity }))?;
    let sizes = layout.sizes;
    check_sizes(
        fields,
        &[
            ("image_size", sizes.image_size),
            ("patch_size", sizes.patch_size),
            ("num_channels", sizes.image_channels),
            ("hidden_size", sizes.width),
            ("num_hidden_layers", sizes.layers),
            ("intermediate_size", sizes.feed_forward_width),
        ],
    )?;
    if fields.boolean("qkv_bias")? == Some(false) {
        return Err(broken("qkv_bias", &Value::Bool(false), "queries, keys and values have a bias here"));
    }
    // Dropout is for training, the rest for other heads than a classifier.
    let others =
        ["hidden_dropout_prob", "attention_probs_dropout_prob", "encoder_stride", "pooler_act", "pooler_output_size"];
    fields.allow(&others);
    Ok(Box::new(layout))
}

fn describe_resnet(fields: &Fields<'_>, weights: &Weights<'_>) -> Result<Box<dyn Description>> {
    if nonlinearity(fields, "relu")? != Nonlinearity::Relu {
        let found = fields.get("hidden_act").cloned().unwrap_or_default();
        return Err(broken("hidden_act", &found, "is `relu` in a ResNet"));
    }
    for name in ["downsample_in_first_stage", "downsample_in_bottleneck"] {
        if fields.boolean(name)? == Some(true) {
            return Err(broken(name, &Value::Bool(true), "only `false` is computed with"));
        }
    }
    let layout = resnet::Layout::read(weights, &resnet::HUGGING_FACE)?;
    if let Some(depths) = fields.get("depths")
        && *depths != Value::from(layout.depths())
    {
        return Err(broken("depths", &depths.to_string().into(), &format!("the tensors have {:?}", layout.depths())));
    }
    let others =
        ["embedding_size", "hidden_sizes", "layer_type", "num_channels", "out_features", "out_indices", "stage_names"];
    fields.allow(&others);
    Ok(Box::new(layout))
}

/// Holds numbers of the configuration against what the tensors say.
pub(crate) fn check_sizes(fields: &Fields<'_>, found: &[(&'static str, usize)]) -> Result<()> {
    found.iter().try_for_each(|(name, found)| match fields.size(name)? {
        Some(said) if said != *found => Err(broken(name, &said.into(), &format!("the tensors have {found}"))),
        _ => Ok(()),
    })
}

/// Reads `hidden_act`.
pub(crate) fn nonlinearity(fields: &Fields<'_>, default: &str) -> Result<Nonlinearity> {
    match fields.text("hidden_act")?.unwrap_or(default) {
        "gelu" => Ok(Nonlinearity::GeluErf),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Nonlinearity::GeluTanh),
        "relu" => Ok(Nonlinearity::Relu),
        "silu" | "swish" => Ok(Nonlinearity::Silu),
        other => {
            let known = "`gelu`, `gelu_new`, `gelu_pytorch_tanh`, `relu` and `silu` are computed with";
            Err(broken("hidden_act", &other.into(), known))
        }
    }
}

/// Returns the names of the classes, unless they are the ones that the library makes up.
fn labels(config: &Map<String, Value>, network: &dyn Description) -> Result<Option<(String, Value)>> {
    let Some(Value::Object(labels)) = config.get("id2label") else { return Ok(None) };
    let classes = network.hyper_parameters().get("num_classes").and_then(Value::as_u64).unwrap_or_default();
    if labels.len() as u64 != classes {
        let reason = format!("its id2label has {} classes, but the tensors have {classes}", labels.len());
        return Err(Error::malformed(format!("file `{CONFIG}`"), reason));
    }
    let is_made_up = |(id, name): (&String, &Value)| name.as_str() == Some(&format!("LABEL_{id}"));
    let named = !labels.iter().all(is_made_up);
    Ok(named.then(|| ("labels".to_owned(), Value::Object(labels.clone()))))
}
