//! Folders that contradict themselves, or ask for what is not computed.

use seedhouse_testkit::tiny_safetensors::{SafetensorsEntry, safetensors};
use serde_json::Value;

use super::*;
use crate::huggingface::safetensors as reader;

/// Copies a case, lets `change` change its files, and says why it is not loaded; inspection says the same.
fn refusal(name: &str, change: &dyn Fn(&Path)) -> String {
    let changed = tempfile::tempdir().unwrap();
    for LocalFile { path, local, .. } in files(&folder(name)).0 {
        let target = changed.path().join(path.as_str());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(local, target).unwrap();
    }
    change(changed.path());
    let runtime = runtime(Level::best(), 1, PlanOptions::default());
    match load(&runtime, &files(changed.path())) {
        Ok(_) => panic!("{name} was loaded"),
        Err(error) => error.to_string(),
    }
}

/// Changes the tensors of a folder.
fn change_tensors(folder: &Path, change: &dyn Fn(&mut Vec<SafetensorsEntry>)) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let entry = |entry: reader::TensorEntry| SafetensorsEntry {
        name: entry.name,
        dtype: entry.dtype,
        shape: entry.shape,
        data: bytes[entry.range].to_vec(),
    };
    let mut tensors = reader::read("model.safetensors", &bytes).unwrap().into_iter().map(entry).collect();
    change(&mut tensors);
    fs::write(path, safetensors(&tensors)).unwrap();
}

/// Changes a value in a JSON file of a folder; null takes a field out of an object.
fn change_json(folder: &Path, file: &str, pointer: &str, value: &Value) {
    let path = folder.join(file);
    let mut whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match whole.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.insert(name.to_owned(), value.clone())),
        Value::Array(values) => values[name.parse::<usize>().unwrap()] = value.clone(),
        _ => panic!("{pointer} is in no object and no list"),
    }
    fs::write(path, whole.to_string()).unwrap();
}

