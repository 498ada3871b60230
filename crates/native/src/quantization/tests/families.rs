//! Every family at every precision: near what f32 gives, and what the runtime's own option gives.

use seedhouse_core::Framework;
use seedhouse_kernels::{GroupScales, PackedMatrix, WeightFormat};
use seedhouse_testkit::tiny_torch::tiny_efficientnet_checkpoint;

use super::*;
use crate::decoder::{self, Role};

const FAMILIES: [&str; 21] = [
    "decoders/gpt2",
    "decoders/llama",
    "decoders/mistral-window",
    "decoders/original",
    "decoders/qwen2",
    "decoders/qwen3",
    "diffusion/classes",
    "diffusion/grey",
    "diffusion/transposed",
    "embedding/bert-cls",
    "embedding/bert-max",
    "embedding/bert-mean",
    "tabular/crop-classifier",
    "tabular/yield-regressor",
    "vision/cnn",
    "vision/hf-resnet-basic",
    "vision/hf-resnet-bottleneck",
    "vision/hf-vit",
    "vision/resnet-basic",
    "vision/resnet-bottleneck",
    "vision/vit",
];

fn families() -> (TempDir, Vec<Case>) {
    let mut cases: Vec<Case> = FAMILIES.into_iter().map(case).collect();
    let folder = tempfile::tempdir().unwrap();
    let files = written(folder.path(), &[("tiny.pth", &tiny_efficientnet_checkpoint(7, 5))]);
    cases.push(Case { name: "efficientnet".into(), files, metadata: Map::new() });
    (folder, cases)
}

/// Shares of the greatest number that weights alone may change random little networks by: 11 and 8 bits of a mantissa, 15, 7 and 3 bits
/// of integers, through all layers. In decoders keys and values are rounded to 11 bits after that, which doubles the least of these; the
/// worst of them are found with random weights.
fn allowed(name: &str, precision: QuantizationType) -> f32 {
    if name.starts_with("decoders") {
        return match precision {
            QuantizationType::Float16 => 5e-3,
            QuantizationType::Int16 => 1e-3,
            QuantizationType::Bfloat16 => 0.02,
            QuantizationType::Int8 | QuantizationType::Int8Groups => 0.08,
            QuantizationType::Int4 => 0.8,
        };
    }
    match precision {
        QuantizationType::Float16 => 1e-3,
        QuantizationType::Int16 => 1e-3,
        QuantizationType::Bfloat16 => 0.01,
        QuantizationType::Int8 | QuantizationType::Int8Groups => 0.03,
        QuantizationType::Int4 => 0.4,
    }
}

