//! Light recipes: how much light of four bands a crop gets at a stage, for an objective.
//!
//! A recipe is the solution of a problem of optimisation. Its document, `light_recipe.json`, is a part of the program; the stage of
//! the crop and the objective become its parameters. Whoever wants other lamps, prices or rules registers a document of their own
//! with these variables, and names it in the request.

use std::time::Instant;

use seedhouse_core::runtime::{Outcome, SolveLimits};
use seedhouse_core::{Digest, Error, ModelId, Reference, Result};
use seedhouse_engine::{SolveRequest, Solved};
use serde::Serialize;

use super::{CropBook, Range, Stage};
use crate::Service;

/// The document that recipes are solved with where a request names none.
pub(super) const DOCUMENT: &str = include_str!("light_recipe.json");

/// A recipe that somebody wants.
#[derive(Debug, Clone, Default)]
pub struct LightRecipeRequest {
    /// The crop.
    pub crop_type: String,
    /// The day of the cultivation, from 1.
    pub current_day: u32,
    /// What the recipe is to be good for.
    pub target_objective: String,
    /// White light for each unit of red, where it is not the stage's to say.
    pub white_red_ratio: Option<f64>,
    /// Where it grows.
    pub environment: Environment,
    /// A registered problem to be solved instead of the program's own.
    pub model: Option<Reference>,
}

/// Where a crop grows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Environment {
    /// In degrees Celsius.
    pub temperature: Option<f64>,
    /// In per cent.
    pub humidity: Option<f64>,
    /// Photons from 400 to 700 nm that come from outside, in mol per square metre and day.
    pub daylight: Option<f64>,
    /// What the lamps may take, in watts per square metre.
    pub power_limit: Option<f64>,
}

/// A recipe.
#[derive(Debug, Clone)]
pub struct LightRecipe {
    /// The crop.
    pub crop_type: String,
    /// The stage on that day.
    pub stage: Stage,
    /// Which day of the stage it is, from 1.
    pub day_of_stage: u32,
    /// What the recipe is good for.
    pub target_objective: String,
    /// What was solved.
    pub source: RecipeSource,
    /// The solution. Its variables are the bands, in micromoles of photons per square metre and second.
    pub solved: Solved,
    /// What does not fit the stage.
    pub advice: Vec<String>,
    /// Where the figures come from.
    pub basis: String,
}

/// What was solved for a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RecipeSource {
    /// The program's own problem.
    Embedded,
    /// A registered one.
    Version {
        /// Its id.
        model_id: ModelId,
        /// The digest of its files.
        digest: Digest,
    },
}

impl LightRecipe {
    /// Returns how much light of a band there is; nothing where there is no recipe.
    pub fn band(&self, name: &str) -> Option<f64> {
        self.solved.value(name)
    }

    /// Returns white light for each unit of red; nothing where there is no recipe or no red.
    pub fn white_red_ratio(&self) -> Option<f64> {
        let ratio = self.band(BANDS[2])? / self.band(BANDS[3])?;
        ratio.is_finite().then_some(ratio)
    }
}

/// The variables that a recipe is read from.
pub(super) const BANDS: [&str; 4] = ["uv_380nm", "far_red_720nm", "white_light", "red_660nm"];

