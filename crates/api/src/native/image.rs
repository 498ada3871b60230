//! `/api/inference/image/classification`: an encoded image in a form, or the original's nested array.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::core::{Error, Reference, Result};
use seedhouse_service::{Answer, Classification, ClassifyRequest, ImageInput, Patience, Service};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::native::image_data::ImageData;
use crate::native::result_response::ResultResponse;
use crate::parameters::{reference, timeout};
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;
use crate::upload::{self, FormReader};

/// What to classify, with the pixels in the body.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ClassificationRequest {
    /// Any reference to a version.
    model_id: String,
    /// Rows of pixels of red, green and blue, each 0 to 255.
    #[schema(value_type = Vec<Vec<Vec<f32>>>)]
    image_data: ImageData,
    /// How many classes to answer; by default 5, or all where there are fewer.
    top_k: Option<usize>,
    /// How many seconds it may take until the model begins with it, loading and waiting included.
    timeout_seconds: Option<f64>,
}

/// What to classify, with an image file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form, which is read part by part")]
pub(crate) struct ClassificationForm {
    /// Any reference to a version.
    model_id: String,
    /// A PNG or JPEG file.
    #[schema(format = Binary, value_type = String)]
    file: Vec<u8>,
    /// How many classes to answer; by default 5, or all where there are fewer.
    top_k: Option<usize>,
    /// How many seconds it may take until the model begins with it, loading and waiting included.
    timeout_seconds: Option<f64>,
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

/// Classifies an image.
#[utoipa::path(post, path = "/api/inference/image/classification", tag = "inference",
    request_body(content((ClassificationRequest = "application/json"), (ClassificationForm = "multipart/form-data"))),
    responses((status = 200, body = ResultResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn classify(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<Json<ResultResponse>, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let Asked { reference, request, timeout_seconds } = if upload::is_multipart(&request) {
        from_form(request, &limits).await?
    } else {
        let body: ClassificationRequest = read_json(request, &limits).await?;
        let image = ImageInput::Pixels(body.image_data.0?);
        let request = ClassifyRequest { image, top_k: body.top_k };
        Asked { reference: reference("model_id", &body.model_id)?, request, timeout_seconds: body.timeout_seconds }
    };
    let cancel = CancelOnDrop::default();
    let patience = Patience::new(timeout(timeout_seconds)?, cancel.observer());
    let answer = blocking::run_admitted(permit, move || service.classify(&reference, &request, &patience)).await?;
    Ok(Json(response(answer, started)))
}

/// What is asked of which version.
struct Asked {
    reference: Reference,
    request: ClassifyRequest,
    timeout_seconds: Option<f64>,
}

async fn from_form(request: Request, limits: &Limits) -> Result<Asked> {
    let mut reader = FormReader::new(request, limits).await?;
    let (mut model_id, mut image, mut top_k, mut timeout_seconds) = (None, None, None, None);
    while let Some(part) = reader.next().await? {
        let name = part.name().to_owned();
        let twice = match name.as_str() {
            // curl's `-F file=<cat.png` gives the image no name; it is the image all the same.
            _ if part.file_name().is_some() => replaced(&mut image, part.bytes("the image", limits.image_bytes).await?),
            "file" | "image" => replaced(&mut image, part.bytes("the image", limits.image_bytes).await?),
            "model_id" => replaced(&mut model_id, reference("model_id", &part.text().await?)?),
            "top_k" => replaced(&mut top_k, whole_number("top_k", &part.text().await?)?),
            "timeout_seconds" => replaced(&mut timeout_seconds, seconds(&part.text().await?)?),
            // As everywhere, fields that newer clients send are ignored; they count towards the limits.
            _ => part.text().await.map(|_| false)?,
        };
        if twice {
            return Err(upload::given_twice(&name));
        }
    }
    let missing = |field: &str| Error::invalid(field, "missing", "is required");
    let reference = model_id.ok_or_else(|| missing("model_id"))?;
    let image = ImageInput::Encoded(image.ok_or_else(|| missing("file"))?);
    Ok(Asked { reference, request: ClassifyRequest { image, top_k }, timeout_seconds })
}

/// Sets a value and returns whether there was one.
fn replaced<T>(place: &mut Option<T>, value: T) -> bool {
    place.replace(value).is_some()
}

fn whole_number(field: &str, text: &str) -> Result<usize> {
    text.parse().map_err(|_| Error::invalid(field, text, "must be a whole number from 0"))
}

fn seconds(text: &str) -> Result<f64> {
    text.parse().map_err(|_| Error::invalid("timeout_seconds", text, "must be a number above 0"))
}

/// Returns the classes in the original's shape.
pub(crate) fn response(answer: Answer<Classification>, started: Instant) -> ResultResponse {
    let figures = json!({ "input_shape": answer.value.input_shape, "top_k": answer.value.predictions.len() });
    let metadata = ResultResponse::metadata(&answer, figures);
    let predictions: Vec<PredictionResponse> = answer
        .value
        .predictions
        .into_iter()
        .map(|prediction| PredictionResponse {
            class_name: match &prediction.class_name {
                Some(name) => name.to_string(),
                None => format!("class_{}", prediction.class_id),
            },
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
