//! Decoders of the Hugging Face libraries as files of llama.cpp.

use std::iter::once;

use seedhouse_core::runtime::{LocalFiles, TokenizerSpec};
use seedhouse_core::{Error, ExportTask, Exported, Progress, Result};
use serde_json::{Map, Value, json};

use super::files::Files;
use super::tensors::{Order, OutTensor, lossless};
use super::tokenizer::GgufTokenizer;
use super::{SAME_SPEED, refuse_quantised, refused_problem, unknown};
use crate::decoder::gguf::tensor_name;
use crate::decoder::halves::half_of_neighbour;
use crate::decoder::huggingface::{CONFIG, rotary_base};
use crate::decoder::{DecoderModel, DecoderSpec, FeedForward, NormKind, NormPlacement, Positions, Role, Storage};
use crate::gguf::{GgufHeader, TensorType, padding};
use crate::huggingface::text::{self, FolderText};
use crate::huggingface::{self, read_object};
use crate::runtime::{Format, single, sources};

/// Divisors of the speeds of rotation.
const ROTARY_FACTORS: &str = "rope_freqs.weight";

/// The roles whose tensors are one in GPT-2.
const FUSED: [[Role; 3]; 2] =
    [[Role::Query, Role::Key, Role::Value], [Role::QueryBias, Role::KeyBias, Role::ValueBias]];

/// Writes a model as one GGUF file: weights as they are stored, but for vectors, which llama.cpp wants in 32 bits. A version that is a
/// GGUF file already is copied.
///
/// # Errors
/// [`Error::Unsupported`] for a family, a variant or a tokenizer that llama.cpp has no words for, those of loading, [`Error::Cancelled`].
pub fn export_gguf(task: &ExportTask<'_>, progress: &dyn Progress) -> Result<Exported> {
    refuse_quantised(task.files)?;
    let found = sources(task.files)?;
    if found.is_empty() && huggingface::is_folder(task.files) && !huggingface::is_no_decoder(task.files)? {
        let model = crate::decoder::huggingface::read(task.files)?;
        let text = text::read(task.files, model.spec.vocab_size)?;
        return of_folder(task, progress, &model, &text);
    }
    if found.is_empty() {
        return Err(no_decoder(task.files));
    }
    let source = single(&found)?;
    match source.format {
        Format::Gguf => copy(task, progress, source.path.as_str()),
        Format::TorchCheckpoint => Err(no_decoder(task.files)),
        Format::Problem => Err(refused_problem("gguf")),
    }
}

fn no_decoder(files: &LocalFiles) -> Error {
    match unknown(files) {
        Error::Unsupported { what, .. } => Error::unsupported(
            format!("{what} to gguf"),
            "llama.cpp has words for folders of `LlamaForCausalLM`, `MistralForCausalLM`, `Qwen2ForCausalLM`, `Qwen3ForCausalLM` and `GPT2LMHeadModel` here",
        ),
        other => other,
    }
}

fn copy(task: &ExportTask<'_>, progress: &dyn Progress, path: &str) -> Result<Exported> {
    let mut files = Files::new(task, progress);
    let source = task.files.0.iter().find(|file| file.path.as_str() == path);
    let source = source.ok_or_else(|| Error::Internal(format!("`{path}` is a file of the version")))?;
    files.single(|output| output.copy(source))?;
    Ok(files.finish(Map::new()))
}

fn of_folder(
    task: &ExportTask<'_>,
    progress: &dyn Progress,
    model: &DecoderModel,
    text: &FolderText,
) -> Result<Exported> {
    let architecture = architecture(&model.spec)?;
    let config = task.files.0.iter().find(|file| file.path.as_str() == CONFIG);
    let config = read_object(config.ok_or_else(|| Error::Internal(format!("a folder has a `{CONFIG}`")))?)?;
    let mut header = GgufHeader::default();
    header.text("general.architecture", architecture);
    header.text("general.name", task.name);
    header.number("general.file_type", file_type(model));
    sizes(&mut header, architecture, &model.spec)?;
    let factors = positions(&mut header, architecture, &model.spec, &config)?;
    tokenizer(&mut header, text, model.spec.vocab_size)?;
    let tensors = tensors(model, architecture);
    for tensor in &tensors {
        let storage = type_id(tensor.storage)?;
        header.tensor(&tensor.name, &tensor.shape(), storage, tensor.bytes());
    }
    if let Some(factors) = &factors {
        header.tensor(ROTARY_FACTORS, &[factors.len()], type_id(Storage::F32)?, factors.len() as u64 * 4);
    }
    let mut files = Files::new(task, progress);
    files.single(|output| {
        output.expect("writing tensors", tensors.iter().map(OutTensor::bytes).sum());
        output.write(&header.finish())?;
        for tensor in &tensors {
            tensor.write(output)?;
            output.write(&vec![0; padding(tensor.bytes()) as usize])?;
        }
        let factors: Vec<u8> = factors.iter().flatten().flat_map(|factor| factor.to_le_bytes()).collect();
        output.write(&factors)?;
        output.write(&vec![0; padding(factors.len() as u64) as usize])
    })?;
    let compatibility = json!({"gguf_version": 3, "architecture": architecture});
    Ok(files.finish(compatibility.as_object().cloned().unwrap_or_default()))
}

