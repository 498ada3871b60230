//! `preprocessor_config.json`: how pictures become input, in the words of a record's `preprocess`.
//!
//! The library scales values of 0 to 255 by a factor before it subtracts the mean and divides by the deviation; a record's mean and
//! deviation are those of the values themselves.

use seedhouse_core::runtime::LocalFiles;
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value, json};

use crate::huggingface::read_object;
use crate::quote::quote;

const FILE: &str = "preprocessor_config.json";

/// What the classes of the library do beyond what their files say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Processor {
    Vit,
    Bit,
    ConvNext,
}

/// The share of a picture that `ConvNextImageProcessor` keeps by default.
const DEFAULT_CROP_SHARE: f64 = 224.0 / 256.0;

/// From this size on it keeps all of a picture.
const SIZE_WITHOUT_CROP: u64 = 384;

/// Returns `preprocess` as a record would declare it; nothing when the folder has no such file.
///
/// # Errors
/// [`Error::Malformed`] and [`Error::Unsupported`] naming the field.
pub(super) fn declared(files: &LocalFiles) -> Result<Map<String, Value>> {
    let Some(file) = files.0.iter().find(|file| file.path.as_str() == FILE) else { return Ok(Map::new()) };
    let fields = read_object(file)?;
    let processor = processor(&fields)?;
    let mut preprocess = sizes(&fields, processor)?;
    preprocess.insert("filter".into(), filter(&fields, processor)?.into());
    let [mean, std] = normalisation(&fields)?;
    preprocess.insert("mean".into(), json!(mean));
    preprocess.insert("std".into(), json!(std));
    Ok(Map::from_iter([("preprocess".to_owned(), Value::Object(preprocess))]))
}

fn processor(fields: &Map<String, Value>) -> Result<Processor> {
    let named = ["image_processor_type", "feature_extractor_type"].into_iter().find_map(|name| fields.get(name));
    let Some(named) = named else { return Ok(Processor::Vit) };
    match named.as_str().unwrap_or_default() {
        "ViTImageProcessor" | "ViTImageProcessorFast" | "ViTFeatureExtractor" => Ok(Processor::Vit),
        "BitImageProcessor" | "BitImageProcessorFast" => Ok(Processor::Bit),
        "ConvNextImageProcessor" | "ConvNextImageProcessorFast" | "ConvNextFeatureExtractor" => Ok(Processor::ConvNext),
        other => Err(Error::unsupported(
            format!("the image processor {} of `{FILE}`", quote(other)),
            "ViTImageProcessor, BitImageProcessor and ConvNextImageProcessor are known",
        )),
    }
}

/// Returns how a picture is brought to the size of the input.
fn sizes(fields: &Map<String, Value>, processor: Processor) -> Result<Map<String, Value>> {
    if !flag(fields, "do_resize", true)? {
        return Err(Error::unsupported(format!("`do_resize` false of `{FILE}`"), "inputs have one size"));
    }
    let size = fields.get("size").unwrap_or(&Value::Null);
    let shortest_edge = size.get("shortest_edge").map(|edge| whole("size.shortest_edge", edge)).transpose()?;
    let object = |size: [u64; 2], edge: Option<u64>| {
        let mut object = Map::from_iter([("size".to_owned(), json!(size))]);
        object.extend(edge.map(|edge| ("shortest_edge".to_owned(), json!(edge))));
        object
    };
    if processor == Processor::ConvNext {
        let edge = match (shortest_edge, size.as_u64()) {
            (Some(edge), _) | (None, Some(edge)) => edge,
            (None, None) => return Err(broken("size", size, "must have a `shortest_edge`")),
        };
        let share = fields.get("crop_pct").filter(|share| !share.is_null());
        let share = share.map_or(Some(DEFAULT_CROP_SHARE), Value::as_f64).filter(|share| *share > 0.0 && *share <= 1.0);
        let share = share.ok_or_else(|| broken("crop_pct", &fields["crop_pct"], "must be above 0 and at most 1"))?;
        let before = (edge < SIZE_WITHOUT_CROP).then_some((edge as f64 / share) as u64);
        return Ok(object([edge; 2], before));
    }
    let crops = flag(fields, "do_center_crop", processor == Processor::Bit)?;
    let cropped = fields.get("crop_size").filter(|_| crops).map(|value| sides("crop_size", value)).transpose()?;
    match (shortest_edge, cropped) {
        (Some(edge), Some(cropped)) => Ok(object(cropped, Some(edge))),
        (None, None) => Ok(object(sides("size", size)?, None)),
        (Some(_), None) => Err(broken("size", size, "with a shortest edge alone inputs have many sizes")),
        (None, Some(cropped)) => match sides("size", size)? {
            resized if resized == cropped => Ok(object(cropped, None)),
            _ => Err(broken("crop_size", &fields["crop_size"], "must be the size that pictures are brought to")),
        },
    }
}

