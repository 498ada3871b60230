//! `config.json` of a language model to begin with, in the record's words.
//!
//! The list of fields is closed: a variant of a family is a field more, and silence about one would train another network than the one
//! that was begun with. What a missing field means is what it means to the runtime that serves the model
//! (`crates/native/src/decoder/huggingface`).

use std::cell::RefCell;
use std::collections::BTreeSet;

use seedhouse_core::transformers::WITHOUT_EFFECT;
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::same;

/// Hyper-parameters by the names of the record.
type Found = Vec<(&'static str, Value)>;

/// How a class of the transformers library is read.
struct Class {
    /// The name in `architectures`.
    name: &'static str,
    read: fn(&Fields<'_>) -> Result<Found>,
}

const CLASSES: [Class; 3] = [
    Class { name: "LlamaForCausalLM", read: llama },
    Class { name: "GPT2LMHeadModel", read: gpt2 },
    Class { name: "PostNormDecoder", read: post_norm },
];

/// Fields that say nothing while they are false.
const FALSE: [&str; 7] = [
    "add_cross_attention",
    "cross_attention_hidden_size",
    "is_encoder_decoder",
    "rope_interleaved",
    "scale_attn_by_inverse_layer_idx",
    "tie_encoder_decoder",
    "use_mrope",
];

/// Returns the hyper-parameters that a configuration says.
///
/// # Errors
/// [`Error::Malformed`] for a size that is missing or none; [`Error::Unsupported`] for a class, a field or a value of one that is not
/// trained, with what is.
pub(super) fn read(config: &Map<String, Value>) -> Result<Found> {
    let class = class_of(config)?;
    let fields = Fields::of_file(config);
    let found = (class.read)(&fields)?;
    fields.refuse_unknown()?;
    Ok(found)
}

fn class_of(config: &Map<String, Value>) -> Result<&'static Class> {
    let classes = config.get("architectures").unwrap_or(&Value::Null);
    let found = CLASSES.iter().find(|class| *classes == json!([class.name]));
    found.ok_or_else(|| {
        let known = CLASSES.map(|class| class.name).join(", ");
        Error::unsupported(format!("training from a version with the `architectures` {}", shown(classes)), known)
    })
}

fn llama(fields: &Fields<'_>) -> Result<Found> {
    let mut found = fields.sizes(&[
        ("hidden_size", "d_model"),
        ("num_attention_heads", "num_heads"),
        ("num_hidden_layers", "num_layers"),
        ("intermediate_size", "d_ff"),
        ("max_position_embeddings", "max_seq_len"),
        ("vocab_size", "vocab_size"),
    ])?;
    let (width, heads) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
    fields.only("head_dim", &[json!(width / heads)])?;
    fields.only("hidden_act", &[json!("silu"), json!("swish")])?;
    fields.only("attention_bias", &[json!(false)])?;
    fields.only("mlp_bias", &[json!(false)])?;
    fields.only_full_attention()?;
    found.extend([
        ("architecture", json!("llama")),
        ("num_key_value_heads", fields.or("num_key_value_heads", json!(heads))),
        ("rms_norm_eps", fields.or("rms_norm_eps", json!(1e-6))),
        ("tie_word_embeddings", fields.or("tie_word_embeddings", json!(false))),
        ("rope_theta", rotary_base(fields)?),
    ]);
    Ok(found)
}

fn gpt2(fields: &Fields<'_>) -> Result<Found> {
    let mut found = fields.sizes(&[
        ("n_embd", "d_model"),
        ("n_head", "num_heads"),
        ("n_layer", "num_layers"),
        ("n_positions", "max_seq_len"),
        ("vocab_size", "vocab_size"),
    ])?;
    // Old files repeat `n_positions` under a name that the library no longer reads.
    fields.get("n_ctx");
    fields.only("activation_function", &[json!("gelu_new"), json!("gelu_pytorch_tanh")])?;
    fields.only("layer_norm_epsilon", &[json!(1e-5)])?;
    fields.only("scale_attn_weights", &[json!(true)])?;
    found.extend([
        ("architecture", json!("gpt2")),
        ("d_ff", fields.or("n_inner", json!(4 * fields.size("n_embd")?))),
        ("tie_word_embeddings", fields.or("tie_word_embeddings", json!(true))),
    ]);
    Ok(found)
}

fn post_norm(fields: &Fields<'_>) -> Result<Found> {
    let mut found = fields.sizes(&[
        ("d_model", "d_model"),
        ("num_heads", "num_heads"),
        ("num_layers", "num_layers"),
        ("d_ff", "d_ff"),
        ("max_seq_len", "max_seq_len"),
        ("vocab_size", "vocab_size"),
    ])?;
    fields.only("layer_norm_eps", &[json!(1e-5)])?;
    found.extend([
        ("architecture", json!("post_norm_decoder")),
        ("tie_word_embeddings", fields.or("tie_word_embeddings", json!(false))),
    ]);
    Ok(found)
}

/// Returns what the speeds of rotation are powers of. It stands alone in files of the library up to version 4, in an object since version
/// 5. Speeds that are stretched in any way are not computed.
fn rotary_base(fields: &Fields<'_>) -> Result<Value> {
    let objects = [fields.object("rope_parameters")?, fields.object("rope_scaling")?];
    if let [Some(new), Some(old)] = &objects {
        fields.only("rope_scaling", &[Value::Object(new.fields.clone())])?;
        old.get("rope_theta");
    }
    let alone = fields.or("rope_theta", json!(10_000.0));
    let [new, old] = objects;
    let Some(parameters) = new.or(old) else { return Ok(alone) };
    for kind in ["rope_type", "type"] {
        parameters.only(kind, &[json!("default")])?;
    }
    parameters.only("partial_rotary_factor", &[json!(1.0)])?;
    let base = parameters.or("rope_theta", alone);
    parameters.refuse_unknown()?;
    Ok(base)
}

/// An object being read. Every field that is read is noted; what is left must be known to change nothing.
struct Fields<'c> {
    /// What errors call it.
    place: &'static str,
    fields: &'c Map<String, Value>,
    harmless: &'static [&'static str],
    read: RefCell<BTreeSet<&'static str>>,
}

