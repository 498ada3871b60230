//! Files that break a rule: each is refused with a message that names what is wrong.

use seedhouse_core::Code;
use seedhouse_testkit::tiny_gguf::{GgufBuilder, tiny_llama, tiny_llama_gguf};

use super::{inspect, load, refusal};
use crate::gguf::Gguf;

type Breakage = fn(&mut GgufBuilder);

#[test]
fn file_truncated_at_any_byte_is_refused() {
    let bytes = tiny_llama_gguf(1);
    assert!(Gguf::parse("m.gguf", &bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(Gguf::parse("m.gguf", &bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn truncated_data_is_refused_with_the_tensor_and_both_lengths() {
    let bytes = tiny_llama_gguf(1);
    let error = inspect(&bytes[..bytes.len() - 1]).unwrap_err().to_string();
    assert!(error.starts_with("m.gguf is malformed: tensor `output_norm.weight` has 256 bytes at offset "), "{error}");
    assert!(error.ends_with(&format!("but the file has {} bytes", bytes.len() - 1)), "{error}");
}

#[test]
fn broken_containers_are_refused() {
    let cases: [(Breakage, &str); 17] = [
        (|b| b.claimed_tensors = Some(u64::MAX), "the number of tensors is 18446744073709551615"),
        (|b| b.claimed_tensors = Some(21), "dimensions, but 1 to 4 are possible"),
        (|b| b.claimed_keys = Some(u64::MAX), "the number of metadata keys is 18446744073709551615"),
        (|b| b.claimed_keys = Some(23), "the name of tensor 0"),
        (|b| b.tensor_mut("blk.0.attn_q.weight").claimed_offset = Some(1 << 40), "at offset 1099511627776"),
        (|b| b.tensor_mut("blk.0.attn_q.weight").claimed_offset = Some(u64::MAX - 31), "18446744073709551584"),
        (|b| b.tensor_mut("blk.0.attn_q.weight").claimed_offset = Some(7), "not a multiple of the alignment 32"),
        (|b| b.tensor_mut("blk.0.attn_q.weight").claimed_offset = Some(0), "overlap"),
        (|b| b.tensor_mut("blk.0.attn_q.weight").shape = vec![64, 0], "[64, 0], but no dimension may be 0"),
        (|b| b.tensor_mut("blk.0.attn_q.weight").shape = vec![], "0 dimensions"),
        (|b| b.tensor_mut("blk.0.attn_q.weight").shape = vec![32; 5], "5 dimensions"),
        (|b| b.tensor_mut("blk.0.attn_q.weight").shape = vec![1 << 32, 1 << 32], "overflows 64 bits"),
        (
            |b| b.tensor_mut("blk.0.attn_q.weight").shape = vec![48, 64],
            "rows of 48 numbers, but Q4_1 stores blocks of 32",
        ),
        (
            |b| b.tensor_mut("blk.0.attn_q.weight").name = "blk.0.attn_k.weight".into(),
            "`blk.0.attn_k.weight` occurs twice",
        ),
        (|b| b.metadata.push(b.metadata[0].clone()), "metadata `general.architecture` occurs twice"),
        (
            |b| {
                b.number("general.alignment", 24);
            },
            "`general.alignment` is 24, but must be a power of two",
        ),
        (
            |b| {
                b.set("general.name", 77, vec![]);
            },
            "has type 77",
        ),
    ];
    for (breakage, expected) in cases {
        let mut builder = tiny_llama(1);
        breakage(&mut builder);
        let error = refusal(&builder);
        assert!(error.starts_with("m.gguf is malformed: ") && error.contains(expected), "{expected:?}: {error}");
    }
}

#[test]
fn contradictions_between_metadata_and_tensors_are_refused_with_both_values() {
    let cases: [(Breakage, &str); 20] = [
        (
            |b| {
                b.number("llama.block_count", 3);
            },
            "tensor `blk.2.attn_norm.weight` of shape [64] is missing",
        ),
        (
            |b| {
                b.number("llama.block_count", u32::MAX);
            },
            "tensor `blk.2.attn_norm.weight`",
        ),
        (
            |b| {
                b.number("llama.block_count", 0);
            },
            "`llama.block_count` is 0",
        ),
        (
            |b| {
                b.number("llama.feed_forward_length", 128);
            },
            "has the shape [64, 96], but the metadata asks for [64, 128]",
        ),
        (
            |b| {
                b.number("llama.embedding_length", 128);
            },
            "has the shape [64, 267], but the metadata asks for [128, 267]",
        ),
        (
            |b| {
                b.number("llama.attention.head_count", 0);
            },
            "`llama.attention.head_count` is 0",
        ),
        (
            |b| {
                b.number("llama.attention.head_count", 6);
            },
            "is 64, but must be a multiple of `llama.attention.head_count`, which is 6",
        ),
        (
            |b| {
                b.number("llama.attention.head_count_kv", 3);
            },
            "is 4, but must be a multiple of `llama.attention.head_count_kv`, which is 3",
        ),
        (
            |b| {
                b.number("llama.rope.dimension_count", 18);
            },
            "is 18, but must be even and at most the width of a head, which is 16",
        ),
        (
            |b| {
                b.number("llama.context_length", u32::MAX);
            },
            "is 4294967295, but must be at most 16777216",
        ),
        (
            |b| {
                b.float("llama.rope.freq_base", f32::NAN);
            },
            "`llama.rope.freq_base` is NaN",
        ),
        (
            |b| {
                b.text("llama.block_count", "two");
            },
            "`llama.block_count` is the text \"two\", but must be a whole number",
        ),
        (
            |b| {
                b.remove("llama.attention.layer_norm_rms_epsilon");
            },
            "`llama.attention.layer_norm_rms_epsilon` is missing",
        ),
        (
            |b| {
                b.number("llama.vocab_size", 300);
            },
            "`llama.vocab_size` is 300, but the vocabulary has 267 tokens",
        ),
        (
            |b| {
                b.number("tokenizer.ggml.eos_token_id", 267);
            },
            "`tokenizer.ggml.eos_token_id` is 267, but the vocabulary has 267 tokens",
        ),
        (
            |b| {
                b.text("general.architecture", &"a".repeat(65));
            },
            "`general.architecture` is a text of 65 bytes, but must have at most 64 bytes",
        ),
        (
            |b| {
                b.text("tokenizer.ggml.model", "llama");
            },
            "`tokenizer.ggml.scores` is missing",
        ),
        (
            |b| {
                b.text("tokenizer.ggml.model", "llama").floats("tokenizer.ggml.scores", &[0.0; 3]);
            },
            "`tokenizer.ggml.scores` is 3 long, but `tokenizer.ggml.tokens` is 267 long",
        ),
        (
            |b| {
                b.text("tokenizer.ggml.model", "llama").numbers("tokenizer.ggml.scores", &[0; 267]);
            },
            "`tokenizer.ggml.scores` is an array of something else",
        ),
        (
            |b| {
                b.text("tokenizer.chat_template", &"a".repeat((1 << 20) + 1));
            },
            "`tokenizer.chat_template` is a text of 1048577 bytes",
        ),
    ];
    for (breakage, expected) in cases {
        let mut builder = tiny_llama(1);
        breakage(&mut builder);
        let error = refusal(&builder);
        assert!(error.starts_with("m.gguf is malformed: ") && error.contains(expected), "{expected:?}: {error}");
    }
}

#[test]
fn impossible_rotary_factors_are_refused_with_the_pair_and_the_value() {
    for factor in [0.0, -0.0, -2.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut builder = tiny_llama(1);
        let mut factors = [1.0_f32; 8];
        factors[5] = factor;
        builder.tensor("rope_freqs.weight", &[8], 0, factors.iter().flat_map(|value| value.to_le_bytes()).collect());
        let expected =
            format!("tensor `rope_freqs.weight`: the factor of pair 5 is {factor}, but must be finite and above 0");
        assert_eq!(refusal(&builder), format!("m.gguf is malformed: {expected}"));
    }
    let mut builder = tiny_llama(1);
    builder.tensor("rope_freqs.weight", &[7], 0, vec![0; 7 * 4]);
    let error = refusal(&builder);
    assert!(error.contains("`rope_freqs.weight` has the shape [7], but the metadata asks for [8]"), "{error}");
}

#[test]
fn vocabulary_of_another_length_than_the_embedding_is_refused_with_both() {
    let mut builder = tiny_llama(1);
    builder
        .texts("tokenizer.ggml.tokens", &["a", "b", "c"])
        .remove("tokenizer.ggml.token_type")
        .remove("llama.vocab_size");
    let error = refusal(&builder);
    assert!(error.ends_with("the vocabulary has 3 tokens, but `token_embd.weight` has the shape [64, 267]"), "{error}");
}

#[test]
fn what_is_correct_but_not_computed_is_described_and_refused_at_load() {
    let cases: [(Breakage, &str); 10] = [
        (
            |b| {
                b.float("llama.logit_scale", 0.5);
            },
            "metadata `llama.logit_scale` with 0.5",
        ),
        (
            |b| {
                b.remove("tokenizer.ggml.pre");
            },
            "pre-tokenizer `default`",
        ),
        (
            |b| {
                b.text("general.architecture", "mamba");
            },
            "architecture `mamba`",
        ),
        (
            |b| {
                b.text("general.type", "adapter");
            },
            "GGUF of type `adapter`",
        ),
        (
            |b| {
                b.text("llama.rope.scaling.type", "longrope");
            },
            "`llama.rope.scaling.type` with the text \"longrope\"",
        ),
        (
            |b| {
                b.number("llama.expert_count", 8);
            },
            "`llama.expert_count` with 8",
        ),
        (
            |b| {
                b.number("llama.attention.value_length", 32);
            },
            "`llama.attention.value_length` with 32",
        ),
        (
            |b| {
                b.text("tokenizer.ggml.model", "rwkv");
            },
            "tokenizer `rwkv`",
        ),
        (
            |b| {
                let tensor = b.tensor_mut("output_norm.weight");
                (tensor.type_id, tensor.data) = (28, vec![0; 64 * 8]);
            },
            "type F64 of tensor `output_norm.weight`",
        ),
        (|b| b.tensors.clear(), "a GGUF without tensors"),
    ];
    for (change, expected) in cases {
        let mut builder = tiny_llama(1);
        change(&mut builder);
        let bytes = builder.build();
        let reason = inspect(&bytes).unwrap().unwrap().not_servable_because.expect("a reason");
        assert!(reason.contains(expected), "{expected:?}: {reason}");
        let error = load(&bytes).err().expect("refused");
        assert_eq!((error.code(), error.to_string()), (Code::Unsupported, reason));
    }
}

#[test]
fn other_versions_byte_orders_and_tensor_types_are_named() {
    let cases: [(Breakage, &str); 4] = [
        (|b| b.version = 1, "GGUF version 1"),
        (|b| b.version = 4, "GGUF version 4"),
        (|b| b.version = 3u32.swap_bytes(), "big-endian GGUF version 3"),
        (|b| b.tensor_mut("blk.1.ffn_up.weight").type_id = 4, "type 4 of tensor `blk.1.ffn_up.weight`"),
    ];
    for (change, expected) in cases {
        let mut builder = tiny_llama(1);
        change(&mut builder);
        let bytes = builder.build();
        let reason = inspect(&bytes).unwrap().unwrap().not_servable_because.expect("a reason");
        assert!(reason.starts_with(expected) && reason.contains("is not supported"), "{reason}");
        assert_eq!(load(&bytes).err().expect("refused").to_string(), reason);
    }
}

#[test]
fn file_of_another_format_is_not_ours() {
    for bytes in [&b""[..], b"GGU", b"PK\x03\x04", b"\x89PNG"] {
        assert!(inspect(bytes).unwrap().is_none());
        assert_eq!(load(bytes).err().expect("refused").code(), Code::Unsupported);
    }
}

#[test]
fn version_two_is_read() {
    let mut builder = tiny_llama(1);
    builder.version = 2;
    assert!(load(&builder.build()).is_ok());
}

#[test]
fn long_tensor_name_is_shortened_in_messages() {
    let mut builder = tiny_llama(1);
    builder.tensor(&"n".repeat(100_000), &[1], 0, vec![0; 4]);
    let reason = inspect(&builder.build()).unwrap().unwrap().not_servable_because.expect("a reason");
    assert!(reason.contains("(100000 bytes)") && reason.len() < 400, "{reason}");
}
