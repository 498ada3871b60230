//! Models as safetensors: folders that the Hugging Face libraries load, or tensors by name.

use std::collections::BTreeMap;

use seedhouse_core::runtime::LocalFile;
use seedhouse_core::{Error, ExportTask, Exported, Progress, Result};
use serde_json::{Map, Value, json};

use super::files::{Files, Output};
use super::tensors::{Order, OutTensor, lossless};
use super::{SAME_SPEED, refuse_quantised, refused_problem, tokenizer, unknown};
use crate::decoder::halves::neighbour_of_half;
use crate::decoder::huggingface::llama_tensor_name;
use crate::decoder::original;
use crate::decoder::{DecoderModel, DecoderSpec, Positions, Role, RotaryStyle};
use crate::gguf::Gguf;
use crate::gguf_model::assemble;
use crate::huggingface;
use crate::huggingface::safetensors::{NewTensor, header};
use crate::runtime::{Format, Source, single, sources};
use crate::safetensors_file;
use crate::torch::checkpoint::{Checkpoint, TensorView};

/// Files that say how text goes in and out, beside a checkpoint.
const TEXT_FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];

/// Writes a model as safetensors. A folder of the Hugging Face libraries and a safetensors file are copied; a GGUF file of a family that
/// the transformers library has becomes such a folder, with weights that are not plain numbers in 32-bit floating point; of a torch
/// checkpoint the tensors are written under their names.
///
/// # Errors
/// [`Error::Unsupported`] for a family, a variant or a tokenizer that has no such form, those of loading, [`Error::Cancelled`].
pub fn export_safetensors(task: &ExportTask<'_>, progress: &dyn Progress) -> Result<Exported> {
    refuse_quantised(task.files)?;
    let mut files = Files::new(task, progress);
    let found = sources(task.files)?;
    if found.is_empty() && huggingface::is_folder(task.files) {
        files.copies(&task.files.0)?;
        return Ok(files.finish(Map::new()));
    }
    if let Some(file) = safetensors_file::of(task.files).filter(|_| found.is_empty()) {
        files.single(|output| output.copy(file))?;
        return Ok(files.finish(Map::new()));
    }
    if found.is_empty() {
        return Err(unknown(task.files));
    }
    let source = single(&found)?;
    match source.format {
        Format::Gguf => of_gguf(files, source),
        Format::TorchCheckpoint => of_checkpoint(task, files, source),
        Format::Problem => Err(refused_problem("safetensors")),
    }
}

fn of_gguf(mut files: Files<'_>, source: &Source<'_>) -> Result<Exported> {
    let gguf = Gguf::parse(source.path.as_str(), &source.file)?;
    let (model, vocabulary) = assemble(&gguf, &source.file)?;
    let text = vocabulary.to_tokenizer();
    let class = class(&model.spec)?;
    let base = gguf.metadata.float(&format!("{}.rope.freq_base", model.spec.architecture))?.unwrap_or(10_000.0);
    let tokenizer_file = tokenizer::to_json(&text)?;
    let mut config = config(&model, class, base)?;
    let tokens = text.model.tokens();
    let of_token = |id: Option<u32>| id.map(|id| tokens[id as usize].as_str());
    let ends: Vec<u32> = text.eos.iter().chain(&text.stop).copied().collect();
    for (key, value) in [("bos_token_id", json!(text.bos)), ("eos_token_id", json!(text.eos))] {
        config[key] = value;
    }
    files.json("config.json", &config)?;
    let generation = json!({"bos_token_id": text.bos, "eos_token_id": ends});
    files.json("generation_config.json", &generation)?;
    files.json("tokenizer.json", &tokenizer_file)?;
    files.json(
        "tokenizer_config.json",
        &json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": of_token(text.bos),
            "eos_token": of_token(text.eos),
            "add_bos_token": text.add_bos,
            "clean_up_tokenization_spaces": false,
            "model_max_length": model.spec.context_length,
            "chat_template": vocabulary.chat_template,
        }),
    )?;
    let tensors = tensors(&model)?;
    let places: Vec<NewTensor> = tensors
        .iter()
        .map(|tensor| NewTensor {
            name: tensor.name.clone(),
            dtype: tensor.storage.name(),
            shape: tensor.shape(),
            bytes: tensor.bytes(),
        })
        .collect();
    files.in_folder("model.safetensors", |output| {
        write_header(output, &places)?;
        tensors.iter().try_for_each(|tensor| tensor.write(output))
    })?;
    let compatibility = json!({"class": class, "library": "transformers"});
    Ok(files.finish(compatibility.as_object().cloned().unwrap_or_default()))
}