impl Service {
    /// Returns the document that light recipes are solved with, to be changed and registered.
    pub fn light_recipe_document(&self) -> &'static str {
        DOCUMENT
    }

    /// Makes a light recipe. That no light meets the stage's ranges, for want of power or for too much daylight, is an answer.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a crop, an objective, a day or a number that is not known or not possible; for a registered problem
    /// those of [`solve`](Service::solve), and [`Error::WrongTask`] when it lacks a band.
    pub fn light_recipe(&self, request: &LightRecipeRequest, is_cancelled: &dyn Fn() -> bool) -> Result<LightRecipe> {
        let book = CropBook::embedded();
        let (crop_type, crop) = book.crop(&request.crop_type)?;
        let (target_objective, worth) = book.objective(&request.target_objective)?;
        let (place, day_of_stage) = crop.stage_on(crop_type, request.current_day)?;
        let stage = crop.stages[place].clone();
        check(request)?;
        let mut parameters = stage_parameters(&stage, request.white_red_ratio);
        parameters.extend(worth.iter().map(|(name, value)| (name.clone(), *value)));
        let Environment { daylight, power_limit, .. } = request.environment;
        parameters.extend(daylight.map(|value| ("daylight".to_owned(), value)));
        parameters.extend(power_limit.map(|value| ("power_limit".to_owned(), value)));
        let (source, solved) =
            self.solve_recipe(request.model.as_ref(), &SolveRequest { parameters, timeout: None }, is_cancelled)?;
        Ok(LightRecipe {
            crop_type: crop_type.to_owned(),
            advice: advice(&stage, &request.environment, &solved),
            stage,
            day_of_stage,
            target_objective: target_objective.to_owned(),
            source,
            solved,
            basis: book.basis.clone(),
        })
    }

    fn solve_recipe(
        &self,
        model: Option<&Reference>,
        request: &SolveRequest,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<(RecipeSource, Solved)> {
        let Some(reference) = model else {
            let limits = SolveLimits { deadline: Instant::now() + SolveRequest::DEFAULT_TIMEOUT, is_cancelled };
            let solved = self.engine.solve_document(DOCUMENT.as_bytes(), request, &limits)?;
            return Ok((RecipeSource::Embedded, solved));
        };
        let answer = self.solve(reference, request, is_cancelled)?;
        let has = |band: &str| answer.value.info.variables.iter().any(|variable| variable.name == band);
        if let Some(missing) = BANDS.into_iter().find(|band| !has(band)) {
            let reason = format!("it has no variable `{missing}`");
            return Err(Error::WrongTask { model_id: answer.model_id.to_string(), task: "light recipes", reason });
        }
        Ok((RecipeSource::Version { model_id: answer.model_id, digest: answer.digest }, answer.value))
    }
}

/// Numbers of a request, where the problem would name a parameter that the asker does not know.
fn check(request: &LightRecipeRequest) -> Result<()> {
    let Environment { temperature, humidity, daylight, power_limit } = request.environment;
    let fields = [
        ("white_red_ratio", request.white_red_ratio, Range(0.0, 100.0)),
        ("environment.temperature", temperature, Range(-50.0, 80.0)),
        ("environment.humidity", humidity, Range(0.0, 100.0)),
        ("environment.daylight", daylight, Range(0.0, 100.0)),
        ("environment.power_limit", power_limit, Range(0.0, 100_000.0)),
    ];
    for (field, value, range) in fields {
        if let Some(value) = value.filter(|value| !range.has(*value)) {
            return Err(Error::invalid(field, value, format!("must be from {} to {}", range.0, range.1)));
        }
    }
    Ok(())
}

fn stage_parameters(stage: &Stage, white_red_ratio: Option<f64>) -> Vec<(String, f64)> {
    let ratio = white_red_ratio.map_or(stage.white_to_red, |ratio| Range(ratio, ratio));
    let ranges = [
        ("light_integral", stage.light_integral),
        ("white_to_red", ratio),
        ("far_red_share", stage.far_red_share),
        ("uv_share", stage.uv_share),
    ];
    let mut parameters = vec![("light_hours".to_owned(), stage.light_hours)];
    for (name, Range(lowest, highest)) in ranges {
        parameters.push((format!("{name}_lowest"), lowest));
        parameters.push((format!("{name}_highest"), highest));
    }
    parameters
}

/// Returns what does not fit the stage.
fn advice(stage: &Stage, environment: &Environment, solved: &Solved) -> Vec<String> {
    let fields = [
        ("temperature", environment.temperature, stage.temperature, "degrees Celsius"),
        ("humidity", environment.humidity, stage.humidity, "per cent"),
    ];
    let mut advice = Vec::new();
    for (name, value, range, unit) in fields {
        if let Some(value) = value.filter(|value| !range.has(*value)) {
            let Range(lowest, highest) = range;
            advice.push(format!("{name} is {value}, and this stage wants {lowest} to {highest} {unit}"));
        }
    }
    if solved.solution.outcome == Outcome::Infeasible {
        for (constraint, missing) in solved.conflicts() {
            advice
                .push(format!("no light meets `{}`: {missing:.3} {} are in the way", constraint.name, constraint.unit));
        }
    }
    advice
}
