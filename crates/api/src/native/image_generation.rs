//! `/api/inference/image/generation`: images drawn from noise, as pixels or PNG files, with events as they become clear.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seedhouse_service::core::{Error, Reference, Result};
use seedhouse_service::{Answer, ClassChoice, Drawing, DrawingProgress, DrawnImage, ImagineRequest, Sampler, Service};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};
use tower_http::request_id::RequestId;
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking::{self, CancelOnDrop};
use crate::event_stream::{self, Emit};
use crate::limits::Limits;
use crate::native::result_response::ResultResponse;
use crate::parameters::{reference, timeout};
use crate::problem::{Failure, Problem, Problems, id_text};
use crate::request_body::read_json;

/// What to draw: the original's fields, and beside them how.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ImageGenerationRequest {
    /// Any reference to a version.
    model_id: String,
    /// How many images, at most 64.
    #[serde(default = "one_sample")]
    num_samples: usize,
    /// The side of images, which is the model's to say: its own may be given. The original's default, 256, stands for it as well.
    image_size: Option<usize>,
    /// How far the class is followed beyond what the model draws without it; 1 is not beyond, at most 100. Without `class`, and of a
    /// model that was trained without classes, it has no effect; `guidance_applied` in the answer says so.
    #[serde(default = "default_guidance")]
    guidance_scale: f64,
    /// What is to be seen: a number or a label, of a model that was trained with classes.
    #[schema(value_type = Option<Object>)]
    class: Option<Value>,
    /// How many timesteps are gone through, at most as many as the model was trained with; 50 or all by default.
    steps: Option<usize>,
    /// The same seed gives the same images.
    #[serde(default)]
    seed: u64,
    /// `ddim` or `ddpm`.
    #[serde(default)]
    sampler: SamplerField,
    /// Only with `ddim`: how much noise each step adds, from 0 (none) to 1 (as much as `ddpm`).
    #[serde(default)]
    eta: f64,
    /// `pixels` (rows of pixels, 0 to 255) or `png` (files in base64).
    #[serde(default)]
    format: FormatField,
    /// Put all images into one, side by side.
    #[serde(default)]
    grid: bool,
    /// Answer with server-sent events.
    #[serde(default)]
    stream: bool,
    /// With `stream`: show in each event what the first image will be, as far as can be told, as a PNG file in base64.
    #[serde(default)]
    preview: bool,
    /// How many seconds drawing may take, waiting included.
    timeout_seconds: Option<f64>,
}

/// How one step leads to the next.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SamplerField {
    #[default]
    Ddim,
    Ddpm,
}

/// The form of images in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FormatField {
    #[default]
    Pixels,
    Png,
}

/// The original's default for `image_size`. Its clients send it whatever the model is.
const ORIGINAL_IMAGE_SIZE: usize = 256;

/// The most numbers of the pixels in one event, which is a JSON document of values before it is a text.
const MOST_EVENT_NUMBERS: usize = 2 << 20;

const PNG: &str = "image/png";

fn one_sample() -> usize {
    1
}

fn default_guidance() -> f64 {
    7.5
}

/// Draws images. With `Accept: image/png` the answer is one PNG file: the image, or a grid of several. With `stream`, an event
/// `{"step", "of"}` comes after each step, then one event `done` with the whole answer, or one event `error`.
#[utoipa::path(post, path = "/api/inference/image/generation", tag = "inference", request_body = ImageGenerationRequest,
    responses((status = 200, content((ResultResponse = "application/json"), (Vec<u8> = "image/png"))), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn generate(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let wants_file = wants_png(&request);
    let body: ImageGenerationRequest = read_json(request, &limits).await?;
    let (streamed, preview) = (body.stream, body.preview);
    let (reference, mut request, form) = body.decode()?;
    let cancel = CancelOnDrop::default();
    request.cancel = cancel.observer();
    if streamed {
        let work = move |emit: &mut Emit<'_>| {
            let mut failed = None;
            let answer = service.imagine(&reference, &request, &mut |progress| {
                let json = form.check_event(progress.numbers()).and_then(|()| progress_json(&progress, preview));
                match json {
                    Ok(json) => emit(Some(json)),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                }
            });
            match failed {
                Some(error) => Err(error),
                None => form.with_response(&answer?, started, |response| Ok(json!(response))),
            }
        };
        let response = event_stream::respond(work, limits.idle, permit, id_text(&id)).await?;
        // The drawing has begun: from now on it notices by its events that the client is gone.
        cancel.disarm();
        return Ok(response);
    }
    let cancelled = cancel.observer();
    let response = blocking::run_admitted(permit, move || {
        let answer = service.imagine(&reference, &request, &mut |_| match cancelled.is_set() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })?;
        match wants_file {
            true => {
                let file = DrawnImage::grid(&answer.value.images).png()?;
                Ok(([(CONTENT_TYPE, PNG)], file).into_response())
            }
            false => form.with_response(&answer, started, |response| Ok(Json(response).into_response())),
        }
    })
    .await?;
    Ok(response)
}

/// Returns whether the client asks for a file by name; `*/*` means JSON.
fn wants_png(request: &Request) -> bool {
    let accepted = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|one| one.split(';').next().unwrap_or_default().trim() == PNG)
}