impl<'c> Fields<'c> {
    fn of_file(fields: &'c Map<String, Value>) -> Fields<'c> {
        Fields { place: "config.json", fields, harmless: &WITHOUT_EFFECT, read: RefCell::default() }
    }

    /// Returns a field that is there and not null.
    fn get(&self, name: &'static str) -> Option<&'c Value> {
        self.read.borrow_mut().insert(name);
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn or(&self, name: &'static str, usual: Value) -> Value {
        self.get(name).cloned().unwrap_or(usual)
    }

    fn malformed(&self, reason: String) -> Error {
        Error::malformed(format!("file `{}`", self.place), reason)
    }

    fn object(&self, name: &'static str) -> Result<Option<Fields<'c>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let object = value.as_object();
        let broken = || self.malformed(format!("`{name}` is {}, but must be an object", shown(value)));
        let fields = object.ok_or_else(broken)?;
        Ok(Some(Fields { place: name, fields, harmless: &[], read: RefCell::default() }))
    }

    /// Returns a whole number of at least 1 that must be there.
    fn size(&self, name: &'static str) -> Result<u64> {
        let value = self.get(name).ok_or_else(|| self.malformed(format!("`{name}` is missing")))?;
        let broken = || self.malformed(format!("`{name}` is {}, but must be a whole number above 0", shown(value)));
        value.as_u64().filter(|size| *size > 0).ok_or_else(broken)
    }

    /// Returns sizes that must be there by the record's names.
    fn sizes(&self, names: &[(&'static str, &'static str)]) -> Result<Found> {
        names.iter().map(|(field, name)| Ok((*name, self.size(field)?.into()))).collect()
    }

    /// Refuses a field that is there with another value than those that are trained.
    fn only(&self, name: &'static str, trained: &[Value]) -> Result<()> {
        match self.get(name) {
            Some(value) if !trained.iter().any(|trained| same(trained, value)) => {
                let trained: Vec<String> = trained.iter().map(shown).collect();
                Err(self.unsupported(name, value, format!("{} is trained", trained.join(" or "))))
            }
            _ => Ok(()),
        }
    }

    /// Newer files say for each layer what it sees.
    fn only_full_attention(&self) -> Result<()> {
        let Some(types) = self.get("layer_types") else { return Ok(()) };
        let is_full = |kind: &Value| kind == "full_attention";
        match types.as_array().is_some_and(|types| types.iter().all(is_full)) {
            true => Ok(()),
            false => Err(self.unsupported("layer_types", types, "`full_attention` in all layers is trained".into())),
        }
    }

    /// Refuses fields that nobody read and that may change the arithmetic.
    fn refuse_unknown(&self) -> Result<()> {
        let read = self.read.borrow();
        let is_known = |name: &str, value: &Value| {
            let is_off = *value == Value::Bool(false) && FALSE.contains(&name);
            read.contains(name) || value.is_null() || is_off || self.harmless.contains(&name) || name.starts_with('_')
        };
        match self.fields.iter().find(|(name, value)| !is_known(name, value)) {
            None => Ok(()),
            Some((name, value)) => {
                Err(self.unsupported(name, value, "what it does to the arithmetic is not known".into()))
            }
        }
    }

    fn unsupported(&self, name: &str, value: &Value, reason: String) -> Error {
        let what = format!("training with `{}` of `{}` {}", name.escape_debug(), self.place, shown(value));
        Error::unsupported(what, reason)
    }
}

/// Returns a value in a form that is short enough to print.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
