//! The single-operator cases of the `onnx` package, which `scripts/make_onnx_cases.py` writes into a folder.
//!
//! A case is claimed when inspection finds nothing in it that is not computed, and the library does not name an attribute when it loads it.
//! Of the claimed ones, those that do not pass are listed in `conformance/`, one list for each runtime; a test fails when its list is wrong in
//! either direction.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use seedhouse_core::runtime::{
    LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, Tensor, TensorData, TensorType,
};
use seedhouse_core::{Digest, Error};
use serde_json::{Map, Value};

use crate::OnnxRuntime;
use crate::proto::{Payload, Reader};
use crate::test_library::{runtime_with_library, skip_unless};

const KNOWN: &str = include_str!("conformance/known_failures.txt");
const KNOWN_OF_ONNX_RUNTIME: &str = include_str!("conformance/known_failures_onnxruntime.txt");

#[test]
fn cases_of_the_onnx_package_pass() {
    check_cases(&OnnxRuntime::new(), KNOWN, "rten");
}

#[test]
fn cases_of_the_onnx_package_pass_with_onnx_runtime() {
    let Some(runtime) = runtime_with_library() else { return };
    check_cases(&runtime, KNOWN_OF_ONNX_RUNTIME, "onnxruntime");
}

/// Runs every case on one of the runtimes alone.
fn check_cases(runtime: &OnnxRuntime, known: &str, name: &str) {
    let folder = std::env::var_os("SEEDHOUSE_TEST_ONNX_CASES").filter(|folder| !folder.is_empty());
    let reason = "SEEDHOUSE_TEST_ONNX_CASES does not name the folder that scripts/make_onnx_cases.py writes";
    let Some(folder) = skip_unless(folder, "onnx-cases", reason) else { return };
    let options = LoadOptions { metadata: Map::from_iter([("runtime".to_owned(), name.into())]) };
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(Path::new(&folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort_unstable();
    assert!(!cases.is_empty(), "no cases in `{}`", Path::new(&folder).display());
    let known: BTreeSet<&str> =
        known.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "#").collect();
    let (mut claimed, mut passed, mut unexpected, mut failed) = (0, 0, Vec::new(), BTreeSet::new());
    for case in &cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        match outcome(runtime, &options, case) {
            Outcome::NotClaimed(reason) => println!("not claimed: {name}: {reason}"),
            Outcome::Passed => {
                claimed += 1;
                passed += 1;
            }
            Outcome::Failed(reason) => {
                claimed += 1;
                println!("failed: {name}: {reason}");
                failed.insert(name.to_owned());
                if !known.contains(name) {
                    unexpected.push(name.to_owned());
                }
            }
        }
    }
    println!("{} cases, {claimed} claimed, {passed} passed", cases.len());
    assert!(unexpected.is_empty(), "{unexpected:#?} failed, but are not listed as known");
    let healed: Vec<&&str> = known.iter().filter(|name| !failed.contains(**name)).collect();
    assert!(healed.is_empty(), "{healed:#?} are listed as failures, but pass or are not claimed");
    assert!(passed * 100 >= claimed * 95, "{passed} of {claimed} claimed cases pass");
}

enum Outcome {
    NotClaimed(String),
    Passed,
    Failed(String),
}

