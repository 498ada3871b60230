//! Folders as they are, and as nobody should write them.

use std::collections::BTreeMap;

use seedhouse_core::{Digest, ModelType};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::huggingface::safetensors::{NewTensor, header};

/// Returns a safetensors file of F32 tensors full of zeros.
fn safetensors(tensors: &[(&str, &[u64])]) -> Vec<u8> {
    let new = |(name, shape): &(&str, &[u64])| NewTensor {
        name: (*name).into(),
        dtype: "F32",
        shape: shape.iter().map(|size| *size as usize).collect(),
        bytes: shape.iter().product::<u64>() * 4,
    };
    let tensors: Vec<NewTensor> = tensors.iter().map(new).collect();
    let data_bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
    let texts = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    [header(&tensors, &texts).unwrap(), vec![0; data_bytes as usize]].concat()
}

#[test]
fn tensors_of_one_name_are_not_written() {
    let new = |name: &str| NewTensor { name: name.into(), dtype: "F32", shape: vec![1], bytes: 4 };
    for name in ["a", "__metadata__"] {
        let error = header(&[new("a"), new(name)], &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}`")), "{error}");
    }
}

fn with_header(header: &str, data_bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data_bytes]].concat()
}

fn folder(files: &[(&str, Vec<u8>)]) -> (TempDir, LocalFiles) {
    let folder = tempfile::tempdir().unwrap();
    let local = |(path, bytes): &(&str, Vec<u8>)| {
        let local = folder.path().join(path);
        std::fs::write(&local, bytes).unwrap();
        LocalFile { path: path.parse().unwrap(), local, digest: Digest::of(bytes) }
    };
    let files = LocalFiles(files.iter().map(local).collect());
    (folder, files)
}

fn config() -> Vec<u8> {
    json!({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 10, "hidden_size": 4,
        "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 8, "max_position_embeddings": 16})
    .to_string()
    .into()
}

const TABLE: (&str, &[u64]) = ("model.embed_tokens.weight", &[12, 4]);

#[test]
fn folder_is_described_from_its_configuration_and_headers() {
    let index =
        json!({"weight_map": {"model.embed_tokens.weight": "a.safetensors", "norm": "b.safetensors"}}).to_string();
    let (_folder, files) = folder(&[
        ("a.safetensors", safetensors(&[TABLE])),
        ("b.safetensors", safetensors(&[("norm", &[4])])),
        ("config.json", config()),
        ("model.safetensors.index.json", index.into()),
    ]);
    let found = inspect(&files).unwrap().unwrap();
    assert_eq!((found.framework, found.model_type), (Framework::Huggingface, ModelType::Transformer));
    assert_eq!(found.architecture.as_deref(), Some("llama"));
    assert_eq!((found.tensor_count, found.parameter_count), (2, 52));
    assert_eq!(found.tensor_types, BTreeMap::from([("F32".to_owned(), 2)]));
    assert_eq!(
        Value::Object(found.hyper_parameters),
        json!({"vocab_size": 10, "max_seq_len": 16, "d_model": 4, "num_heads": 2, "num_layers": 3, "d_ff": 8})
    );
}

#[test]
fn other_folders_are_not_taken_for_one() {
    for files in [
        vec![("config.json", config())],
        vec![("model.safetensors", safetensors(&[TABLE]))],
        vec![("config.json", b"{\"width\": 3}".to_vec()), ("model.safetensors", safetensors(&[TABLE]))],
    ] {
        assert_eq!(inspect(&folder(&files).1).unwrap(), None);
    }
}

#[test]
fn contradictions_and_broken_files_are_refused_with_both_values() {
    let tensor =
        |shape: &str, offsets: &str| format!(r#"{{"t":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    let index = |map: Value| json!({ "weight_map": map }).to_string().into_bytes();
    let good = || safetensors(&[TABLE]);
    type Case = (&'static str, Vec<u8>, Option<Vec<u8>>, &'static str);
    let cases: Vec<Case> = vec![
        ("width", safetensors(&[("wte.weight", &[12, 5])]), None, "d_model is 4, but tensor `wte.weight` has 5"),
        ("rows", safetensors(&[("wte.weight", &[9, 4])]), None, "vocab_size is 10, but tensor `wte.weight` has 9"),
        ("empty", Vec::new(), None, "it has 0 bytes"),
        ("length", u64::MAX.to_le_bytes().to_vec(), None, "18446744073709551615 bytes, and 0 follow"),
        ("no JSON", with_header("{", 0), None, "its header"),
        ("deep", with_header(&"[".repeat(100_000), 0), None, "its header"),
        ("no tensor", with_header(r#"{"t":{"dtype":"F32"}}"#, 0), None, "has no type, shape and place"),
        ("gap", with_header(&tensor("[1]", "[4,8]"), 8), None, "should begin at 0 of 8"),
        (
            "backwards",
            with_header(&tensor("[1]", "[0,18446744073709551615]"), 4),
            None,
            "stands at 0 to 18446744073709551615",
        ),
        ("rest", with_header(&tensor("[1]", "[0,4]"), 5), None, "end at byte 4, but 5 bytes follow"),
        ("size", with_header(&tensor("[2]", "[0,4]"), 4), None, "needs 8 bytes, but has 4"),
        ("overflow", with_header(&tensor("[4294967296,4294967296]", "[0,4]"), 4), None, "overflows"),
        (
            "missing shard",
            good(),
            Some(index(json!({"x": "b.safetensors"}))),
            "`b.safetensors`, which is not among the files",
        ),
        ("missing tensor", good(), Some(index(json!({"x": "model.safetensors"}))), "tensor `x` should stand in"),
        ("no map", good(), Some(b"{}".to_vec()), "no object `weight_map`"),
    ];
    for (name, weights, index, expected) in cases {
        let mut files = vec![("config.json", config()), ("model.safetensors", weights)];
        files.extend(index.map(|index| ("model.safetensors.index.json", index)));
        let error = inspect(&folder(&files).1).expect_err(name);
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
    let broken = folder(&[("config.json", b"{".to_vec()), ("model.safetensors", good())]);
    assert!(inspect(&broken.1).unwrap_err().to_string().contains("`config.json`"));
}

#[test]
fn decoder_is_read_from_the_shards_of_its_index() {
    let config = json!({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 12, "hidden_size": 4,
        "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8, "max_position_embeddings": 16,
        "tie_word_embeddings": true});
    let layer = |part: &str| format!("model.layers.0.{part}.weight");
    let names = ["q_proj", "k_proj", "v_proj", "o_proj"].map(|part| layer(&format!("self_attn.{part}")));
    let mut first: Vec<(&str, &[u64])> = vec![TABLE, ("model.norm.weight", &[4])];
    first.extend(names.iter().map(|name| (name.as_str(), &[4, 4][..])));
    let names =
        ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"].map(layer);
    let shapes: [&[u64]; 5] = [&[8, 4], &[8, 4], &[4, 8], &[4], &[4]];
    let second: Vec<(&str, &[u64])> = names.iter().map(String::as_str).zip(shapes).collect();
    let all = first.iter().map(|(name, _)| (*name, "a.safetensors"));
    let all = all.chain(second.iter().map(|(name, _)| (*name, "b.safetensors")));
    let map: Map<String, Value> = all.map(|(name, file)| (name.to_owned(), file.into())).collect();
    let index = json!({"weight_map": map}).to_string();
    let mut files = vec![
        ("a.safetensors", safetensors(&first)),
        ("b.safetensors", safetensors(&second)),
        // The same weights in another layout, which the index does not name.
        ("consolidated.safetensors", safetensors(&[("tok_embeddings.weight", &[12, 4])])),
        ("config.json", config.to_string().into_bytes()),
        ("model.safetensors.index.json", index.into_bytes()),
    ];
    let model = decoder::huggingface::read(&folder(&files).1).unwrap();
    assert_eq!(model.tensors.layer_tensor(0, decoder::Role::Down).inputs(), 8);
    let reason = |files: &[(&str, Vec<u8>)]| inspect(&folder(files).1).unwrap().unwrap().not_servable_because.unwrap();
    assert!(reason(&files).starts_with("a language model without `tokenizer.json` is not supported"));
    let index = files.pop().unwrap();
    assert!(reason(&files).starts_with("a folder with 3 safetensors files and no index is not supported"));
    files.push(index);
    files.remove(1);
    let error = decoder::huggingface::read(&folder(&files).1).unwrap_err().to_string();
    assert!(error.contains("names the shard `b.safetensors`, which is not among the files"), "{error}");
}

/// A byte-level tokenizer of four tokens.
fn tokenizer() -> Value {
    json!({
        "added_tokens": [
            {"id": 2, "content": "<s>", "special": true}, {"id": 3, "content": "</s>", "special": true},
            {"id": 4, "content": "<tool>", "special": false},
        ],
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "<s>": 2}, "merges": []},
        "decoder": {"type": "ByteLevel"},
        "post_processor": null,
    })
}

fn read_text(files: &[(&str, Value)]) -> Result<text::FolderText> {
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, value)| (*name, value.to_string().into_bytes())).collect();
    text::read(&folder(&files).1, 8)
}

#[test]
fn tokens_and_their_meanings_are_collected_from_the_files_of_a_folder() {
    let template = json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]}}}]});
    let mut with_template = tokenizer();
    with_template["post_processor"] = template;
    let settings = json!({"eos_token": {"content": "</s>"}, "bos_token": "<s>", "chat_template": "{{ x }}"});
    let cases = [
        (vec![("tokenizer.json", tokenizer())], (None, None, vec![], false, None)),
        (vec![("tokenizer.json", with_template.clone())], (Some(2), None, vec![], true, None)),
        (
            vec![("tokenizer.json", with_template), ("tokenizer_config.json", json!({"add_bos_token": false}))],
            (Some(2), None, vec![], false, None),
        ),
        (
            vec![("tokenizer.json", tokenizer()), ("tokenizer_config.json", settings.clone())],
            (Some(2), Some(3), vec![], false, Some("{{ x }}")),
        ),
        (
            vec![
                ("tokenizer.json", tokenizer()),
                ("tokenizer_config.json", settings),
                ("generation_config.json", json!({"eos_token_id": [3, 4]})),
                ("config.json", json!({"eos_token_id": 1})),
            ],
            (Some(2), Some(3), vec![4], false, Some("{{ x }}")),
        ),
        (
            vec![("tokenizer.json", tokenizer()), ("config.json", json!({"eos_token_id": 1, "bos_token_id": 0}))],
            (Some(0), Some(1), vec![], false, None),
        ),
        (
            vec![
                ("tokenizer.json", tokenizer()),
                (
                    "tokenizer_config.json",
                    json!({"chat_template": [{"name": "rag", "template": "r"},
                    {"name": "default", "template": "d"}]}),
                ),
            ],
            (None, None, vec![], false, Some("d")),
        ),
    ];
    for (files, (bos, eos, stop, add_bos, template)) in cases {
        let read = read_text(&files).unwrap();
        let spec = &read.tokenizer;
        assert_eq!((spec.bos, spec.eos, &spec.stop, spec.add_bos), (bos, eos, &stop, add_bos), "{files:?}");
        assert_eq!(read.chat_template.as_deref(), template);
        assert_eq!(spec.model.tokens(), ["a", "b", "<s>", "</s>", "<tool>"]);
        assert_eq!((spec.model.control(), spec.model.added()), (&[2, 3][..], &[4][..]));
    }
}

#[test]
fn template_of_its_own_file_comes_first() {
    let files = folder(&[
        ("tokenizer.json", tokenizer().to_string().into_bytes()),
        ("tokenizer_config.json", json!({"chat_template": "old"}).to_string().into_bytes()),
        ("chat_template.jinja", b"{# \xE9\xBA\xA6 #}".to_vec()),
    ]);
    assert_eq!(text::read(&files.1, 8).unwrap().chat_template.as_deref(), Some("{# 麦 #}"));
}

#[test]
fn tokenizers_that_contradict_themselves_or_are_not_known_are_refused() {
    let with = |pointer: &str, value: Value| {
        let mut json = tokenizer();
        *json.pointer_mut(pointer).unwrap() = value;
        json
    };
    let alone = |json: Value| vec![("tokenizer.json", json)];
    let cases = [
        (vec![], "a language model without `tokenizer.json`"),
        (alone(json!([])), "file `tokenizer.json` is malformed"),
        (alone(with("/added_tokens/0/id", json!(u64::MAX))), "file `tokenizer.json` is malformed"),
        (alone(with("/added_tokens/0/id", json!(8))), "token 8 is `<s>`, but the model has 8 tokens"),
        (alone(with("/added_tokens/0/id", json!(0))), "token 0 is `a` and `<s>`"),
        (alone(with("/decoder", json!({"type": "WordPiece"}))), "a tokenizer with the decoder `WordPiece`"),
        (alone(with("/decoder", Value::Null)), "a tokenizer with the decoder ``"),
        (
            vec![("tokenizer.json", tokenizer()), ("generation_config.json", json!({"eos_token_id": [3, 5]}))],
            "it names the token `5`, but `tokenizer.json` has 5",
        ),
    ];
    for (files, expected) in cases {
        let error = read_text(&files).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected:?}: {error}");
    }
}

#[test]
fn sentence_piece_is_recognised_by_its_decoder() {
    let mut json = tokenizer();
    json["decoder"] = json!({"type": "Sequence", "decoders": [{"type": "Replace"}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip"}]});
    json["model"] = json!({"type": "Unigram", "vocab": [["a", 0.0], ["b", -1.5], ["<s>", 0]]});
    let read = read_text(&[("tokenizer.json", json)]).unwrap();
    assert_eq!(read.tokenizer.model.token_text(), seedhouse_core::runtime::TokenText::SentencePiece);
}
