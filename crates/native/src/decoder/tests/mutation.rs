//! Random damage: whatever the bytes are, the answer is a model whose every row can be read, or an error.

use proptest::prelude::*;
use seedhouse_core::Result;
use seedhouse_testkit::tiny_gguf::GgufBuilder;
use seedhouse_testkit::tiny_safetensors::safetensors;
use serde_json::Value;

use super::tiny::{gguf_of, gpt2_folder, llama_folder, read_folder};
use crate::decoder::{DecoderModel, gguf};
use crate::gguf::Gguf;
use crate::mapped_file::MappedFile;

fn read_every_row(model: &DecoderModel) {
    for source in model.tensors.all() {
        let mut row = vec![0.0; source.inputs()];
        (0..source.outputs()).for_each(|output| source.read_row(output, &mut row));
    }
}

fn read_gguf(bytes: &[u8]) -> Result<()> {
    let file = std::sync::Arc::new(MappedFile::of_bytes(bytes)?);
    read_every_row(&gguf::read(&Gguf::parse("m.gguf", &file)?, &file)?);
    Ok(())
}

fn model(number: usize) -> GgufBuilder {
    gguf_of(["llama", "qwen2", "qwen3", "gpt2"][number])
}

/// A value that a field of a configuration may have.
fn field_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(0_u64), Just(1), Just(u64::MAX), Just(u64::from(u32::MAX)), any::<u64>()]
            .prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(serde_json::json!(["x"])),
        Just(serde_json::json!({"rope_type": "yarn", "factor": 1e300})),
        Just(serde_json::json!({"rope_type": "llama3", "factor": 0, "low_freq_factor": 1, "high_freq_factor": 1,
            "original_max_position_embeddings": -1})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn damaged_headers_of_gguf_never_panic(
        number in 0..4_usize,
        changes in prop::collection::vec((0..3000_usize, prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(1)]), 1..5),
    ) {
        let mut bytes = model(number).build();
        for (position, byte) in changes {
            bytes[position] = byte;
        }
        let _ = read_gguf(&bytes);
    }

    #[test]
    fn huge_numbers_in_gguf_never_panic(number in 0..4_usize, position in 0..3000_usize, huge in any::<u64>()) {
        let mut bytes = model(number).build();
        for huge in [huge, u64::MAX, 1 << 40, u64::from(u32::MAX)] {
            bytes[position..position + 8].copy_from_slice(&huge.to_le_bytes());
            let _ = read_gguf(&bytes);
        }
    }

    #[test]
    fn damaged_folders_never_panic(
        is_gpt2 in any::<bool>(),
        fields in prop::collection::vec((any::<prop::sample::Index>(), field_value()), 0..3),
        changes in prop::collection::vec((0..2500_usize, any::<u8>()), 0..4),
    ) {
        let folder = if is_gpt2 { gpt2_folder("") } else { llama_folder("MistralForCausalLM") };
        let mut config = folder.config.clone();
        let names: Vec<String> = config.keys().cloned().chain(["rope_scaling".to_owned()]).collect();
        for (index, value) in fields {
            config.insert(index.get(&names).clone(), value);
        }
        let mut bytes = safetensors(&folder.entries());
        for (position, byte) in changes {
            bytes[position] = byte;
        }
        if let Ok(model) = read_folder(&config, &[&bytes]) {
            read_every_row(&model);
        }
    }
}

#[test]
fn undamaged_files_are_read() {
    for number in 0..4 {
        let bytes = model(number).build();
        assert!(bytes.len() > 3008, "positions of the damage lie in the file");
        read_gguf(&bytes).unwrap();
    }
}

/// `cargo test -p seedhouse-native --features fuzzing seeds_of_the_fuzzer -- --ignored` fills the corpora of `fuzz/`.
#[cfg(feature = "fuzzing")]
#[test]
#[ignore = "writes files for the fuzzer"]
fn seeds_of_the_fuzzer_are_written() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(corpus.join(target)).unwrap();
        std::fs::write(corpus.join(target).join(name), bytes).unwrap();
    };
    write("gguf", "types", &seedhouse_testkit::tiny_gguf::tiny_llama_gguf(1));
    for number in 0..4 {
        write("gguf", &number.to_string(), &model(number).build());
    }
    let mut tied = llama_folder("LlamaForCausalLM");
    tied.tensors.retain(|(name, _)| name != "lm_head.weight");
    let folders = [tied, llama_folder("Qwen3ForCausalLM"), gpt2_folder("")];
    for (number, (folder, configuration)) in folders.iter().zip(crate::fuzzing::CONFIGURATIONS).enumerate() {
        let bytes = safetensors(&folder.entries());
        let Ok(Value::Object(configuration)) = serde_json::from_str(configuration) else { panic!("no object") };
        read_folder(&configuration, &[&bytes]).expect("the fuzzer begins with a model");
        write("safetensors", &number.to_string(), &bytes);
    }
}