/// How images are answered.
#[derive(Debug, Clone, Copy)]
struct Form {
    format: FormatField,
    grid: bool,
    guidance_scale: f64,
}

impl ImageGenerationRequest {
    fn decode(self) -> Result<(Reference, ImagineRequest, Form)> {
        let request = ImagineRequest {
            class: self.class.map(class).transpose()?,
            samples: self.num_samples,
            steps: self.steps,
            seed: self.seed,
            sampler: match self.sampler {
                SamplerField::Ddim => Sampler::Ddim,
                SamplerField::Ddpm => Sampler::Ddpm,
            },
            eta: self.eta,
            guidance_scale: self.guidance_scale,
            image_size: self.image_size.filter(|size| *size != ORIGINAL_IMAGE_SIZE),
            timeout: timeout(self.timeout_seconds)?,
            ..ImagineRequest::default()
        };
        if self.preview && !self.stream {
            return Err(Error::invalid("preview", true, "needs `stream`"));
        }
        let form = Form { format: self.format, grid: self.grid, guidance_scale: self.guidance_scale };
        Ok((reference("model_id", &self.model_id)?, request, form))
    }
}

fn class(value: Value) -> Result<ClassChoice> {
    match value {
        Value::String(name) => Ok(ClassChoice::Name(name)),
        other => {
            let id = other.as_u64().and_then(|id| usize::try_from(id).ok());
            id.map(ClassChoice::Id).ok_or_else(|| Error::invalid("class", &other, "must be a label or a number from 0"))
        }
    }
}

fn progress_json(progress: &DrawingProgress<'_>, preview: bool) -> Result<Value> {
    let mut json = json!({ "step": progress.step, "of": progress.steps });
    let previews = if preview { progress.previews() } else { Vec::new() };
    if let Some(first) = previews.first() {
        json["preview"] = STANDARD.encode(first.png()?).into();
    }
    Ok(json)
}

impl Form {
    fn check_event(self, numbers: usize) -> Result<()> {
        if self.format == FormatField::Png || numbers <= MOST_EVENT_NUMBERS {
            return Ok(());
        }
        let rule =
            format!("events have at most {MOST_EVENT_NUMBERS} numbers of pixels: ask for `png`, or without `stream`");
        Err(Error::invalid("format", format!("pixels of {numbers} numbers"), rule))
    }

    /// Gives the answer to `write`, of which it is a part no longer than that.
    fn with_response<T>(
        self,
        answer: &Answer<Drawing>,
        started: Instant,
        write: impl FnOnce(DrawingResponse<'_>) -> Result<T>,
    ) -> Result<T> {
        let drawing = &answer.value;
        let grid = self.grid.then(|| vec![DrawnImage::grid(&drawing.images)]);
        let images = grid.as_ref().unwrap_or(&drawing.images);
        let predictions = match self.format {
            FormatField::Pixels => DrawnImages::Pixels(images.iter().map(Pixels).collect()),
            FormatField::Png => {
                let file = |image: &DrawnImage| Ok(STANDARD.encode(image.png()?));
                DrawnImages::Files(images.iter().map(file).collect::<Result<_>>()?)
            }
        };
        let [height, width] = drawing.images.first().map_or([0; 2], DrawnImage::sides);
        let figures = json!({
            "image_size": [height, width],
            "num_samples": drawing.images.len(),
            "format": self.format,
            "steps": drawing.steps,
            "class": drawing.class,
            "guidance_scale": self.guidance_scale,
            "guidance_applied": drawing.is_guided,
            "seconds": drawing.seconds,
        });
        write(DrawingResponse {
            predictions,
            confidence: None,
            processing_time: started.elapsed().as_secs_f64(),
            metadata: ResultResponse::metadata(answer, figures),
        })
    }
}

/// The fields of a [`ResultResponse`], whose pixels are written as they are: a value of JSON for each takes 32 times their bytes.
#[derive(Serialize)]
struct DrawingResponse<'d> {
    predictions: DrawnImages<'d>,
    confidence: Option<f64>,
    processing_time: f64,
    metadata: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum DrawnImages<'d> {
    Pixels(Vec<Pixels<'d>>),
    Files(Vec<String>),
}

/// An image as the classification route takes it: rows of pixels.
struct Pixels<'d>(&'d DrawnImage);

impl Serialize for Pixels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.rows().map(Row))
    }
}

/// The pixels of a row.
struct Row<I>(I);

impl<'p, I: Iterator<Item = &'p [u8]> + Clone> Serialize for Row<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_of_a_pixel_was_a_value_of_json_in_an_event() {
        let form = Form { format: FormatField::Pixels, grid: false, guidance_scale: 1.0 };
        assert!(form.check_event(MOST_EVENT_NUMBERS).is_ok());
        let error = form.check_event(MOST_EVENT_NUMBERS + 1).unwrap_err().to_string();
        assert!(error.contains("2097153 numbers") && error.contains("2097152 numbers"), "{error}");
        assert!(Form { format: FormatField::Png, ..form }.check_event(MOST_EVENT_NUMBERS + 1).is_ok());
    }
}