#[test]
fn tensors_that_are_missing_superfluous_or_wrong_are_named() {
    let named = |tensors: &mut Vec<SafetensorsEntry>, name: &str| {
        tensors.iter().position(|tensor| tensor.name == name).unwrap()
    };
    type Change<'c> = Box<dyn Fn(&mut Vec<SafetensorsEntry>) + 'c>;
    let remove = |name: &'static str| -> Change<'_> {
        Box::new(move |tensors| {
            let at = named(tensors, name);
            tensors.remove(at);
        })
    };
    let cases: [(Change<'_>, &str); 6] = [
        (
            remove("encoder.layer.1.attention.self.key.bias"),
            "tensor `encoder.layer.1.attention.self.key.bias` of BERT is missing",
        ),
        (remove("embeddings.word_embeddings.weight"), "tensor `embeddings.word_embeddings.weight` of BERT is missing"),
        (
            Box::new(|tensors| {
                let at = named(tensors, "encoder.layer.0.output.dense.weight");
                tensors[at].shape = vec![40, 24];
            }),
            "tensor `encoder.layer.0.output.dense.weight` has the shape [40, 24], but BERT has [24, 40] there",
        ),
        (
            Box::new(|tensors| tensors.push(SafetensorsEntry::new("encoder.layer.0.gate", "F32", &[1], &[0.0]))),
            "1 tensors are not part of BERT, the first being `encoder.layer.0.gate`",
        ),
        (
            Box::new(|tensors| {
                let at = named(tensors, "embeddings.LayerNorm.bias");
                tensors[at].dtype = "I32".into();
            }),
            "it is I32; F32, F16 and BF16 are computed with",
        ),
        (
            Box::new(|tensors| {
                let at = named(tensors, "embeddings.word_embeddings.weight");
                tensors[at].data[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
            }),
            "value 2 of tensor `embeddings.word_embeddings.weight` is NaN, not finite",
        ),
    ];
    for (change, expected) in cases {
        let error = refusal("bert-mean", &|folder| change_tensors(folder, &change));
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
    }
}

#[test]
fn what_is_not_computed_or_contradicts_the_tensors_is_named() {
    let pooling = "1_Pooling/config.json";
    let encoder = "sentence_bert_config.json";
    let library = "config_sentence_transformers.json";
    let cases = [
        ("bert-mean", "config.json", "/hidden_size", json!(48), "`hidden_size` is 48, but the tensors have 24"),
        ("bert-mean", "config.json", "/max_position_embeddings", json!(512), "is 512, but the tensors have 20"),
        (
            "bert-mean",
            "config.json",
            "/num_hidden_layers",
            json!(3),
            "`num_hidden_layers` is 3, but the tensors have 2",
        ),
        ("bert-mean", "config.json", "/num_attention_heads", json!(5), "must divide the width, 24"),
        ("bert-mean", "config.json", "/hidden_act", json!("mish"), "`mish`"),
        ("bert-mean", "config.json", "/position_embedding_type", json!("relative_key"), "relative_key"),
        ("bert-mean", "config.json", "/is_decoder", json!(true), "`is_decoder` true"),
        ("bert-mean", "config.json", "/rotary", json!(1), "field `rotary`"),
        ("bert-mean", "config.json", "/architectures", json!(["RobertaModel"]), "class `RobertaModel`"),
        (
            "bert-mean",
            "modules.json",
            "/2/type",
            json!("sentence_transformers.models.Dense"),
            "sentence_transformers.models.Dense",
        ),
        ("bert-mean", "modules.json", "/2/type", json!("custom.Normalize"), "the module `custom.Normalize`"),
        (
            "bert-mean",
            "modules.json",
            "/2/type",
            json!("sentence_transformers.models.Pooling"),
            "`Transformer, Pooling, Pooling`",
        ),
        ("bert-mean", "modules.json", "/0/path", json!("0_Transformer"), "the folder `0_Transformer`"),
        ("bert-mean", "modules.json", "/0/kwargs", json!(["a"]), "field `kwargs` of `modules.json`"),
        ("bert-mean", "modules.json", "/1/path", json!("3_Pooling"), "without `3_Pooling/config.json`"),
        (
            "bert-mean",
            pooling,
            "/pooling_mode_mean_sqrt_len_tokens",
            json!(true),
            "pooling `mean, mean_sqrt_len_tokens`",
        ),
        ("bert-mean", pooling, "/pooling_mode_lasttoken", json!(true), "pooling `mean, lasttoken`"),
        ("bert-mean", pooling, "/word_embedding_dimension", json!(384), "is `384`, but the tensors have 24"),
        ("bert-mean", pooling, "/pooling_mode_attention", json!(true), "field `pooling_mode_attention`"),
        ("bert-cls", pooling, "/pooling_mode", json!("weightedmean"), "pooling `weightedmean`"),
        ("bert-cls", pooling, "/pooling_mode", json!(["cls", "mean"]), "pooling `cls, mean`"),
        ("bert-cls", pooling, "/include_prompt", json!(false), "field `include_prompt`"),
        ("bert-cls", "2_Normalize/config.json", "/module_input_name", json!("token_embeddings"), "`module_input_name`"),
        ("bert-mean", encoder, "/max_seq_length", json!(21), "is `21`, but the tensors have 20 positions"),
        ("bert-mean", encoder, "/max_seq_length", json!(0), "must be a whole number from 1"),
        ("bert-mean", encoder, "/tokenizer_args", json!({"use_fast": false}), "field `tokenizer_args`"),
        ("bert-cls", encoder, "/transformer_task", json!("fill-mask"), "field `transformer_task`"),
        ("bert-cls", library, "/default_prompt_name", json!("passage"), "`prompts` has no text of this name"),
        ("bert-cls", library, "/truncate_dim", json!(8), "field `truncate_dim`"),
        ("bert-cls", "tokenizer_config.json", "/model_max_length", json!("long"), "must be a number from 1"),
        (
            "bert-mean",
            "tokenizer.json",
            "/model/vocab/the",
            json!(69),
            "token 69 is `the`, but the model has 69 tokens",
        ),
    ];
    for (name, file, pointer, value, expected) in cases {
        let error = refusal(name, &|folder| change_json(folder, file, pointer, &value));
        assert!(error.contains(expected), "{file} {pointer}: {error}\nexpected: {expected}");
    }
}

#[test]
fn files_that_are_missing_are_named_by_inspection_too() {
    for missing in ["tokenizer.json", "modules.json", "1_Pooling/config.json"] {
        let error = refusal("bert-max", &|folder| fs::remove_file(folder.join(missing)).unwrap());
        assert!(error.contains(&format!("without `{missing}`")), "{error}");
        let mut left = files(&folder("bert-max"));
        left.0.retain(|file| file.path.as_str() != missing);
        let inspection = NativeRuntime::new().inspect(&left).unwrap().unwrap();
        assert_eq!(inspection.model_type, ModelType::Embedding);
        assert_eq!(inspection.not_servable_because.as_deref(), Some(error.as_str()));
    }
}