/// Returns llama.cpp's name of a family, having checked that it means nothing else.
fn architecture(spec: &DecoderSpec) -> Result<&'static str> {
    let refuse = |what: &str, reason: &str| {
        Err(Error::unsupported(format!("export of {what} of `{}` to gguf", spec.architecture), reason))
    };
    let known = [
        ("llama", "llama", FeedForward::GatedSilu),
        ("mistral", "llama", FeedForward::GatedSilu),
        ("qwen2", "qwen2", FeedForward::GatedSilu),
        ("qwen3", "qwen3", FeedForward::GatedSilu),
        ("gpt2", "gpt2", FeedForward::GeluTanh),
    ];
    let Some((_, architecture, function)) = known.into_iter().find(|(family, ..)| *family == spec.architecture) else {
        return refuse("a decoder", "llama.cpp has no such family");
    };
    if spec.feed_forward != function {
        return refuse("another activation", "llama.cpp computes the family with one");
    }
    if spec.sliding_window.is_some() {
        return refuse("a sliding window", "llama.cpp lets every token of the family see all before it");
    }
    let scale = (1.0 / (spec.head_width as f64).sqrt()) as f32;
    if spec.attention_scale != scale || spec.embedding_scale.is_some() || spec.norm.placement != NormPlacement::Pre {
        return refuse("a variant", "llama.cpp computes the family otherwise");
    }
    Ok(architecture)
}

/// llama.cpp's number for the type of most weights.
fn file_type(model: &DecoderModel) -> u32 {
    match lossless(model.tensors.layer_tensor(0, Role::Down)) {
        Storage::F16 => 1,
        Storage::BF16 => 32,
        _ => 0,
    }
}

fn type_id(storage: Storage) -> Result<u32> {
    let of_name = (0..64).filter_map(TensorType::of_id).find(|known| known.name == storage.name());
    of_name.map(|known| known.id).ok_or_else(|| Error::Internal(format!("ggml has no type {}", storage.name())))
}

fn sizes(header: &mut GgufHeader, architecture: &str, spec: &DecoderSpec) -> Result<()> {
    let epsilon = match spec.norm.kind {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        NormKind::Layer => "attention.layer_norm_epsilon",
    };
    let mut number = |key: &str, value: usize| size(header, &format!("{architecture}.{key}"), value);
    number("vocab_size", spec.vocab_size)?;
    number("context_length", spec.context_length)?;
    number("embedding_length", spec.width)?;
    number("block_count", spec.layers)?;
    number("feed_forward_length", spec.feed_forward_width)?;
    number("attention.head_count", spec.query_heads)?;
    number("attention.head_count_kv", spec.key_value_heads)?;
    if matches!(spec.positions, Positions::Rotary(_)) {
        number("attention.key_length", spec.head_width)?;
        number("attention.value_length", spec.head_width)?;
    }
    header.float(&format!("{architecture}.{epsilon}"), spec.norm.epsilon);
    Ok(())
}

/// Writes a size, which is a number of 32 bits in the format.
fn size(header: &mut GgufHeader, key: &str, value: usize) -> Result<()> {
    let value = u32::try_from(value).map_err(|_| {
        Error::unsupported(
            format!("export of a model whose `{key}` is {value} to gguf"),
            format!("it is at most {} there", u32::MAX),
        )
    })?;
    header.number(key, value);
    Ok(())
}

/// Writes how heads are rotated. Returns the divisors of speeds that are written as a tensor.
fn positions(
    header: &mut GgufHeader,
    architecture: &str,
    spec: &DecoderSpec,
    config: &Map<String, Value>,
) -> Result<Option<Vec<f32>>> {
    let Positions::Rotary(rotary) = &spec.positions else { return Ok(None) };
    let base = rotary_base(config)?;
    let key = |key: &str| format!("{architecture}.rope.{key}");
    size(header, &key("dimension_count"), rotary.dimensions)?;
    header.float(&key("freq_base"), base as f32);
    let refused = |what: &str| {
        let reason = format!("llama.cpp has no words for it in a model of `{architecture}`");
        Err(Error::unsupported(format!("export of {what} to gguf"), reason))
    };
    if rotary.attention_factor != 1.0 {
        return refused("rotary positions scaled by `yarn`");
    }
    let pairs = (0..).zip(&rotary.frequencies);
    let factors: Vec<f64> =
        pairs.map(|(pair, speed)| base.powf(-2.0 * f64::from(pair) / rotary.dimensions as f64) / speed).collect();
    let first = factors.first().copied().unwrap_or(1.0);
    let is_linear = factors.iter().all(|factor| (factor / first - 1.0).abs() < SAME_SPEED);
    match (is_linear, architecture) {
        (true, _) if (first - 1.0).abs() < SAME_SPEED => Ok(None),
        (true, _) => {
            header.text(&key("scaling.type"), "linear");
            header.float(&key("scaling.factor"), first as f32);
            Ok(None)
        }
        (false, "llama") => Ok(Some(factors.into_iter().map(|factor| factor as f32).collect())),
        (false, _) => refused("rotary positions whose pairs are scaled each by its own factor"),
    }
}