/// Reads one number for a square, or height and width.
fn sides(name: &str, value: &Value) -> Result<[u64; 2]> {
    match (value, value.get("height"), value.get("width")) {
        (Value::Number(_), ..) => Ok([whole(name, value)?; 2]),
        (_, Some(height), Some(width)) => Ok([whole(name, height)?, whole(name, width)?]),
        _ => Err(broken(name, value, "must be a whole number, or have a height and a width")),
    }
}

fn whole(name: &str, value: &Value) -> Result<u64> {
    value.as_u64().filter(|number| (1..=4096).contains(number)).ok_or_else(|| broken(name, value, "must be 1 to 4096"))
}

/// Pillow's numbers for filters.
fn filter(fields: &Map<String, Value>, processor: Processor) -> Result<&'static str> {
    let default = if processor == Processor::Bit { 3 } else { 2 };
    let value = fields.get("resample").filter(|value| !value.is_null());
    match value.map_or(Some(default), Value::as_u64) {
        Some(0) => Ok("nearest"),
        Some(2) => Ok("bilinear"),
        Some(3) => Ok("bicubic"),
        _ => Err(broken("resample", &fields["resample"], "must be 0 (nearest), 2 (bilinear) or 3 (bicubic)")),
    }
}

/// Returns mean and deviation of values from 0 to 255.
fn normalisation(fields: &Map<String, Value>) -> Result<[[f64; 3]; 2]> {
    let factor = match flag(fields, "do_rescale", true)? {
        false => 1.0,
        true => match fields.get("rescale_factor") {
            None | Some(Value::Null) => 1.0 / 255.0,
            Some(value) => {
                let factor = value.as_f64().filter(|factor| *factor > 0.0);
                factor.ok_or_else(|| broken("rescale_factor", value, "must be above 0"))?
            }
        },
    };
    if !flag(fields, "do_normalize", true)? {
        return Ok([[0.0; 3], [1.0 / factor; 3]]);
    }
    let three = |name: &str| {
        let value = fields.get(name).unwrap_or(&Value::Null);
        let numbers: Option<Vec<f64>> = value.as_array().and_then(|all| all.iter().map(Value::as_f64).collect());
        let numbers = numbers.and_then(|numbers| <[f64; 3]>::try_from(numbers).ok());
        numbers.ok_or_else(|| broken(name, value, "must be three numbers, for red, green and blue"))
    };
    let scaled = |numbers: [f64; 3]| numbers.map(|number| number / factor);
    Ok([scaled(three("image_mean")?), scaled(three("image_std")?)])
}

fn flag(fields: &Map<String, Value>, name: &str, default: bool) -> Result<bool> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_bool().ok_or_else(|| broken(name, value, "must be true or false")),
    }
}

fn broken(name: &str, value: &Value, rule: &str) -> Error {
    let found: String = value.to_string().chars().take(80).collect();
    Error::malformed(format!("file `{FILE}`"), format!("its `{name}` is {found}, but it {rule}"))
}
