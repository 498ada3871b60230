//! GGUF files of every family.

use seedhouse_testkit::tiny_gguf::tiny_llama;
use seedhouse_testkit::tiny_safetensors::plain_numbers;

use super::tiny::{
    CONTEXT, FEED_FORWARD, HEAD_WIDTH, HEADS, LAYERS, VOCAB, WIDTH, add, assert_rows, gguf_of, read_gguf,
};
use crate::decoder::{
    DecoderSpec, FeedForward, NormKind, NormPlacement, Positions, Role, Rotary, RotaryStyle, Storage,
};

fn rotary(spec: &DecoderSpec) -> &Rotary {
    let Positions::Rotary(rotary) = &spec.positions else { panic!("positions are learned") };
    rotary
}

#[test]
fn families_differ_as_their_names_say() {
    let cases = [
        ("llama", RotaryStyle::Interleaved, false, false),
        ("qwen2", RotaryStyle::Halves, false, true),
        ("qwen3", RotaryStyle::Halves, true, false),
    ];
    for (architecture, style, head_norms, has_biases) in cases {
        let model = read_gguf(&gguf_of(architecture)).unwrap();
        let spec = &model.spec;
        assert_eq!((spec.width, spec.layers, spec.query_heads, spec.key_value_heads), (WIDTH, LAYERS, HEADS, 1));
        assert_eq!((spec.head_width, spec.feed_forward_width), (HEAD_WIDTH, FEED_FORWARD));
        assert_eq!((spec.vocab_size, spec.context_length), (VOCAB, CONTEXT));
        assert_eq!((spec.norm.kind, spec.norm.placement, spec.norm.epsilon), (NormKind::Rms, NormPlacement::Pre, 1e-5));
        assert_eq!((rotary(spec).style, rotary(spec).dimensions), (style, HEAD_WIDTH), "{architecture}");
        assert_eq!((spec.feed_forward, spec.tied_output), (FeedForward::GatedSilu, true));
        assert_eq!((spec.head_norms, spec.sliding_window), (head_norms, None));
        assert_eq!(spec.attention_scale, (1.0 / (HEAD_WIDTH as f64).sqrt()) as f32);
        let tensors = &model.tensors;
        assert_eq!(tensors.of_layer(1, Role::QueryBias).is_some(), has_biases);
        assert_eq!(tensors.of_layer(1, Role::KeyNorm).is_some(), head_norms);
        assert_rows(tensors, (None, Role::TokenEmbedding), "token_embd.weight", 0);
        for (role, name) in
            [(Role::Query, "attn_q"), (Role::Value, "attn_v"), (Role::Down, "ffn_down"), (Role::Gate, "ffn_gate")]
        {
            assert_rows(tensors, (Some(1), role), &format!("blk.1.{name}.weight"), 0);
        }
        assert_eq!(tensors.output().name(), "token_embd.weight");
        assert!(tensors.of_layer(LAYERS, Role::Query).is_none());
    }
}

#[test]
fn gpt2_has_learned_positions_and_one_tensor_for_queries_keys_and_values() {
    let model = read_gguf(&gguf_of("gpt2")).unwrap();
    let spec = &model.spec;
    assert_eq!((&spec.positions, spec.feed_forward), (&Positions::Learned, FeedForward::GeluTanh));
    assert_eq!((spec.norm.kind, spec.key_value_heads, spec.head_width), (NormKind::Layer, HEADS, WIDTH / HEADS));
    for (role, bias, first) in [
        (Role::Query, Role::QueryBias, 0),
        (Role::Key, Role::KeyBias, WIDTH),
        (Role::Value, Role::ValueBias, 2 * WIDTH),
    ] {
        assert_rows(&model.tensors, (Some(1), role), "blk.1.attn_qkv.weight", first);
        let bias = model.tensors.layer_tensor(1, bias).to_vec();
        assert_eq!(bias, super::tiny::numbers("blk.1.attn_qkv.bias", 3 * WIDTH)[first..first + WIDTH]);
    }
    assert_rows(&model.tensors, (None, Role::PositionEmbedding), "position_embd.weight", 0);
    assert_rows(&model.tensors, (Some(0), Role::UpBias), "blk.0.ffn_up.bias", 0);
}

#[test]
fn model_of_the_other_reader_is_read_with_all_its_types() {
    let model = read_gguf(&tiny_llama(1)).unwrap();
    let types: std::collections::BTreeSet<&str> = model.tensors.all().map(|source| source.storage().name()).collect();
    assert_eq!(types.into_iter().collect::<Vec<_>>(), ["BF16", "F16", "F32", "Q4_0", "Q4_1", "Q8_0"]);
    assert_eq!(model.tensors.all().count(), 20);
    assert_eq!(model.tensors.layer_tensor(0, Role::Gate).storage(), Storage::Q4_0);
}