/// Returns the class of the transformers library.
fn class(spec: &DecoderSpec) -> Result<&'static str> {
    match spec.architecture.as_str() {
        "llama" => Ok("LlamaForCausalLM"),
        "qwen2" => Ok("Qwen2ForCausalLM"),
        "qwen3" => Ok("Qwen3ForCausalLM"),
        other => Err(Error::unsupported(
            format!("export of a GGUF file of `{other}` to safetensors"),
            "files of `llama`, `qwen2` and `qwen3` become folders of the transformers library",
        )),
    }
}

fn config(model: &DecoderModel, class: &str, base: f64) -> Result<Value> {
    let spec = &model.spec;
    let has = |role: Role| (0..spec.layers).any(|layer| model.tensors.of_layer(layer, role).is_some());
    // The shortest decimal that means the same f32.
    let epsilon: f64 =
        spec.norm.epsilon.to_string().parse().map_err(|_| Error::Internal("a number has no text".into()))?;
    let mut config = json!({
        "architectures": [class],
        "model_type": spec.architecture,
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.width,
        "intermediate_size": spec.feed_forward_width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.query_heads,
        "num_key_value_heads": spec.key_value_heads,
        "head_dim": spec.head_width,
        "max_position_embeddings": spec.context_length,
        "rms_norm_eps": epsilon,
        "hidden_act": "silu",
        "rope_theta": base,
        "rope_scaling": scaling(spec, base)?,
        "tie_word_embeddings": spec.tied_output,
        "torch_dtype": "float32",
    });
    let refused = |what: &str| {
        let reason = format!("`{class}` of the transformers library has none");
        Err(Error::unsupported(format!("export of {what} of `{}` to safetensors", spec.architecture), reason))
    };
    if spec.sliding_window.is_some() {
        return refused("a sliding window");
    }
    let attention = [Role::QueryBias, Role::KeyBias, Role::ValueBias, Role::AttentionOutputBias].map(has);
    let feed_forward = [Role::GateBias, Role::UpBias, Role::DownBias].map(has);
    let all_or_none = |biases: &[bool]| biases.iter().all(|is_there| *is_there == biases[0]);
    let (is_llama, is_qwen2) = (spec.architecture == "llama", spec.architecture == "qwen2");
    match (&attention[..], &feed_forward[..]) {
        (_, [true, ..] | [_, true, _] | [.., true]) if !is_llama || !all_or_none(&feed_forward) => {
            return refused("a bias of the feed-forward part");
        }
        ([true, true, true, false], _) if is_qwen2 => {}
        (_, _) if is_qwen2 || !all_or_none(&attention) => return refused("these biases of attention"),
        _ => config["attention_bias"] = attention[0].into(),
    }
    if is_llama {
        config["mlp_bias"] = feed_forward[0].into();
    }
    Ok(config)
}

/// Returns how positions beyond those of the training are reached.
fn scaling(spec: &DecoderSpec, base: f64) -> Result<Value> {
    let Positions::Rotary(rotary) = &spec.positions else { return Ok(Value::Null) };
    let plain = |pair: usize| base.powf(-2.0 * pair as f64 / rotary.dimensions as f64);
    let factors: Vec<f64> = rotary.frequencies.iter().enumerate().map(|(pair, speed)| plain(pair) / speed).collect();
    let first = factors.first().copied().unwrap_or(1.0);
    let is_linear = factors.iter().all(|factor| (factor / first - 1.0).abs() < SAME_SPEED);
    let is_whole = rotary.dimensions == spec.head_width;
    match is_linear && is_whole && rotary.attention_factor == 1.0 {
        true if (first - 1.0).abs() < SAME_SPEED => Ok(Value::Null),
        true => Ok(json!({"rope_type": "linear", "factor": first})),
        false => Err(Error::unsupported(
            format!("export of the rotary positions of this `{}` to safetensors", spec.architecture),
            "a GGUF file holds the speed of each pair, and a configuration the rule that they were made by",
        )),
    }
}

