//! Well-formed checkpoints of both layouts; what is broken or hostile stands in [`hostile`].

mod hostile;

use std::io::{Cursor, Write};

use seedhouse_core::{ManifestPath, Result};
use seedhouse_testkit::pickle_writer::{PickleWriter, legacy_around};
use seedhouse_testkit::tiny_torch::{legacy_checkpoint, tiny_efficientnet_checkpoint};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::checkpoint::{Checkpoint, DataType};
use super::*;

fn file() -> ManifestPath {
    "model.pth".parse().unwrap()
}

/// Describes a checkpoint that lies alone.
fn described(bytes: &[u8]) -> Inspection {
    inspect(&file(), bytes, &LocalFiles(Vec::new())).unwrap()
}

fn loaded(bytes: &[u8]) -> Result<LoadedModel> {
    let (path, file) = (file(), Arc::new(MappedFile::of_bytes(bytes)?));
    load(&path, &file, &LocalFiles(Vec::new()), &LoadOptions::default(), &TextModels::default())
}

/// Values, where f32 holds them.
type Values = Option<Vec<f32>>;

/// Reads, and copies what was found: name, shape, values.
fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<usize>, Values)>> {
    let checkpoint = Checkpoint::read("model.pth", bytes)?;
    let tensors = checkpoint.tensors().iter();
    Ok(tensors.map(|(name, tensor)| ((*name).to_owned(), tensor.shape.clone(), tensor.to_f32())).collect())
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).expect_err("this file must be refused").to_string()
}

