//! `/api/inference/image/features`: what a model knows of images before it names classes.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::core::{Error, Reference, Result};
use seedhouse_service::{Answer, ImageFeatures, ImageInput, Patience, Service};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::native::image_data::ImageData;
use crate::native::result_response::ResultResponse;
use crate::parameters::reference;
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;
use crate::upload::{self, FormReader};

/// Whose features to compute, with the pixels in the body.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct FeaturesRequest {
    /// Any reference to a version.
    model_id: String,
    /// Rows of pixels of red, green and blue, each 0 to 255.
    #[schema(value_type = Vec<Vec<Vec<f32>>>)]
    image_data: ImageData,
}

/// Whose features to compute, with image files.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form, which is read part by part")]
pub(crate) struct FeaturesForm {
    /// Any reference to a version.
    model_id: String,
    /// PNG or JPEG files, each a part of its own; they are computed together.
    #[schema(value_type = Vec<String>)]
    file: Vec<Vec<u8>>,
}

/// Returns a vector of features for each image.
#[utoipa::path(post, path = "/api/inference/image/features", tag = "inference",
    request_body(content((FeaturesRequest = "application/json"), (FeaturesForm = "multipart/form-data"))),
    responses((status = 200, body = ResultResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn features(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<Json<ResultResponse>, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let (reference, images) = if upload::is_multipart(&request) {
        from_form(request, &limits).await?
    } else {
        let body: FeaturesRequest = read_json(request, &limits).await?;
        (reference("model_id", &body.model_id)?, vec![ImageInput::Pixels(body.image_data.0?)])
    };
    let cancel = CancelOnDrop::default();
    let patience = Patience::new(None, cancel.observer());
    let compute = move || service.image_features(&reference, &images, &patience);
    let answer = blocking::run_admitted(permit, compute).await?;
    Ok(Json(response(&answer, started)))
}

/// All images together may be as long as one image of another request.
async fn from_form(request: Request, limits: &Limits) -> Result<(Reference, Vec<ImageInput>)> {
    let mut reader = FormReader::new(request, limits).await?;
    let (mut model_id, mut images, mut left) = (None, Vec::new(), limits.image_bytes);
    while let Some(part) = reader.next().await? {
        let name = part.name().to_owned();
        let is_image = part.file_name().is_some() || matches!(name.as_str(), "file" | "image");
        if is_image {
            let bytes = part.bytes("the images", left).await?;
            left -= bytes.len();
            images.push(ImageInput::Encoded(bytes));
        } else if name == "model_id" {
            if model_id.replace(reference("model_id", &part.text().await?)?).is_some() {
                return Err(upload::given_twice(&name));
            }
        } else {
            // As everywhere, fields that newer clients send are ignored; they count towards the limits.
            part.text().await?;
        }
    }
    let missing = |field: &str| Error::invalid(field, "missing", "is required");
    let reference = model_id.ok_or_else(|| missing("model_id"))?;
    if images.is_empty() {
        return Err(missing("file"));
    }
    Ok((reference, images))
}

fn response(answer: &Answer<ImageFeatures>, started: Instant) -> ResultResponse {
    let ImageFeatures { vectors, input_shape, .. } = &answer.value;
    let figures = json!({ "input_shape": input_shape, "feature_count": vectors.first().map(Vec::len) });
    ResultResponse {
        metadata: ResultResponse::metadata(answer, figures),
        predictions: json!(vectors),
        confidence: None,
        processing_time: started.elapsed().as_secs_f64(),
    }
}