fn tensors(model: &DecoderModel) -> Result<Vec<OutTensor<'_>>> {
    let missing = |role: Role| Error::Internal(format!("the transformers library has no name for {role:?}"));
    let mut tensors = Vec::new();
    let mut add = |layer: Option<usize>, role: Role, source| -> Result<()> {
        let name = llama_tensor_name(role, layer).ok_or_else(|| missing(role))?;
        let order = order(&model.spec, role);
        tensors.push(OutTensor {
            name,
            is_vector: role.is_vector(),
            storage: lossless(source),
            sources: vec![source],
            order,
        });
        Ok(())
    };
    for role in Role::OF_MODEL {
        if let Some(source) = model.tensors.of_model(role) {
            add(None, role, source)?;
        }
    }
    for layer in 0..model.spec.layers {
        for role in Role::OF_LAYER {
            if let Some(source) = model.tensors.of_layer(layer, role) {
                add(Some(layer), role, source)?;
            }
        }
    }
    Ok(tensors)
}

/// Undoes the order in which llama.cpp writes the rows of queries and keys of the family `llama`.
fn order(spec: &DecoderSpec, role: Role) -> Order {
    match (&spec.positions, role) {
        (Positions::Rotary(rotary), Role::Query | Role::QueryBias | Role::Key | Role::KeyBias)
            if rotary.style == RotaryStyle::Interleaved =>
        {
            Order::Heads { from: neighbour_of_half, head_width: spec.head_width, dimensions: rotary.dimensions }
        }
        _ => Order::Same,
    }
}

/// A decoder of the original becomes a folder with a configuration, any other checkpoint one file.
fn of_checkpoint(task: &ExportTask<'_>, mut files: Files<'_>, source: &Source<'_>) -> Result<Exported> {
    let checkpoint = Checkpoint::read(source.path.as_str(), &source.file)?;
    if original::recognises(&checkpoint) {
        let model = original::read_checkpoint(source.path, &source.file, task.metadata)?;
        files.json("config.json", &Value::Object(original::configuration(&model)?))?;
        let is_text = |file: &&LocalFile| TEXT_FILES.contains(&file.path.as_str());
        let beside: Vec<LocalFile> = task.files.0.iter().filter(is_text).cloned().collect();
        files.copies(&beside)?;
        files.in_folder("model.safetensors", |output| write_checkpoint(output, &checkpoint))?;
    } else {
        files.single(|output| write_checkpoint(output, &checkpoint))?;
    }
    Ok(files.finish(Map::new()))
}

fn write_checkpoint(output: &mut Output<'_>, checkpoint: &Checkpoint<'_>) -> Result<()> {
    let place = |(name, view): (&&str, &TensorView<'_>)| NewTensor {
        name: (*name).to_owned(),
        dtype: view.data_type.as_str(),
        shape: view.shape.clone(),
        bytes: view.stored_bytes() as u64,
    };
    let places: Vec<NewTensor> = checkpoint.tensors().iter().map(place).collect();
    write_header(output, &places)?;
    checkpoint.tensors().values().try_for_each(|view| output.write_counted(&view.to_bytes()))
}

/// Writes what stands before the tensors, which follow in this order.
fn write_header(output: &mut Output<'_>, tensors: &[NewTensor]) -> Result<()> {
    let texts = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    output.expect("writing tensors", tensors.iter().map(|tensor| tensor.bytes).sum());
    output.write(&header(tensors, &texts)?)
}
