//! What the shapes of a U-Net do not say. It stands in the `__metadata__` of a safetensors file, or in the record.

use seedhouse_core::runtime::Prediction;
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use crate::layers::Tensors;
use crate::quote::quote;

/// As many groups as norms of U-Nets mostly have.
const DEFAULT_GROUPS: usize = 8;

/// The numbers of a head, where nobody says how many heads there are.
const HEAD_WIDTH: usize = 64;

/// The largest side of images.
const MOST_PIXELS: usize = 4096;

const MOST_TIMESTEPS: usize = 100_000;

/// Settings that are whole numbers, and the greatest of each.
const NUMBERS: [(&str, usize); 4] =
    [("image_size", MOST_PIXELS), ("num_timesteps", MOST_TIMESTEPS), ("num_heads", 4096), ("num_groups", 4096)];

/// Settings that are words, and the words that are known.
const SCHEDULE: &str = "noise_schedule";
const PREDICTION: &str = "prediction_type";
const COSINE: &str = "cosine";

/// What shapes do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) image_size: usize,
    pub(super) num_timesteps: usize,
    num_heads: Option<usize>,
    pub(super) num_groups: usize,
    pub(super) prediction: Prediction,
}

impl Settings {
    /// Reads the notes of a file, and the record for what is not among them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is missing or breaks a rule, [`Error::Malformed`] when a note does.
    pub(super) fn read(tensors: &Tensors<'_>, metadata: &Map<String, Value>) -> Result<Settings> {
        let mut all = metadata.clone();
        all.extend(noted(tensors)?);
        let required = |name: &str| {
            let missing =
                || Error::invalid(format!("metadata.{name}"), "missing", "is required: the tensors do not say it");
            number(&all, name)?.ok_or_else(missing)
        };
        Ok(Settings {
            image_size: required("image_size")?,
            num_timesteps: required("num_timesteps")?,
            num_heads: number(&all, "num_heads")?,
            num_groups: number(&all, "num_groups")?.unwrap_or(DEFAULT_GROUPS),
            prediction: prediction(&all)?,
        })
    }

    /// Returns how many heads attention over so many channels has.
    pub(super) fn heads(&self, channels: usize) -> usize {
        self.num_heads.unwrap_or_else(|| (channels / HEAD_WIDTH).max(1))
    }
}

/// Returns the settings that whoever wrote a file noted in it, in the record's names.
///
/// # Errors
/// [`Error::Malformed`] for a note that breaks a rule.
pub(super) fn noted(tensors: &Tensors<'_>) -> Result<Map<String, Value>> {
    let mut found = Map::new();
    let malformed = |name: &str, text: &str, rule: &str| {
        let reason = format!("its `__metadata__` says that `{name}` is {}, which {rule}", quote(text));
        Error::malformed(tensors.subject(), reason)
    };
    for (name, most) in NUMBERS {
        let Some(text) = tensors.note(name) else { continue };
        match text.parse::<usize>() {
            Ok(value) if (1..=most).contains(&value) => found.insert(name.to_owned(), value.into()),
            _ => return Err(malformed(name, text, &format!("must be a whole number from 1 to {most}"))),
        };
    }
    for name in [SCHEDULE, PREDICTION] {
        found.extend(tensors.note(name).map(|text| (name.to_owned(), text.into())));
    }
    // Words are held against what is known here as well.
    prediction(&found).map_err(|error| Error::malformed(tensors.subject(), error.to_string()))?;
    Ok(found)
}

fn number(settings: &Map<String, Value>, name: &str) -> Result<Option<usize>> {
    let most = NUMBERS.iter().find(|(known, _)| *known == name).map_or(0, |(_, most)| *most);
    match settings.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            // 1e3 and 1000.0 are whole numbers as well.
            let whole = value.as_f64().filter(|number| number.fract() == 0.0 && (1.0..=most as f64).contains(number));
            let rule = format!("must be a whole number from 1 to {most}");
            whole
                .map(|number| Some(number as usize))
                .ok_or_else(|| Error::invalid(format!("metadata.{name}"), value, rule))
        }
    }
}

/// Returns what is predicted, having checked that the schedule is the one that is known.
fn prediction(settings: &Map<String, Value>) -> Result<Prediction> {
    match settings.get(SCHEDULE) {
        None | Some(Value::Null) => {}
        Some(value) if value == COSINE => {}
        Some(value) => {
            return Err(Error::invalid(format!("metadata.{SCHEDULE}"), value, format!("must be `{COSINE}`")));
        }
    }
    match settings.get(PREDICTION) {
        None | Some(Value::Null) => Ok(Prediction::Noise),
        Some(value) => {
            let known = Prediction::ALL.into_iter().find(|known| value == known.as_str());
            let names = Prediction::ALL.map(|known| format!("`{}`", known.as_str())).join(", ");
            known.ok_or_else(|| {
                Error::invalid(format!("metadata.{PREDICTION}"), value, format!("must be one of {names}"))
            })
        }
    }
}