#[test]
fn every_family_stays_near_what_it_was_at_every_precision() {
    let (_folder, cases) = families();
    let exact = runtime(WeightPrecision::F32, ActivationPrecision::F32);
    let as_stored = runtime(WeightPrecision::AsStored, ActivationPrecision::F32);
    let mut failures = Vec::new();
    for case in &cases {
        let expected = outputs(&load(&exact, &case.files, &case.metadata).unwrap());
        for precision in QuantizationType::ALL {
            let made = match quantize_with(case, precision, &Unwatched) {
                Ok(made) => made,
                // Files of BF16 have nothing to gain.
                Err(Error::Unsupported { .. }) if precision == QuantizationType::Bfloat16 => continue,
                Err(error) => panic!("{} {precision}: {error}", case.name),
            };
            let model = load(&as_stored, &made.files, &case.metadata);
            let model = model.unwrap_or_else(|error| panic!("{} {precision}: {error}", case.name));
            let difference = difference(&outputs(&model), &expected);
            println!("{} {precision}: {difference}", case.name);
            // Tables run with rounded activations when they are quantised, whatever is asked for.
            let allowed = allowed(&case.name, precision) + if case.name.starts_with("tabular") { 0.02 } else { 0.0 };
            if difference.is_nan() || difference > allowed {
                failures.push(format!("{} {precision}: {difference}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn quantised_file_is_what_the_option_of_the_runtime_makes() {
    let (_folder, cases) = families();
    let options = [
        (QuantizationType::Bfloat16, WeightPrecision::Bf16),
        (QuantizationType::Int8, WeightPrecision::Int8),
        (QuantizationType::Int8Groups, WeightPrecision::Int8Groups),
        (QuantizationType::Int4, WeightPrecision::Int4),
    ];
    let mut failures = Vec::new();
    // Networks for tables have no options, and a decoder's embedding is rounded in a file only.
    for case in cases.iter().filter(|case| !case.name.starts_with("tabular") && !case.name.starts_with("decoders")) {
        for (precision, weights) in options {
            let Ok(made) = quantize_with(case, precision, &Unwatched) else { continue };
            let expected =
                outputs(&load(&runtime(weights, ActivationPrecision::Fast), &case.files, &case.metadata).unwrap());
            let as_stored = runtime(WeightPrecision::AsStored, ActivationPrecision::Fast);
            let found = outputs(&load(&as_stored, &made.files, &case.metadata).unwrap());
            let difference = difference(&found, &expected);
            println!("{} {precision}: {difference}", case.name);
            // Doubled pixels: a scale for all places of a window instead of one for each phase, or sums of rounded numbers.
            let allowed = if case.name.starts_with("diffusion") { 0.05 } else { 2e-5 };
            if difference.is_nan() || difference > allowed {
                failures.push(format!("{} {precision}: {difference}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn matrices_of_decoders_are_those_that_the_option_of_the_runtime_packs() {
    let precisions = [
        (QuantizationType::Int16, WeightFormat::Int16),
        (QuantizationType::Int8, WeightFormat::Int8),
        (QuantizationType::Int8Groups, WeightFormat::Int8Groups(GroupScales::Scale)),
        (QuantizationType::Int4, WeightFormat::Int4Groups(GroupScales::Scale)),
    ];
    for name in FAMILIES.into_iter().filter(|name| name.starts_with("decoders")) {
        let case = case(name);
        let exact = decoder::huggingface::read(&case.files).unwrap();
        for (precision, format) in precisions {
            let made = quantize(&case, precision);
            let model = decoder::huggingface::read(&made.files).unwrap();
            let (spec, mut count) = (&model.spec, 0);
            for ((role, exact), (_, quantized)) in exact.tensors.by_role().zip(model.tensors.by_role()) {
                let is_rounded = role.is_matrix(spec) && role != Role::PositionEmbedding;
                assert_eq!(quantized.is_quantized(), is_rounded, "{name} {role:?}");
                let (outputs, inputs) = (exact.outputs(), exact.inputs());
                assert_eq!((quantized.outputs(), quantized.inputs()), (outputs, inputs));
                let kept = if is_rounded { format } else { WeightFormat::F32 };
                let packed = PackedMatrix::pack_f32(kept, outputs, inputs, &mut |row, to| exact.read_row(row, to));
                let (mut found, mut expected) = (vec![0.0; inputs], vec![0.0; inputs]);
                for row in 0..outputs {
                    packed.read_row(row, &mut expected);
                    quantized.read_row(row, &mut found);
                    assert_eq!(found, expected, "{name} {precision} {role:?}, row {row}");
                }
                count += usize::from(is_rounded);
            }
            assert!(count > 8, "{name}: {count}");
        }
    }
}

#[test]
fn inspection_counts_weights_and_says_how_they_are_kept() {
    let (_folder, cases) = families();
    for case in &cases {
        let before = inspect(&case.files).unwrap();
        for (precision, name) in [
            (QuantizationType::Int8, "I8"),
            (QuantizationType::Int16, "I16"),
            (QuantizationType::Int4, "I4"),
            (QuantizationType::Float16, "F16"),
        ] {
            let made = quantize(case, precision);
            let after = inspect(&made.files).unwrap();
            assert_eq!(after.not_servable_because, None, "{} {precision}", case.name);
            assert_eq!(after.quantization, Some(precision), "{}", case.name);
            // A network of convolutions alone has no groups, so its 4 bits are 8.
            let name = if case.name == "diffusion/transposed" && name == "I4" { "I8" } else { name };
            let count = after.tensor_types.get(name).copied().unwrap_or(0);
            assert!(count > 0, "{} {:?}", case.name, after.tensor_types);
            assert_eq!(after.hyper_parameters, before.hyper_parameters, "{}", case.name);
            assert_eq!((&after.model_type, &after.architecture), (&before.model_type, &before.architecture));
            assert_eq!(after.tensor_count, made.quantized_tensors + made.kept_tensors, "{}", case.name);
            assert_eq!(after.to_field(None)["quantization"], json!(precision.as_str()));
            if after.framework != Framework::Pytorch && case.name.starts_with("decoders") {
                assert_eq!(after.parameter_count, before.parameter_count, "{}", case.name);
            }
        }
    }
}

#[test]
fn model_takes_about_the_memory_of_its_file() {
    // Whole panels of 32 outputs, so that nothing but scales is added.
    let inputs = 512;
    let tensors = [
        SafetensorsEntry::new("layers.0.weight", "F32", &[256, inputs], &wave(256 * inputs as usize)),
        SafetensorsEntry::new("layers.0.bias", "F32", &[256], &wave(256)),
        SafetensorsEntry::new("layers.1.weight", "F32", &[2, 256], &wave(512)),
        SafetensorsEntry::new("layers.1.bias", "F32", &[2], &wave(2)),
    ];
    let feature = |number: u64| json!({"name": format!("x{number}"), "kind": "numeric", "mean": 0.0, "scale": 1.0});
    let declaration = json!({"format_version": 1, "task": "classification", "classes": ["a", "b"],
        "features": (0..inputs).map(feature).collect::<Vec<_>>(),
        "layers": [{"activation": "relu"}, {"activation": "none"}]});
    let folder = tempfile::tempdir().unwrap();
    let bytes = seedhouse_testkit::tiny_tabular::tabular_file(&declaration, &tensors);
    let files = written(folder.path(), &[("model.safetensors", &bytes)]);
    let case = Case { name: "wide".into(), files, metadata: Map::new() };
    for (precision, bytes_per_weight) in [
        (QuantizationType::Int16, 2.0),
        (QuantizationType::Int8, 1.0),
        (QuantizationType::Int8Groups, 1.0 + 2.0 / 32.0),
        (QuantizationType::Int4, 0.5 + 2.0 / 32.0),
        (QuantizationType::Float16, 2.0),
    ] {
        let made = quantize(&case, precision);
        let model = load(&NativeRuntime::new(), &made.files, &Map::new()).unwrap();
        let weights = 256.0 * inputs as f64 * bytes_per_weight;
        // The second layer's two outputs fill a panel of 32.
        let second = 32.0 * 256.0 * bytes_per_weight;
        let memory = model.memory_bytes() as f64;
        assert!(memory < weights + second + 6000.0, "{precision}: {memory} for {weights} bytes of weights");
    }
}
