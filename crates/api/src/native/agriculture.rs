//! `/api/agriculture`: the original's routes on light recipes, spectra, plans and growth. What is answered is the service's.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::{Extension, Json};
use seedhouse_service::agriculture::{
    CropPlanRequest, Environment, GrowthRequest, LightRecipe, LightRecipeRequest, Spectrum,
};
use seedhouse_service::core::{Error, Result};
use seedhouse_service::{Patience, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::admission::Admission;
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::native::inference::computed;
use crate::parameters::{QueryParameters, reference, timeout};
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;

/// An answer of the original's shape.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgricultureResponse {
    success: bool,
    /// What was found; `basis` in it says where figures come from.
    #[schema(value_type = Object)]
    data: Value,
}

impl AgricultureResponse {
    fn of(data: impl Serialize) -> Result<Json<AgricultureResponse>, Failure> {
        let data =
            serde_json::to_value(data).map_err(|error| Error::Internal(format!("an answer is no JSON: {error}")))?;
        Ok(Json(AgricultureResponse { success: true, data }))
    }
}

/// A light recipe that somebody wants.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct LightRecipeBody {
    /// One of the crops of `/api/agriculture/crop-configs`.
    crop_type: String,
    /// The day of the cultivation, from 1.
    #[serde(default = "first_day")]
    current_day: u32,
    /// `yield`, `quality` or `energy`.
    #[serde(default = "default_objective")]
    target_objective: String,
    /// Photons of white light for each of red light; by default within the range of the stage.
    white_red_ratio: Option<f64>,
    /// Where it grows.
    #[serde(default)]
    environment: EnvironmentBody,
    /// A registered problem of optimisation to be solved instead of the program's own.
    model_id: Option<String>,
}

/// Where a crop grows. What is not known here is ignored.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct EnvironmentBody {
    /// In degrees Celsius.
    temperature: Option<f64>,
    /// In per cent.
    humidity: Option<f64>,
    /// Photons from 400 to 700 nm from outside, in mol per square metre and day.
    daylight: Option<f64>,
    /// What the lamps may take, in watts per square metre.
    power_limit: Option<f64>,
}

fn first_day() -> u32 {
    1
}

fn default_objective() -> String {
    "yield".into()
}

/// Makes a light recipe: how much light of four bands, in micromoles per square metre and second.
#[utoipa::path(post, path = "/api/agriculture/light-recipe", tag = "agriculture", request_body = LightRecipeBody,
    responses((status = 200, body = AgricultureResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn light_recipe(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<Json<AgricultureResponse>, Failure> {
    let permit = admission.inference()?;
    let body: LightRecipeBody = read_json(request, &limits).await?;
    let EnvironmentBody { temperature, humidity, daylight, power_limit } = body.environment;
    let request = LightRecipeRequest {
        crop_type: body.crop_type,
        current_day: body.current_day,
        target_objective: body.target_objective,
        white_red_ratio: body.white_red_ratio,
        environment: Environment { temperature, humidity, daylight, power_limit },
        model: body.model_id.map(|text| reference("model_id", &text)).transpose()?,
    };
    let cancel = CancelOnDrop::default();
    let cancelled = cancel.observer();
    let compute = move || service.light_recipe(&request, &|| cancelled.is_set());
    let recipe = blocking::run_admitted(permit, compute).await?;
    AgricultureResponse::of(recipe_json(&recipe))
}

fn recipe_json(recipe: &LightRecipe) -> Value {
    let band = |name: &str| recipe.band(name);
    let is_there = !recipe.solved.solution.variables.is_empty();
    let bands = json!({
        "uv_380nm": band("uv_380nm"),
        "far_red_720nm": band("far_red_720nm"),
        "white_light": band("white_light"),
        "red_660nm": band("red_660nm"),
        "white_red_ratio": recipe.white_red_ratio(),
        "light_hours": recipe.stage.light_hours,
        "power": band("power"),
        "light_integral": band("light_integral"),
    });
    json!({
        "crop_type": recipe.crop_type,
        "stage": recipe.stage,
        "day_of_stage": recipe.day_of_stage,
        "target_objective": recipe.target_objective,
        "recipe": is_there.then_some(bands),
        "advice": recipe.advice,
        "model": recipe.source,
        "solution": recipe.solved.to_json(),
        "basis": recipe.basis,
    })
}

/// Returns the document that light recipes are solved with: to be changed, and registered as a version of its own.
#[utoipa::path(get, path = "/api/agriculture/light-recipe/problem", tag = "agriculture",
    responses((status = 200, body = Object), Problems))]
pub(crate) async fn light_recipe_problem(State(service): State<Arc<Service>>) -> Result<Json<Value>, Failure> {
    let document = serde_json::from_str(service.light_recipe_document());
    Ok(Json(document.map_err(|error| Error::Internal(format!("the light recipe is no JSON: {error}")))?))
}

/// A spectrum.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct SpectrumBody {
    /// 800 intensities, one for each nanometre from 0.
    spectrum_data: Vec<f64>,
}

/// Returns the means of four bands of a spectrum, and the ratio of white to red.
#[utoipa::path(post, path = "/api/agriculture/spectrum-analysis", tag = "agriculture", request_body = SpectrumBody,
    responses((status = 200, body = AgricultureResponse), Problems))]
