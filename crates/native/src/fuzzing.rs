//! What the targets in `fuzz/` call: bytes of strangers become a model whose every row can be read, or an error.

use std::sync::Arc;

use seedhouse_core::Result;
use serde_json::Value;

use crate::decoder::{self, DecoderModel, GroupRow, TensorSource};
use crate::gguf::Gguf;
use crate::huggingface::safetensors;
use crate::mapped_file::MappedFile;
use crate::vocabulary::Vocabulary;

/// Configurations of one shape: what a file of safetensors makes depends on what it is held against.
pub(crate) const CONFIGURATIONS: [&str; 3] = [
    r#"{"architectures":["LlamaForCausalLM"],"hidden_size":8,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":6,
        "intermediate_size":10,"num_hidden_layers":2,"max_position_embeddings":16,"vocab_size":12,"rms_norm_eps":1e-6,
        "tie_word_embeddings":true}"#,
    r#"{"architectures":["Qwen3ForCausalLM"],"hidden_size":8,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":6,
        "intermediate_size":10,"num_hidden_layers":2,"max_position_embeddings":16,"vocab_size":12,"rms_norm_eps":1e-6}"#,
    r#"{"architectures":["GPT2LMHeadModel"],"n_embd":8,"n_head":2,"n_layer":2,"n_inner":10,"n_positions":16,
        "vocab_size":12}"#,
];

/// Reads a GGUF file: its vocabulary, and every row of the decoder that it is.
pub fn read_gguf(bytes: &[u8]) {
    let read = || -> Result<DecoderModel> {
        let file = Arc::new(MappedFile::of_bytes(bytes)?);
        let gguf = Gguf::parse("m.gguf", &file)?;
        if let Ok(vocabulary) = Vocabulary::read(&gguf) {
            vocabulary.to_tokenizer();
        }
        decoder::gguf::read(&gguf, &file)
    };
    if let Ok(model) = read() {
        read_rows(&model);
    }
}

/// Reads a safetensors file: its header, and every row of the decoders that it is with some configurations.
pub fn read_safetensors(bytes: &[u8]) {
    if safetensors::read("m.safetensors", bytes).is_err() {
        return;
    }
    for configuration in CONFIGURATIONS {
        let read = || -> Result<DecoderModel> {
            let Ok(Value::Object(configuration)) = serde_json::from_str(configuration) else {
                unreachable!("the configurations above are objects")
            };
            let file = Arc::new(MappedFile::of_bytes(bytes)?);
            decoder::huggingface::assemble(&configuration, &[("m.safetensors".to_owned(), file)])
        };
        if let Ok(model) = read() {
            read_rows(&model);
        }
    }
}

fn read_rows(model: &DecoderModel) {
    for source in model.tensors.all() {
        let mut row = vec![0.0; source.inputs()];
        for output in 0..source.outputs() {
            source.read_row(output, &mut row);
            read_groups(source, output);
        }
    }
}

fn read_groups(source: &TensorSource, output: usize) {
    let Some(layout) = source.groups() else { return };
    let groups = source.inputs().div_ceil(layout.size);
    let blocks = layout.super_block.map_or(0, |size| source.inputs() / size);
    let into = GroupRow {
        quants: &mut vec![0; source.inputs()],
        scales: &mut vec![0.0; groups],
        offsets: &mut vec![0.0; groups],
        scale_factors: &mut vec![0.0; blocks],
        offset_factors: &mut vec![0.0; blocks],
    };
    source.read_groups(output, into);
}
