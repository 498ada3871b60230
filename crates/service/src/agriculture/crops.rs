//! What is known of crops.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use seedhouse_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Lowest and highest value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range(pub f64, pub f64);

impl Range {
    /// Returns whether a value lies within.
    pub fn has(self, value: f64) -> bool {
        (self.0..=self.1).contains(&value)
    }
}

/// The crops, and what objectives are worth to the light recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CropBook {
    /// Where the figures come from.
    pub basis: String,
    /// In what the fields are measured.
    pub units: Map<String, Value>,
    /// By objective: what a photon of each band is worth, and what a watt costs.
    pub objectives: BTreeMap<String, BTreeMap<String, f64>>,
    /// By name.
    pub crops: BTreeMap<String, Crop>,
}

/// A crop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    /// Its name for people.
    pub name: String,
    /// What a square metre gives in one cultivation.
    pub yield_kg_per_m2: f64,
    /// From sowing to harvest.
    pub stages: Vec<Stage>,
}

/// A part of the growth of a crop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// How long it lasts.
    pub days: u32,
    /// In degrees Celsius.
    pub temperature: Range,
    /// In per cent.
    pub humidity: Range,
    /// Of each day.
    pub light_hours: f64,
    /// Photons from 400 to 700 nm, in mol per square metre and day.
    pub light_integral: Range,
    /// Photons of white light for each of 660 nm.
    pub white_to_red: Range,
    /// Share of far red in all photons.
    pub far_red_share: Range,
    /// Share of ultraviolet in all photons.
    pub uv_share: Range,
}

impl CropBook {
    /// Returns the data of this program.
    pub fn embedded() -> &'static CropBook {
        static BOOK: OnceLock<CropBook> = OnceLock::new();
        BOOK.get_or_init(|| {
            serde_json::from_str(include_str!("crops.json")).expect("a test reads the crops of this program")
        })
    }

    /// Returns a crop with the name that it has here.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming those that there are.
    pub fn crop(&self, crop_type: &str) -> Result<(&str, &Crop)> {
        let found = self.crops.get_key_value(crop_type.trim().to_lowercase().as_str());
        found.map(|(name, crop)| (name.as_str(), crop)).ok_or_else(|| {
            let names: Vec<&str> = self.crops.keys().map(String::as_str).collect();
            Error::invalid("crop_type", crop_type.escape_debug(), format!("must be one of {}", names.join(", ")))
        })
    }

    /// Returns what an objective is worth to the light recipe, with the name that it has here.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming those that there are.
    pub(super) fn objective(&self, name: &str) -> Result<(&str, &BTreeMap<String, f64>)> {
        let found = self.objectives.get_key_value(name.trim().to_lowercase().as_str());
        found.map(|(name, values)| (name.as_str(), values)).ok_or_else(|| {
            let names: Vec<&str> = self.objectives.keys().map(String::as_str).collect();
            Error::invalid("target_objective", name.escape_debug(), format!("must be one of {}", names.join(", ")))
        })
    }
}

impl Crop {
    /// Returns how long it takes from sowing to harvest.
    pub fn days(&self) -> u32 {
        self.stages.iter().map(|stage| stage.days).sum()
    }

    /// Returns the place of the stage on a day from 1, and which day of the stage it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a day that the crop does not have.
    pub fn stage_on(&self, crop_type: &str, day: u32) -> Result<(usize, u32)> {
        let mut left = day;
        for (place, stage) in self.stages.iter().enumerate() {
            if (1..=stage.days).contains(&left) {
                return Ok((place, left));
            }
            left = left.saturating_sub(stage.days);
        }
        let rule = format!("`{crop_type}` is grown from day 1 to day {}", self.days());
        Err(Error::invalid("current_day", day, rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirteen_crops_have_stages_whose_ranges_do_not_cross() {
        let book = CropBook::embedded();
        assert_eq!(book.crops.len(), 13);
        assert!(book.basis.contains("Nobody measured them"), "{}", book.basis);
        for (name, crop) in &book.crops {
            assert!(crop.yield_kg_per_m2 > 0.0 && crop.stages.len() > 1, "{name}");
            for stage in &crop.stages {
                let Stage { temperature, humidity, light_integral, white_to_red, far_red_share, uv_share, .. } = stage;
                for range in [temperature, humidity, light_integral, white_to_red, far_red_share, uv_share] {
                    assert!(range.0 <= range.1, "{name} {}: {range:?}", stage.name);
                }
                assert!(stage.days > 0 && (1.0..=24.0).contains(&stage.light_hours), "{name} {}", stage.name);
            }
        }
    }

    #[test]
    fn every_day_of_a_crop_has_a_stage_and_no_other_day() {
        let (name, crop) = CropBook::embedded().crop(" Lettuce").unwrap();
        let places: Vec<usize> = (1..=crop.days()).map(|day| crop.stage_on(name, day).unwrap().0).collect();
        assert!(places.is_sorted() && places.last() == Some(&(crop.stages.len() - 1)));
        assert_eq!(crop.stage_on(name, crop.stages[0].days + 1).unwrap(), (1, 1));
        for day in [0, crop.days() + 1] {
            let error = crop.stage_on(name, day).unwrap_err().to_string();
            assert!(error.contains(&day.to_string()) && error.contains(&crop.days().to_string()), "{error}");
        }
    }
}