#[test]
fn rows_of_a_quantised_tensor_for_three_roles_are_those_of_the_tensor() {
    let mut builder = gguf_of("gpt2");
    builder.number("gpt2.embedding_length", 32).number("gpt2.attention.head_count", 1);
    for tensor in &mut builder.tensors {
        tensor
            .shape
            .iter_mut()
            .filter(|size| **size % WIDTH as u64 == 0 && **size != CONTEXT as u64)
            .for_each(|size| *size *= 4);
        let count = tensor.shape.iter().product::<u64>() as usize;
        tensor.data = plain_numbers("F32", &super::tiny::numbers(&tensor.name, count));
    }
    let fused = builder.tensor_mut("blk.0.attn_qkv.weight");
    assert_eq!(fused.shape, [32, 96]);
    // One block of Q8_0 for each row: a scale of 1, and the number of the row.
    fused.type_id = 8;
    fused.data = (0..96_u8).flat_map(|row| [0, 0x3c].into_iter().chain([row; 32])).collect();
    let model = read_gguf(&builder).unwrap();
    let mut row = [0.0; 32];
    for (role, first) in [(Role::Query, 0.0), (Role::Key, 32.0), (Role::Value, 64.0)] {
        model.tensors.layer_tensor(0, role).read_row(31, &mut row);
        assert_eq!(row, [first + 31.0; 32]);
    }
}

#[test]
fn output_of_its_own_is_no_tied_one() {
    let mut builder = gguf_of("llama");
    add(&mut builder, "output.weight", &[VOCAB, WIDTH]);
    let model = read_gguf(&builder).unwrap();
    assert_eq!((model.spec.tied_output, model.tensors.output().name()), (false, "output.weight"));
}

#[test]
fn scalings_of_positions_are_those_of_llama_cpp() {
    let speeds = |change: &dyn Fn(&mut seedhouse_testkit::tiny_gguf::GgufBuilder)| {
        let mut builder = gguf_of("llama");
        change(&mut builder);
        let model = read_gguf(&builder).unwrap();
        let rotary = rotary(&model.spec).clone();
        (rotary.frequencies, rotary.attention_factor)
    };
    let (plain, _) = speeds(&|_| {});
    assert_eq!(plain.len(), HEAD_WIDTH / 2);
    assert!((plain[1] - 10_000_f64.powf(-2.0 / 6.0)).abs() < 1e-12);
    let divided = |by: [f64; 3]| -> Vec<f64> { plain.iter().zip(by).map(|(speed, by)| speed / by).collect() };
    // A factor without a type is linear; a factor of 0 is none; `none` ignores it.
    for (factor, kind, expected) in [
        (4.0, None, divided([4.0; 3])),
        (4.0, Some("linear"), divided([4.0; 3])),
        (0.0, Some("linear"), plain.clone()),
        (4.0, Some("none"), plain.clone()),
    ] {
        let found = speeds(&|builder| {
            builder.float("llama.rope.scaling.factor", factor);
            if let Some(kind) = kind {
                builder.text("llama.rope.scaling.type", kind);
            }
        });
        assert_eq!(found, (expected, 1.0), "{factor} {kind:?}");
    }
    let found = speeds(&|builder| {
        builder.tensor("rope_freqs.weight", &[3], 0, plain_numbers("F32", &[1.0, 2.0, 8.0]));
    });
    assert_eq!(found, (divided([1.0, 2.0, 8.0]), 1.0));
    let (yarn, louder) = speeds(&|builder| {
        builder.text("llama.rope.scaling.type", "yarn").float("llama.rope.scaling.factor", 4.0);
        builder.number("llama.rope.scaling.original_context_length", 1 << 20);
    });
    assert!((louder - (0.1 * 4_f32.ln() + 1.0)).abs() < 1e-6);
    assert_eq!((yarn[0], yarn[1]), (plain[0], plain[1]), "pairs that turn often keep their speed");
}

#[test]
fn partly_rotated_heads_and_windows_are_read() {
    let mut builder = gguf_of("qwen2");
    builder.number("qwen2.rope.dimension_count", 4).number("qwen2.attention.sliding_window", 5);
    builder.float("qwen2.attention.scale", 0.25);
    let spec = read_gguf(&builder).unwrap().spec;
    assert_eq!((rotary(&spec).dimensions, rotary(&spec).frequencies.len()), (4, 2));
    assert_eq!((spec.sliding_window, spec.attention_scale), (Some(5), 0.25));
    for hides_nothing in [0, CONTEXT as u32, 1000] {
        builder.number("qwen2.attention.sliding_window", hides_nothing);
        assert_eq!(read_gguf(&builder).unwrap().spec.sliding_window, None);
    }
}