fn tokenizer(header: &mut GgufHeader, text: &FolderText, vocab_size: usize) -> Result<()> {
    let TokenizerSpec { bos, eos, stop, add_bos, .. } = &text.tokenizer;
    let tables = GgufTokenizer::read(&text.tokenizer, vocab_size)?;
    header.text("tokenizer.ggml.model", "gpt2");
    header.text("tokenizer.ggml.pre", tables.pre);
    header.texts("tokenizer.ggml.tokens", tables.tokens.iter().map(String::as_str));
    header.numbers("tokenizer.ggml.token_type", &tables.types);
    header.texts("tokenizer.ggml.merges", tables.merges.iter().map(String::as_str));
    let ids = [("bos_token_id", bos.as_ref()), ("eos_token_id", eos.as_ref()), ("eot_token_id", stop.first())];
    for (key, id) in ids {
        if let Some(id) = id {
            header.number(&format!("tokenizer.ggml.{key}"), *id);
        }
    }
    header.boolean("tokenizer.ggml.add_bos_token", *add_bos);
    if let Some(template) = &text.chat_template {
        header.text("tokenizer.chat_template", template);
    }
    Ok(())
}

/// Returns the tensors in the order of the file.
fn tensors<'m>(model: &'m DecoderModel, architecture: &str) -> Vec<OutTensor<'m>> {
    let is_fused = architecture == "gpt2";
    let once_each = Role::OF_MODEL.into_iter().filter_map(|role| {
        let source = model.tensors.of_model(role)?;
        Some(tensor(tensor_name(role, None, is_fused)?, role, vec![source], Order::Same))
    });
    let of_layer = |layer: usize| {
        let fused = FUSED.into_iter().filter(|_| is_fused).filter_map(move |roles| {
            let sources = roles.into_iter().map(|role| model.tensors.of_layer(layer, role));
            let sources = sources.collect::<Option<Vec<_>>>()?;
            Some(tensor(tensor_name(roles[0], Some(layer), true)?, roles[0], sources, Order::Same))
        });
        let is_alone = move |role: &Role| !(is_fused && FUSED.as_flattened().contains(role));
        let alone = Role::OF_LAYER.into_iter().filter(is_alone).filter_map(move |role| {
            let source = model.tensors.of_layer(layer, role)?;
            let name = tensor_name(role, Some(layer), is_fused)?;
            Some(tensor(name, role, vec![source], order(&model.spec, role)))
        });
        fused.chain(alone)
    };
    once_each.chain((0..model.spec.layers).flat_map(of_layer)).collect()
}

/// The rows of queries and keys of the family `llama` are written so that pairs that turn together are neighbours.
fn order(spec: &DecoderSpec, role: Role) -> Order {
    let is_llama = ["llama", "mistral"].contains(&spec.architecture.as_str());
    match (&spec.positions, role) {
        (Positions::Rotary(rotary), Role::Query | Role::QueryBias | Role::Key | Role::KeyBias) if is_llama => {
            Order::Heads { from: half_of_neighbour, head_width: spec.head_width, dimensions: rotary.dimensions }
        }
        _ => Order::Same,
    }
}

fn tensor<'m>(name: String, role: Role, sources: Vec<&'m crate::decoder::TensorSource>, order: Order) -> OutTensor<'m> {
    let is_vector = role.is_vector();
    // Parts of one tensor are of one type in every file that the library writes; where they are not, 32 bits hold all of them.
    let storages: Vec<Storage> =
        once(Storage::F32).filter(|_| is_vector).chain(sources.iter().map(|source| lossless(source))).collect();
    let first = storages[0];
    let storage = if storages.iter().all(|storage| *storage == first) || is_vector { first } else { Storage::F32 };
    OutTensor { name, is_vector, storage, sources, order }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_beyond_32_bits_is_refused_and_not_cut() {
        let mut header = GgufHeader::default();
        let error = size(&mut header, "llama.context_length", (1 << 32) + 1).unwrap_err().to_string();
        assert!(
            error.contains("`llama.context_length` is 4294967297") && error.contains("at most 4294967295"),
            "{error}"
        );
        assert!(size(&mut header, "llama.context_length", u32::MAX as usize).is_ok());
    }
}
