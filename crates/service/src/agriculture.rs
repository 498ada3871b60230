//! Growing crops: light recipes, spectra, plans and growth.
//!
//! ```text
//! crops          the stages of thirteen crops, as data (`crops.json` says where they come from)
//! light_recipe   a problem of optimisation (`light_recipe.json`), its parameters filled from a crop's stage
//! spectrum       what a measured spectrum has in four bands
//! planning       when the stages of a cultivation begin, and how much area it takes
//! growth         what a registered model says about growth
//! ```
//!
//! The figures are ours to begin with and nobody's measurements: every answer that uses them says so in `basis`.

mod crops;
mod growth;
mod light_recipe;
mod planning;
mod spectrum;

use serde::Serialize;

pub use crops::{Crop, CropBook, Range, Stage};
pub use growth::{GrowthPrediction, GrowthRequest};
pub use light_recipe::{Environment, LightRecipe, LightRecipeRequest, RecipeSource};
pub use planning::{CropPlan, CropPlanRequest, PlannedStage};
pub use spectrum::{SPECTRUM_LENGTH, Spectrum};

use seedhouse_core::Result;

use crate::Service;

/// What the stage of a crop on a day asks for.
#[derive(Debug, Clone, Serialize)]
pub struct Recommendation {
    /// The crop.
    pub crop_type: String,
    /// The day, from 1.
    pub current_day: u32,
    /// The stage on that day, with its ranges.
    pub stage: Stage,
    /// Which day of the stage it is, from 1.
    pub day_of_stage: u32,
    /// How many days of the stage are left, this one included.
    pub days_left: u32,
    /// The stage that follows.
    pub next_stage: Option<String>,
    /// Where the figures come from.
    pub basis: String,
}

impl Service {
    /// Returns what is known of crops.
    pub fn crop_book(&self) -> &'static CropBook {
        CropBook::embedded()
    }

    /// Returns what the stage of a crop on a day asks for.
    ///
    /// # Errors
    /// [`Error::Invalid`](seedhouse_core::Error::Invalid) for a crop that is not known, and a day that it does not have.
    pub fn crop_recommendation(&self, crop_type: &str, current_day: u32) -> Result<Recommendation> {
        let book = CropBook::embedded();
        let (crop_type, crop) = book.crop(crop_type)?;
        let (place, day_of_stage) = crop.stage_on(crop_type, current_day)?;
        let stage = crop.stages[place].clone();
        Ok(Recommendation {
            crop_type: crop_type.to_owned(),
            current_day,
            day_of_stage,
            days_left: stage.days - day_of_stage + 1,
            next_stage: crop.stages.get(place + 1).map(|next| next.name.clone()),
            stage,
            basis: book.basis.clone(),
        })
    }
}
