//! `/api/inference/image/classification`: an encoded image in a form, or the original's nested array.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::core::{Error, Reference, Result};
use seedhouse_service::{Answer, Classification, ClassifyRequest, ImageInput, PixelImage, Service};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::blocking;
use crate::limits::Limits;
use crate::native::result_response::ResultResponse;
use crate::problem::{Failure, Problem};
use crate::request_body::JsonBody;
use crate::upload;

/// What to classify: as JSON with `image_data`, or as a form with the fields `model_id`, `top_k` and one file.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ClassificationRequest {
    /// Any reference to a version.
    model_id: String,
    /// Rows of pixels of red, green and blue, each 0 to 255.
    #[schema(value_type = Vec<Vec<Vec<f32>>>)]
    image_data: Vec<Vec<Vec<f32>>>,
    /// How many classes to answer.
    #[serde(default = "default_top_k")]
    top_k: usize,
}

/// One class of the answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PredictionResponse {
    class_id: usize,
    /// A probability.
    confidence: f64,
    /// The label, or `class_<id>` when the model has none.
    class_name: String,
}

fn default_top_k() -> usize {
    5
}

/// Classifies an image.
#[utoipa::path(post, path = "/api/inference/image/classification", tag = "inference",
    request_body(content((ClassificationRequest = "application/json"), (ClassificationRequest = "multipart/form-data"))),
    responses((status = 200, body = ResultResponse), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn classify(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    request: Request,
) -> Result<Json<ResultResponse>, Failure> {
    let started = Instant::now();
    let (reference, request) = if upload::is_multipart(&request) {
        from_form(request, &limits).await?
    } else {
        let JsonBody(body) = JsonBody::<ClassificationRequest>::from_body(request, &limits).await?;
        let image = ImageInput::Pixels(PixelImage::new(&body.image_data)?);
        (body.model_id.parse()?, ClassifyRequest { image, top_k: body.top_k })
    };
    let top_k = request.top_k;
    let answer = blocking::run(move || service.classify(&reference, &request)).await?;
    Ok(Json(response(answer, top_k, started)))
}

async fn from_form(request: Request, limits: &Limits) -> Result<(Reference, ClassifyRequest)> {
    let limit = limits.image_bytes as u64;
    let mut multipart = upload::multipart(request, limits.upload_bytes).await?;
    let (mut model_id, mut image, mut top_k) = (None, None, default_top_k());
    while let Some(field) = multipart.next_field().await.map_err(upload::broken_form)? {
        if field.file_name().is_some() || matches!(field.name(), Some("file" | "image")) {
            image = Some(upload::read_bytes(field, "the image", limit).await?);
            continue;
        }
        let (name, text) = upload::read_text(field).await?;
        match name.as_str() {
            "model_id" => model_id = Some(text.parse()?),
            "top_k" => {
                top_k = text.parse().map_err(|_| Error::invalid("top_k", &text, "must be a whole number"))?;
            }
            // As everywhere, fields that newer clients send are ignored.
            _ => {}
        }
    }
    let missing = |field: &str| Error::invalid(field, "", "is required");
    let reference = model_id.ok_or_else(|| missing("model_id"))?;
    let image = ImageInput::Encoded(image.ok_or_else(|| missing("file"))?);
    Ok((reference, ClassifyRequest { image, top_k }))
}

fn response(answer: Answer<Classification>, top_k: usize, started: Instant) -> ResultResponse {
    let figures = json!({ "input_shape": answer.value.input_shape, "top_k": top_k });
    let metadata = ResultResponse::metadata(&answer, figures);
    let predictions: Vec<PredictionResponse> = answer
        .value
        .predictions
        .into_iter()
        .map(|prediction| PredictionResponse {
            class_name: prediction.class_name.unwrap_or_else(|| format!("class_{}", prediction.class_id)),
            class_id: prediction.class_id,
            confidence: f64::from(prediction.confidence),
        })
        .collect();
    ResultResponse {
        confidence: predictions.first().map(|best| best.confidence),
        predictions: json!(predictions),
        processing_time: started.elapsed().as_secs_f64(),
        metadata,
    }
}