/// Returns an archive of stored entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A state dict as current torch writes it: protocol 2 in an archive, persistent ids of five parts, names in the memo.
fn current_archive() -> Vec<u8> {
    let mut object = vec![0x80, 2];
    object.extend(
        b"}q\x00(X\x06\x00\x00\x00weightq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03",
    );
    object.extend(b"ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x06tq\x07QK\x00");
    object.extend(b"K\x02K\x03\x86q\x08K\x03K\x01\x86q\x09\x89ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cRq\x0d");
    object.extend(b"X\x04\x00\x00\x00biasq\x0eh\x02((h\x03h\x04X\x01\x00\x00\x001q\x0fh\x06K\x02tq\x10QK\x00");
    object.extend(b"K\x02\x85q\x11K\x01\x85q\x12\x89h\x0a)Rq\x13tq\x14Rq\x15u.");
    archive(&[
        ("net/data.pkl", &object),
        ("net/.format_version", b"1"),
        ("net/byteorder", b"little"),
        ("net/data/0", &little_endian(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("net/data/1", &little_endian(&[0.5, -0.5])),
        ("net/version", b"3\n"),
        ("net/.data/serialization_id", b"0123456789"),
    ])
}

#[test]
fn both_layouts_give_names_shapes_and_values() {
    let weight: (&str, &[usize], &[f32]) = ("weight", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let expected = [
        ("bias".to_owned(), vec![2], Some(vec![0.5, -0.5])),
        ("weight".to_owned(), vec![2, 3], Some(weight.2.to_vec())),
    ];
    for bytes in [legacy_checkpoint(&[weight, ("bias", &[2], &[0.5, -0.5])]), current_archive()] {
        assert!(is_checkpoint(&bytes));
        assert_eq!(read(&bytes).unwrap(), expected);
    }
}

#[test]
fn views_into_one_storage_are_gathered_in_row_major_order() {
    let values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let object = PickleWriter::new().raw(b"}(");
    let object = object.text("transposed").tensor("a", 7, 1, &[3, 2], &[1, 3]);
    let object = object.text("scalar").tensor("a", 7, 6, &[], &[]);
    let object = object.text("empty").tensor("a", 7, 7, &[0, 4], &[4, 1]);
    let bytes = legacy_around(&object.raw(b"u").finish(), &[("a", &values)]);
    let expected = [
        ("empty".to_owned(), vec![0, 4], Some(vec![])),
        ("scalar".to_owned(), vec![], Some(vec![6.0])),
        ("transposed".to_owned(), vec![3, 2], Some(vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0])),
    ];
    assert_eq!(read(&bytes).unwrap(), expected);
}

#[test]
fn state_dict_is_found_where_training_scripts_put_it() {
    for key in ["state_dict", "model_state_dict", "model"] {
        let object = PickleWriter::new().raw(b"}(").text("epoch").integer(3).text(key).raw(b"}(");
        let object = object.text("权重").tensor("a", 1, 0, &[1], &[1]).raw(b"uu").finish();
        assert_eq!(read(&legacy_around(&object, &[("a", &[2.5])])).unwrap()[0].0, "权重", "{key}");
    }
}

#[test]
fn ordered_dict_of_python_2_and_parameters_are_read() {
    // Its one argument is a list of lists of two.
    let pair = PickleWriter::new().global("collections", "OrderedDict").raw(b"](](U\x01w");
    let pair = pair.global("torch._utils", "_rebuild_parameter").raw(b"(").tensor("a", 1, 0, &[1], &[1]);
    let object = pair.raw(&[0x88]).global("collections", "OrderedDict").raw(b")RtRee\x85R").finish();
    assert_eq!(read(&legacy_around(&object, &[("a", &[2.5])])).unwrap(), [("w".into(), vec![1], Some(vec![2.5]))]);
}

#[test]
fn every_storage_type_is_counted_and_floats_are_computed_with() {
    let cases: [(&str, DataType, &[u8], Values); 10] = [
        ("FloatStorage", DataType::F32, &1.5_f32.to_le_bytes(), Some(vec![1.5])),
        ("HalfStorage", DataType::F16, &[0x00, 0x3c], Some(vec![1.0])),
        ("BFloat16Storage", DataType::Bf16, &[0xc0, 0x3f], Some(vec![1.5])),
        ("DoubleStorage", DataType::F64, &[0; 8], None),
        ("LongStorage", DataType::I64, &[0; 8], None),
        ("IntStorage", DataType::I32, &[0; 4], None),
        ("ShortStorage", DataType::I16, &[0; 2], None),
        ("CharStorage", DataType::I8, &[0; 1], None),
        ("ByteStorage", DataType::U8, &[0; 1], None),
        ("BoolStorage", DataType::Bool, &[0; 1], None),
    ];
    for (name, data_type, bytes, values) in cases {
        let object = PickleWriter::new().raw(b"}").text("x").global("torch._utils", "_rebuild_tensor_v2").raw(b"(");
        let object = object.storage(name, "0", 1).integer(0).integers(&[1]).integers(&[1]).raw(b"\x89}tRs").finish();
        let bytes = archive(&[("a/data.pkl", &object), ("a/data/0", bytes)]);
        assert_eq!(read(&bytes).unwrap(), [("x".into(), vec![1], values)], "{name}");
        let types = described(&bytes).tensor_types;
        assert_eq!(types, BTreeMap::from([(data_type.as_str().to_owned(), 1)]));
    }
}

#[test]
fn inspection_of_a_known_family_says_what_the_shapes_say() {
    let inspection = described(&tiny_efficientnet_checkpoint(1, 7));
    assert_eq!(inspection.framework, Framework::Pytorch);
    assert_eq!(inspection.model_type, ModelType::Vision);
    assert_eq!(inspection.architecture.as_deref(), Some("efficientnet_lite0"));
    let expected = serde_json::json!({"model_type": "efficientnet_lite0", "image_channels": 3, "num_classes": 7, "base_channels": 4});
    assert_eq!(serde_json::Value::Object(inspection.hyper_parameters), expected);
    assert_eq!(inspection.tensor_count, 247);
    assert_eq!(inspection.not_servable_because, None);
}

#[test]
fn weights_of_a_type_that_is_not_computed_with_are_no_servable_model() {
    let bytes = tiny_efficientnet_checkpoint(1, 7);
    let mut integers = Vec::new();
    let mut rest = bytes.as_slice();
    let from = b"ctorch\nFloatStorage\n";
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        integers.extend(&rest[..at]);
        integers.extend(b"ctorch\nIntStorage\n");
        rest = &rest[at + from.len()..];
    }
    integers.extend(rest);
    let reason = described(&integers).not_servable_because.expect("a reason");
    assert!(reason.contains("it is I32; F32, F16 and BF16 are computed with"), "{reason}");
    assert!(loaded(&integers).is_err());
}

#[test]
fn archive_that_is_not_read_is_described_as_not_servable() {
    let bytes = archive(&[("a/data.pkl", b"\x80\x02}."), ("a/constants.pkl", b"")]);
    let inspection = described(&bytes);
    assert_eq!((inspection.framework, inspection.tensor_count), (Framework::Pytorch, 0));
    assert!(inspection.not_servable_because.unwrap().contains("TorchScript"));
}

#[test]
fn unknown_family_is_described_but_not_loaded() {
    let bytes = legacy_checkpoint(&[("layer.weight", &[2, 2], &[0.0; 4]), ("layer.bias", &[2], &[0.0; 2])]);
    let inspection = described(&bytes);
    assert_eq!((inspection.tensor_count, inspection.parameter_count), (2, 6));
    assert_eq!(inspection.architecture, None);
    assert_eq!(
        inspection.not_servable_because.unwrap(),
        "no known family has these 2 tensor names, the first being `layer.bias`, `layer.weight`"
    );
    let Err(error) = loaded(&bytes) else { panic!("a stranger was loaded") };
    assert!(error.to_string().contains("`layer.bias`"), "{error}");
}

#[test]
fn what_is_no_checkpoint_is_left_to_others() {
    for bytes in
        [&b""[..], b"GGUF\x03\x00\x00\x00", b"\x80", b"\x80\x02\xff", b"PK\x03\x04", &archive(&[("a.txt", b"a")])]
    {
        assert!(!is_checkpoint(bytes), "{bytes:?}");
        assert!(read(bytes).is_err());
    }
}
