//! One input of a batch: what it means depends on what the version takes.

use std::collections::BTreeMap;

use seedhouse_service::core::runtime::TensorSpec;
use seedhouse_service::core::{Error, Result};
use seedhouse_service::{
    BatchInput, ClassifyRequest, EmbedRequest, ImageInput, Numbers, PredictRequest, Row, Slot, SolveRequest,
    TabularRequest, Takes,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::named_values::NamedValues;
use crate::native::image_data::ImageData;
use crate::native::text_request::GenerationRequest;
use crate::request_body::decode_part;

/// An image with what is asked about it.
#[derive(Deserialize)]
struct ImageFields {
    image_data: ImageData,
    top_k: Option<usize>,
}

/// A text with what stands before it.
#[derive(Deserialize)]
struct SentenceFields {
    text: String,
    prompt_name: Option<String>,
}

/// Reads an input of the body, which stands in `field`.
///
/// # Errors
/// [`Error::Invalid`] and [`Error::Malformed`], naming the field.
pub(crate) fn read(field: &str, json: &str, slot: &Slot, client: &str) -> Result<BatchInput> {
    let reader = Reader { field, json, begins: json.bytes().next().unwrap_or(b' ') };
    match slot.takes() {
        Takes::Text => reader.text(slot.model_id(), client),
        Takes::Images(_) if reader.begins == b'[' => reader.image(),
        Takes::Images(_) if reader.has("image_data")? => reader.image_fields(),
        Takes::Rows(inputs) if !reader.has_one_of(inputs)? => reader.row(),
        Takes::Images(inputs) | Takes::Rows(inputs) | Takes::Tensors(inputs) => reader.tensors(inputs),
        Takes::Parameters => reader.parameters(),
        Takes::Wishes => Err(Error::WrongTask {
            model_id: slot.model_id().to_owned(),
            task: "a batch of inputs",
            reason: "it draws images, several at once with `num_samples`".into(),
        }),
        Takes::Sentences => reader.sentence(),
    }
}

struct Reader<'r> {
    field: &'r str,
    json: &'r str,
    begins: u8,
}

impl Reader<'_> {
    fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        decode_part(self.field, self.json)
    }

    /// Returns whether the input is an object with a field of this name.
    fn has(&self, name: &str) -> Result<bool> {
        if self.begins != b'{' {
            return Ok(false);
        }
        let names: BTreeMap<String, serde::de::IgnoredAny> = self.decode()?;
        Ok(names.contains_key(name))
    }

    /// Returns whether the input is an object with a field named like one of these tensors.
    fn has_one_of(&self, specs: &[TensorSpec]) -> Result<bool> {
        specs.iter().try_fold(false, |found, spec| Ok(found || self.has(&spec.name)?))
    }

    fn row(&self) -> Result<BatchInput> {
        let rows = vec![self.decode::<Row>()?];
        Ok(BatchInput::Row(TabularRequest { rows, ..TabularRequest::default() }))
    }

    /// The fields of the text route, or a prompt alone.
    fn text(&self, model_id: &str, client: &str) -> Result<BatchInput> {
        let mut fields = match self.begins {
            b'"' => Map::from_iter([("prompt".to_owned(), Value::String(self.decode()?))]),
            b'{' => self.decode()?,
            _ => return Err(self.wrong("must be a prompt, or an object with `prompt` or `messages`")),
        };
        if fields.get("stream").is_some_and(|stream| *stream == true) {
            let field = format!("{}.stream", self.field);
            return Err(Error::invalid(field, true, "must be left out: a batch is answered when it is whole"));
        }
        // The version is that of the whole batch.
        fields.insert("model_id".into(), model_id.into());
        let request: GenerationRequest = decode_part(self.field, &Value::Object(fields).to_string())?;
        let (_, mut request) = request.decode()?;
        request.client = client.into();
        Ok(BatchInput::Text(Box::new(request)))
    }

    fn image(&self) -> Result<BatchInput> {
        let image = ImageInput::Pixels(self.decode::<ImageData>()?.0?);
        Ok(BatchInput::Image(ClassifyRequest { image, top_k: None }))
    }

    fn image_fields(&self) -> Result<BatchInput> {
        let ImageFields { image_data, top_k } = self.decode()?;
        Ok(BatchInput::Image(ClassifyRequest { image: ImageInput::Pixels(image_data.0?), top_k }))
    }

    fn sentence(&self) -> Result<BatchInput> {
        let SentenceFields { text, prompt_name } = match self.begins {
            b'"' => SentenceFields { text: self.decode()?, prompt_name: None },
            b'{' => self.decode()?,
            _ => return Err(self.wrong("must be a text, or an object with `text`")),
        };
        Ok(BatchInput::Sentences(EmbedRequest { texts: vec![text], prompt: prompt_name }))
    }

    /// Tensors by name, or the only one that the model takes.
    fn tensors(&self, specs: &[TensorSpec]) -> Result<BatchInput> {
        let inputs = match (self.begins, specs) {
            (b'{', _) => self.decode::<NamedValues<Numbers>>()?.0,
            (b'"' | b'n' | b't' | b'f', _) => return Err(self.wrong("must be numbers in nested lists, by name")),
            (_, [only]) => vec![(only.name.clone(), self.decode()?)],
            (_, several) => {
                let names: Vec<String> = several.iter().map(|spec| format!("`{}`", spec.name)).collect();
                return Err(self.wrong(&format!("must be an object: the model takes {}", names.join(", "))));
            }
        };
        Ok(BatchInput::Tensors(PredictRequest { inputs }))
    }

    fn parameters(&self) -> Result<BatchInput> {
        let NamedValues(inputs) = self.decode::<NamedValues<Numbers>>()?;
        Ok(BatchInput::Parameters(SolveRequest::of_numbers(&inputs)?))
    }

    fn wrong(&self, rule: &str) -> Error {
        Error::invalid(self.field, self.json, rule)
    }
}