fn outcome(runtime: &OnnxRuntime, options: &LoadOptions, case: &Path) -> Outcome {
    let path = "model.onnx".parse().unwrap();
    let files = LocalFiles(vec![LocalFile { path, local: case.join("model.onnx"), digest: Digest::of("case") }]);
    match runtime.inspect(&files) {
        Ok(Some(inspection)) => {
            if let Some(reason) = inspection.not_servable_because {
                return Outcome::NotClaimed(reason);
            }
        }
        Ok(None) => return Outcome::Failed("not recognised".into()),
        Err(error) => return Outcome::Failed(error.to_string()),
    }
    let loaded = match runtime.load(&files, options) {
        Ok(LoadedModel::Tensor(model)) => model,
        Ok(_) => return Outcome::Failed("loaded as something else than a graph".into()),
        // The library names an attribute that it does not compute with, and registration loads once: such a graph is not served.
        Err(error @ Error::Unsupported { .. }) => return Outcome::NotClaimed(error.to_string()),
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let tolerance: Value = serde_json::from_slice(&std::fs::read(case.join("case.json")).unwrap()).unwrap();
    let [relative, absolute] = ["rtol", "atol"].map(|name| tolerance[name].as_f64().unwrap());
    for number in 0.. {
        let data = case.join(format!("data_{number}"));
        if !data.is_dir() {
            break;
        }
        let inputs = tensors(&data, "input", loaded.inputs().len());
        let expected = tensors(&data, "output", loaded.outputs().len());
        let (Some(inputs), Some(expected)) = (inputs, expected) else {
            return Outcome::Failed("its data are no tensors".into());
        };
        let named: Vec<(&str, &Tensor)> = loaded.inputs().iter().map(|spec| spec.name.as_str()).zip(&inputs).collect();
        let outputs = match loaded.run(&named) {
            Ok(outputs) => outputs,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        for (found, expected) in outputs.iter().zip(&expected) {
            if let Err(reason) = compare(found, expected, relative, absolute) {
                return Outcome::Failed(reason);
            }
        }
    }
    Outcome::Passed
}

fn tensors(folder: &Path, kind: &str, count: usize) -> Option<Vec<Tensor>> {
    (0..count).map(|index| tensor(&std::fs::read(folder.join(format!("{kind}_{index}.pb"))).ok()?)).collect()
}

fn tensor(bytes: &[u8]) -> Option<Tensor> {
    let proto = Reader::new().tensor(bytes).ok()?;
    let Payload::Bytes(bytes) = &proto.payload else { return None };
    let data = match proto.element.tensor_type()? {
        TensorType::F32 => {
            TensorData::F32(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        }
        TensorType::F16 => {
            TensorData::F16(bytes.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes)).collect())
        }
        TensorType::I64 => {
            TensorData::I64(bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
        }
        TensorType::I32 => {
            TensorData::I32(bytes.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect())
        }
        TensorType::I8 => TensorData::I8(bytes.iter().map(|byte| byte.cast_signed()).collect()),
        TensorType::U8 => TensorData::U8(bytes.to_vec()),
        TensorType::Bool => TensorData::Bool(bytes.iter().map(|byte| *byte != 0).collect()),
    };
    Some(Tensor { shape: proto.shape, data })
}

fn compare(found: &Tensor, expected: &Tensor, relative: f64, absolute: f64) -> Result<(), String> {
    if found.shape != expected.shape {
        return Err(format!("shape {:?} instead of {:?}", found.shape, expected.shape));
    }
    let (Some(a), Some(b)) = (floats(&found.data), floats(&expected.data)) else {
        return match found.data == expected.data {
            true => Ok(()),
            false => Err(format!("{:?} instead of {:?}", found.data, expected.data)),
        };
    };
    if found.data.tensor_type() != expected.data.tensor_type() {
        return Err("of another type".into());
    }
    let differs = |(a, b): &(&f64, &f64)| {
        let same = a == b || a.is_nan() && b.is_nan();
        let is_close = (*a - *b).abs() <= absolute + relative * b.abs();
        !same && !is_close
    };
    match a.iter().zip(&b).find(differs) {
        None => Ok(()),
        Some((a, b)) => Err(format!("{a} instead of {b}")),
    }
}

fn floats(data: &TensorData) -> Option<Vec<f64>> {
    match data {
        TensorData::F32(values) => Some(values.iter().map(|value| f64::from(*value)).collect()),
        TensorData::F16(values) => Some(values.iter().map(|value| value.to_f64()).collect()),
        _ => None,
    }
}
