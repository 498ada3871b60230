//! Trials: another version that gets a share of the requests of an alias, before it takes the alias over or does not.
//!
//! They stand in the record of the version that the alias points at, so that they are read with it and end when the alias moves:
//! `trials: {"champion": {"canary": {"model_id", "weight"}, "shadow": {"model_id", "share"}}}`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Alias, Error, ModelId, ModelName, Record, Result};

const FIELD: &str = "trials";

/// How another version is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrialKind {
    /// It answers its share of the requests.
    Canary,
    /// It computes copies of its share of the requests, and nobody sees what it answers.
    Shadow,
}

impl TrialKind {
    /// Both.
    pub const ALL: [TrialKind; 2] = [TrialKind::Canary, TrialKind::Shadow];

    /// Returns what an event of this name is about, if it is about a trial.
    pub fn of_event(action: &str) -> Option<TrialKind> {
        match action {
            "set_canary" | "end_canary" => Some(TrialKind::Canary),
            "set_shadow" | "end_shadow" => Some(TrialKind::Shadow),
            _ => None,
        }
    }

    /// Returns its name in records and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            TrialKind::Canary => "canary",
            TrialKind::Shadow => "shadow",
        }
    }

    /// Returns the name of the share on the wire.
    pub fn share_field(self) -> &'static str {
        match self {
            TrialKind::Canary => "weight",
            TrialKind::Shadow => "share",
        }
    }
}

impl fmt::Display for TrialKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A share of requests: 0 is none, 1 all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

impl Share {
    /// Returns it as a number from 0 to 1.
    pub fn as_f64(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Share {
    type Error = Error;

    fn try_from(share: f64) -> Result<Share> {
        match (0.0..=1.0).contains(&share) {
            // Without the sign of -0.
            true => Ok(Share(share.abs())),
            false => Err(Error::invalid("share", share, "must be from 0 to 1, or a percentage like `5%`")),
        }
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> f64 {
        share.0
    }
}

impl FromStr for Share {
    type Err = Error;

    /// Reads `0.05` and `5%`.
    fn from_str(text: &str) -> Result<Share> {
        let number = match text.strip_suffix('%') {
            Some(percent) => percent.trim_end().parse().map(|percent: f64| percent / 100.0),
            None => text.parse(),
        };
        let refused = || Error::invalid("share", text, "must be from 0 to 1, or a percentage like `5%`");
        number.map_err(|_| refused())?.try_into().map_err(|_| refused())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} %", self.0 * 100.0)
    }
}

/// Another version, and its share of the requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The version.
    pub model_id: ModelId,
    /// Its share.
    pub share: Share,
}

impl Trial {
    /// Returns it as it is written into records and the history.
    pub fn to_json(&self, kind: TrialKind) -> Value {
        let mut fields = Map::new();
        fields.insert("model_id".into(), json!(self.model_id));
        fields.insert(kind.share_field().into(), json!(self.share));
        Value::Object(fields)
    }

    /// Reads what [`to_json`](Trial::to_json) wrote.
    pub fn of_json(kind: TrialKind, value: &Value) -> Option<Trial> {
        let model_id = value.get("model_id")?.as_str()?.parse().ok()?;
        let share = Share::try_from(value.get(kind.share_field())?.as_f64()?).ok()?;
        Some(Trial { model_id, share })
    }
}

/// Begins a trial of an alias, changes it or ends it.
#[derive(Debug, Clone)]
pub struct TrialSetting {
    /// The model.
    pub base: ModelName,
    /// Its alias, which points at a version.
    pub alias: Alias,
    /// How the other version is tried.
    pub kind: TrialKind,
    /// The other version of the same model; none ends the trial.
    pub trial: Option<Trial>,
}

impl TrialSetting {
    /// Returns the name of this change in the history.
    pub fn event(&self) -> &'static str {
        match (self.kind, &self.trial) {
            (TrialKind::Canary, Some(_)) => "set_canary",
            (TrialKind::Canary, None) => "end_canary",
            (TrialKind::Shadow, Some(_)) => "set_shadow",
            (TrialKind::Shadow, None) => "end_shadow",
        }
    }
}

