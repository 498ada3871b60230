//! What a registered model says about growth. There is no rule of this program behind it: without a model there is no answer.

use seedhouse_core::{Error, ModelType, Reference, Result};
use seedhouse_engine::{NamedInput, NamedRequest, Numbers, Patience, Values};

use super::{CropBook, Spectrum};
use crate::{Answer, Computed, Service};

/// A prediction that somebody wants.
#[derive(Debug, Clone, Default)]
pub struct GrowthRequest {
    /// The crop.
    pub crop_type: String,
    /// The day of the cultivation, from 1.
    pub current_day: u32,
    /// Features of the model by name.
    pub environmental_data: Vec<(String, f64)>,
    /// A spectrum, whose bands become features of the model as well.
    pub spectrum_data: Option<Vec<f64>>,
    /// A registered regression model.
    pub model: Option<Reference>,
}

/// What the model said.
#[derive(Debug, Clone)]
pub struct GrowthPrediction {
    /// The crop.
    pub crop_type: String,
    /// The stage on that day.
    pub stage: String,
    /// The features that the model was given.
    pub features: Vec<(String, f64)>,
    /// Its answer.
    pub answer: Answer<Computed>,
}

impl Service {
    /// Predicts growth with a registered regression model, for as long as the patience lasts.
    ///
    /// # Errors
    /// [`Error::Invalid`] when none is named, and for a crop, day or spectrum that is none; [`Error::WrongTask`] for a model of another
    /// type; those of [`compute`](Service::compute).
    pub fn growth_prediction(&self, request: &GrowthRequest, patience: &Patience) -> Result<GrowthPrediction> {
        let (crop_type, crop) = CropBook::embedded().crop(&request.crop_type)?;
        let (place, _) = crop.stage_on(crop_type, request.current_day)?;
        let mut features = vec![("current_day".to_owned(), f64::from(request.current_day))];
        features.extend(request.environmental_data.iter().cloned());
        if let Some(values) = &request.spectrum_data {
            features.extend(bands(&Spectrum::of(values)?));
        }
        let reference = request.model.as_ref().ok_or_else(|| {
            let rule = "must name a registered regression model that predicts growth: this program has no rule of its own for it";
            Error::invalid("model_id", "missing", rule)
        })?;
        let entry = self.show(reference)?;
        if entry.record.model_type != ModelType::Regression {
            let reason = format!("its type is `{}`, not `regression`", entry.record.model_type);
            return Err(Error::WrongTask {
                model_id: entry.record.model_id.to_string(),
                task: "growth prediction",
                reason,
            });
        }
        let number = |(name, value): &(String, f64)| {
            let number = Numbers { shape: Vec::new(), values: Values::Fractional(vec![*value]) };
            (name.clone(), NamedInput::Numbers(number))
        };
        let request = NamedRequest { inputs: features.iter().map(number).collect(), ..NamedRequest::default() };
        let answer = self.compute(reference, &request, patience)?;
        Ok(GrowthPrediction {
            crop_type: crop_type.to_owned(),
            stage: crop.stages[place].name.clone(),
            features,
            answer,
        })
    }
}

/// The bands of a spectrum, as features.
fn bands(spectrum: &Spectrum) -> Vec<(String, f64)> {
    let Spectrum { uv_380nm, far_red_720nm, white_light, red_660nm, white_red_ratio } = *spectrum;
    let bands = [
        ("uv_380nm", Some(uv_380nm)),
        ("far_red_720nm", Some(far_red_720nm)),
        ("white_light", Some(white_light)),
        ("red_660nm", Some(red_660nm)),
        ("white_red_ratio", white_red_ratio),
    ];
    bands.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