pub(crate) async fn spectrum_analysis(
    Extension(limits): Extension<Limits>,
    request: Request,
) -> Result<Json<AgricultureResponse>, Failure> {
    let body: SpectrumBody = read_json(request, &limits).await?;
    AgricultureResponse::of(Spectrum::of(&body.spectrum_data)?)
}

/// A cultivation that somebody plans.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CropPlanBody {
    /// One of the crops of `/api/agriculture/crop-configs`.
    crop_type: String,
    /// What is to be harvested, in kg.
    target_yield: f64,
    /// A date such as `2026-04-01`.
    start_date: String,
    /// The date by which it should be harvested.
    expected_harvest_date: Option<String>,
}

/// Plans a cultivation: the dates of its stages, its harvest, and the area that it takes.
#[utoipa::path(post, path = "/api/agriculture/crop-planning", tag = "agriculture", request_body = CropPlanBody,
    responses((status = 200, body = AgricultureResponse), Problems))]
pub(crate) async fn crop_planning(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    request: Request,
) -> Result<Json<AgricultureResponse>, Failure> {
    let body: CropPlanBody = read_json(request, &limits).await?;
    let CropPlanBody { crop_type, target_yield, start_date, expected_harvest_date } = body;
    let request = CropPlanRequest { crop_type, target_yield, start_date, expected_harvest_date };
    AgricultureResponse::of(service.crop_plan(&request)?)
}

/// Returns what is known of crops: thirteen of them, with their stages.
#[utoipa::path(get, path = "/api/agriculture/crop-configs", tag = "agriculture",
    responses((status = 200, body = AgricultureResponse), Problems))]
pub(crate) async fn crop_configs(State(service): State<Arc<Service>>) -> Result<Json<AgricultureResponse>, Failure> {
    AgricultureResponse::of(service.crop_book())
}

/// The day of a cultivation.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DayQuery {
    /// From 1.
    #[serde(default = "first_day")]
    current_day: u32,
}

/// Returns what the stage of a crop on a day asks for.
#[utoipa::path(get, path = "/api/agriculture/recommendations/{crop_type}", tag = "agriculture",
    params(("crop_type" = String, Path), DayQuery), responses((status = 200, body = AgricultureResponse), Problems))]
pub(crate) async fn recommendations(
    State(service): State<Arc<Service>>,
    crop_type: Result<Path<String>, PathRejection>,
    QueryParameters(query): QueryParameters<DayQuery>,
) -> Result<Json<AgricultureResponse>, Failure> {
    let Path(crop_type) = crop_type
        .map_err(|error| Error::invalid("crop_type", error.body_text(), "must be UTF-8 after percent-decoding"))?;
    AgricultureResponse::of(service.crop_recommendation(&crop_type, query.current_day)?)
}

/// A prediction of growth that somebody wants.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct GrowthBody {
    /// One of the crops of `/api/agriculture/crop-configs`.
    crop_type: String,
    /// The day of the cultivation, from 1; a feature of the model.
    #[serde(default = "first_day")]
    current_day: u32,
    /// Further features of the model by name.
    #[serde(default)]
    environmental_data: BTreeMap<String, f64>,
    /// A spectrum, whose bands become features as well: `uv_380nm`, `far_red_720nm`, `white_light`, `red_660nm`, `white_red_ratio`.
    spectrum_data: Option<Vec<f64>>,
    /// A registered regression model. Without it there is no answer: the original's was drawn at random.
    model_id: Option<String>,
    /// How many seconds it may take until the model begins with it, loading and waiting included.
    timeout_seconds: Option<f64>,
}

/// Predicts growth with the registered regression model that the request names.
#[utoipa::path(post, path = "/api/agriculture/growth-prediction", tag = "agriculture", request_body = GrowthBody,
    responses((status = 200, body = AgricultureResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn growth_prediction(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<Json<AgricultureResponse>, Failure> {
    let permit = admission.inference()?;
    let body: GrowthBody = read_json(request, &limits).await?;
    let request = GrowthRequest {
        crop_type: body.crop_type,
        current_day: body.current_day,
        environmental_data: body.environmental_data.into_iter().collect(),
        spectrum_data: body.spectrum_data.filter(|values| !values.is_empty()),
        model: body.model_id.map(|text| reference("model_id", &text)).transpose()?,
    };
    let cancel = CancelOnDrop::default();
    let patience = Patience::new(timeout(body.timeout_seconds)?, cancel.observer());
    let found = blocking::run_admitted(permit, move || service.growth_prediction(&request, &patience)).await?;
    let prediction = computed(&found.answer.value)?;
    let features: Map<String, Value> = found.features.into_iter().map(|(name, value)| (name, json!(value))).collect();
    AgricultureResponse::of(json!({
        "crop_type": found.crop_type,
        "stage": found.stage,
        "features": features,
        "prediction": prediction,
        "model": { "model_id": found.answer.model_id, "digest": found.answer.digest },
    }))
}

/// Not supported: keeping data that somebody sends.
#[utoipa::path(post, path = "/api/agriculture/data-contribution", tag = "agriculture", responses((status = 501, body = Problem)))]
pub(crate) async fn data_contribution() -> Result<(), Failure> {
    let reason =
        "nothing was kept: there is no store for observations, and data for a model is registered with the model";
    Err(Error::unsupported("contributing data", reason).into())
}