impl Record {
    /// Returns the trial of an alias that points at this version.
    pub fn trial(&self, alias: &Alias, kind: TrialKind) -> Option<Trial> {
        let of_alias = self.fields.get(FIELD)?.get(alias.as_str())?;
        Trial::of_json(kind, of_alias.get(kind.as_str())?)
    }

    /// Writes the trial of an alias that points at this version; none removes it.
    pub fn set_trial(&mut self, alias: &Alias, kind: TrialKind, trial: Option<&Trial>) {
        let mut trials = self.fields.shift_remove(FIELD).and_then(into_object).unwrap_or_default();
        let mut of_alias = trials.shift_remove(alias.as_str()).and_then(into_object).unwrap_or_default();
        match trial {
            Some(trial) => of_alias.insert(kind.as_str().into(), trial.to_json(kind)),
            None => of_alias.shift_remove(kind.as_str()),
        };
        if !of_alias.is_empty() {
            trials.insert(alias.as_str().into(), of_alias.into());
        }
        if !trials.is_empty() {
            self.fields.insert(FIELD.into(), trials.into());
        }
    }

    /// Makes the trials those of another record, or none.
    pub fn set_trials_of(&mut self, other: Option<&Record>) {
        match other.and_then(|other| other.fields.get(FIELD)) {
            Some(trials) => self.fields.insert(FIELD.into(), trials.clone()),
            None => self.fields.shift_remove(FIELD),
        };
    }
}

fn into_object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_numbers_and_percentages() {
        for (text, share) in [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("5%", 0.05), ("100 %", 1.0), ("-0", 0.0)] {
            assert_eq!(text.parse::<Share>().unwrap().as_f64(), share, "{text}");
        }
        for text in ["", "%", "-0.1", "1.5", "101%", "NaN", "inf", "half"] {
            let error = text.parse::<Share>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("5%"), "{error}");
        }
    }

    #[test]
    fn trials_stand_in_the_record_and_leave_nothing_behind() {
        let mut record: Record = serde_json::from_value(json!({
            "model_id": "a_v1", "name": "a", "type": "vision", "framework": "gguf", "version": "1", "status": "ready",
            "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z",
        }))
        .unwrap();
        let [best, worst] = ["best", "worst"].map(|alias| alias.parse::<Alias>().unwrap());
        let trial = |id: &str, share| Trial { model_id: id.parse().unwrap(), share: Share::try_from(share).unwrap() };
        let (canary, shadow) = (trial("a_v2", 0.1), trial("a_v3", 1.0));
        record.set_trial(&best, TrialKind::Canary, Some(&canary));
        record.set_trial(&best, TrialKind::Shadow, Some(&shadow));
        record.set_trial(&worst, TrialKind::Shadow, Some(&shadow));
        let expected = json!({
            "best": {"canary": {"model_id": "a_v2", "weight": 0.1}, "shadow": {"model_id": "a_v3", "share": 1.0}},
            "worst": {"shadow": {"model_id": "a_v3", "share": 1.0}},
        });
        assert_eq!(record.fields["trials"], expected);
        assert_eq!(record.trial(&best, TrialKind::Canary), Some(canary));
        assert_eq!(record.trial(&worst, TrialKind::Canary), None);
        let mut other = record.clone();
        other.set_trials_of(None);
        assert!(!other.fields.contains_key("trials"));
        other.set_trials_of(Some(&record));
        assert_eq!(other, record);
        for (alias, kind) in [(&best, TrialKind::Canary), (&best, TrialKind::Shadow), (&worst, TrialKind::Shadow)] {
            record.set_trial(alias, kind, None);
        }
        assert!(!record.fields.contains_key("trials"), "{:?}", record.fields);
    }
}
