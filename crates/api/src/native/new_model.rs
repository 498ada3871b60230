//! The body that creates a version, as JSON or as the text fields of a form.

use seedhouse_service::core::{Error, ModelId, ModelName, ModelType, Result, Version};
use seedhouse_service::{Parent, RegisterRequest, UploadedFile};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::native::uploads::UploadOfVersion;
use crate::parameters::reference;
use crate::type_mistake;

/// What the client says about a new version.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct NewModel {
    /// The name for people, 1 to 256 characters.
    name: String,
    /// The id; by default made from the name (`Wheat Leaves` gives `wheat-leaves_v1`).
    model_id: Option<String>,
    /// The label; by default `1`.
    version: Option<String>,
    /// `ai` and `ml` of the original are understood; by default what the files say.
    model_type: Option<String>,
    framework: Option<String>,
    description: Option<String>,
    /// A version that it was made from; any reference works.
    parent: Option<String>,
    /// How it was made from that one: quantized, finetuned, converted or exported.
    relation: Option<String>,
    /// By default `ready` if the files can be served, else `registered`.
    status: Option<String>,
    /// Checked against the files; also called `metadata`.
    #[serde(alias = "metadata")]
    #[schema(value_type = Option<Object>)]
    hyperparameters: Option<Value>,
    /// Finished uploads that become the version's files; only in JSON.
    #[serde(default)]
    uploads: Vec<UploadOfVersion>,
}

/// The same as a form, with the version's files.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form, which is read part by part")]
pub(crate) struct NewModelForm {
    /// The name for people, 1 to 256 characters.
    name: String,
    /// The id; by default made from the name (`Wheat Leaves` gives `wheat-leaves_v1`).
    model_id: Option<String>,
    /// The label; by default `1`.
    version: Option<String>,
    /// `ai` and `ml` of the original are understood; by default what the files say.
    model_type: Option<String>,
    framework: Option<String>,
    description: Option<String>,
    /// A version that it was made from; any reference works.
    parent: Option<String>,
    /// How it was made from that one: quantized, finetuned, converted or exported.
    relation: Option<String>,
    /// By default `ready` if the files can be served, else `registered`.
    status: Option<String>,
    /// A JSON object, checked against the files; also called `metadata`.
    hyperparameters: Option<String>,
    /// The files; the `filename` of each is its path within the version.
    #[schema(value_type = Vec<Binary>)]
    file: Vec<Vec<u8>>,
}

/// The bytes of a file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "describes a part of a form")]
pub(crate) struct Binary(Vec<u8>);

impl NewModel {
    /// Reads the text fields of a form; `hyperparameters` is JSON there.
    pub(crate) fn from_form(fields: Map<String, Value>) -> Result<NewModel> {
        form_json(fields)
    }

    /// Takes out the uploads that become files.
    pub(crate) fn take_uploads(&mut self) -> Result<Vec<UploadedFile>> {
        UploadOfVersion::into_files(std::mem::take(&mut self.uploads))
    }

    /// Checks the fields and turns them into the service's words; `actor` is who asks.
    pub(crate) fn into_request(self, actor: String) -> Result<RegisterRequest> {
        if !(1..=256).contains(&self.name.chars().count()) {
            return Err(Error::invalid("name", &self.name, "must have 1 to 256 characters"));
        }
        let version = self.version.as_deref().map(str::parse).transpose()?;
        let (model_id, version) = self.id_and_version(version)?;
        let mut request = RegisterRequest::new(base_of(&model_id, &version), actor);
        request.version = Some(version);
        request.model_id = Some(model_id);
        request.name = Some(self.name);
        request.model_type = self.model_type.as_deref().map(model_type);
        request.framework = self.framework.as_deref().map(Into::into);
        request.description = self.description;
        request.parent = parent(self.parent.as_deref(), self.relation.as_deref())?;
        request.status = self.status.as_deref().map(str::parse).transpose()?;
        request.metadata =
            self.hyperparameters.map_or_else(|| Ok(Map::new()), |value| hyper_parameters("hyperparameters", value))?;
        Ok(request)
    }

    /// The original's rule: the id is the name in lower case with `-` for spaces, and ends in `_v<version>`.
    fn id_and_version(&self, version: Option<Version>) -> Result<(ModelId, Version)> {
        let stem: ModelId = match &self.model_id {
            Some(model_id) => model_id.parse()?,
            None => self.name.trim().to_lowercase().replace(' ', "-").parse().map_err(|error| match error {
                Error::Invalid { rule, .. } => Error::invalid("name", self.name.escape_debug(), rule),
                other => other,
            })?,
        };
        let base = stem.base();
        let suffix = stem.as_str().strip_prefix(base.as_str()).and_then(|rest| rest.strip_prefix("_v"));
        match suffix {
            Some(suffix) => {
                let version = version.map_or_else(|| suffix.parse(), Ok)?;
                Ok((stem, version))
            }
            None => {
                let version = version.unwrap_or(Version::Integer(1));
                Ok((ModelId::of_version(&base, &version)?, version))
            }
        }
    }
}

/// Reads the text fields of a form as if they were a JSON body; hyper-parameters are JSON there.
pub(crate) fn form_json<T: DeserializeOwned>(mut fields: Map<String, Value>) -> Result<T> {
    for key in ["hyperparameters", "metadata"] {
        if let Some(Value::String(text)) = fields.get(key) {
            let value = serde_json::from_str(text)
                .map_err(|error| Error::malformed(format!("field `{key}`"), error.to_string()))?;
            fields.insert(key.into(), value);
        }
    }
    serde_path_to_error::deserialize(Value::Object(fields))
        .map_err(|error| type_mistake::explain("the form", &error.path().to_string(), error.inner()))
}

/// Reads what a version was made from; `parent` and `relation` come together.
pub(crate) fn parent(parent: Option<&str>, relation: Option<&str>) -> Result<Option<Parent>> {
    match (parent, relation) {
        (None, None) => Ok(None),
        (Some(parent), Some(relation)) => {
            Ok(Some(Parent { reference: reference("parent", parent)?, relation: relation.parse()? }))
        }
        (Some(parent), None) => Err(Error::invalid("parent", parent, "says nothing without `relation`")),
        (None, Some(relation)) => Err(Error::invalid("relation", relation, "says nothing without `parent`")),
    }
}

/// Reads hyper-parameters: an object, or null for none.
pub(crate) fn hyper_parameters(field: &str, value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(object) => Ok(object),
        other => Err(Error::invalid(field, other, "must be an object")),
    }
}

fn base_of(model_id: &ModelId, version: &Version) -> ModelName {
    // An id that was made from base and version ends in that version, also where `base()` would cut elsewhere.
    let suffix = format!("_v{version}");
    match model_id.as_str().strip_suffix(&suffix).map(str::parse) {
        Some(Ok(base)) => base,
        _ => model_id.base(),
    }
}

/// The original's front end calls transformers `ai` and vision models `ml`.
fn model_type(name: &str) -> ModelType {
    match name {
        "ai" => ModelType::Transformer,
        "ml" => ModelType::Vision,
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(value: Value) -> Result<RegisterRequest> {
        serde_json::from_value::<NewModel>(value).unwrap().into_request("ci".into())
    }

    #[test]
    fn id_follows_the_original_rule() {
        let cases = [
            (json!({"name": "Wheat Leaves"}), "wheat-leaves", "wheat-leaves_v1", "1"),
            (json!({"name": "视觉模型"}), "视觉模型", "视觉模型_v1", "1"),
            (json!({"name": "x", "version": "v1.0.0"}), "x", "x_v1.0.0", "1.0.0"),
            (json!({"name": "x", "model_id": "a_v3"}), "a", "a_v3", "3"),
            (json!({"name": "x", "model_id": "a_v1", "version": "1.0.0"}), "a", "a_v1", "1.0.0"),
            (json!({"name": "x", "model_id": "swin_vit"}), "swin_vit", "swin_vit_v1", "1"),
        ];
        for (body, base, model_id, version) in cases {
            let request = request(body.clone()).unwrap();
            assert_eq!(request.base.as_str(), base, "{body}");
            assert_eq!(request.model_id.unwrap().as_str(), model_id, "{body}");
            assert_eq!(request.version.unwrap().to_string(), version, "{body}");
        }
    }

    #[test]
    fn name_is_refused_as_it_was_written() {
        let error = request(json!({"name": "Wheat/Leaves"})).unwrap_err();
        assert!(error.to_string().starts_with("`name` is `Wheat/Leaves`"), "{error}");
    }

    #[test]
    fn wrong_fields_are_named() {
        let cases = [
            (json!({"name": ""}), "name"),
            (json!({"name": "a/b"}), "name"),
            (json!({"name": "x", "model_id": "../x"}), "model_id"),
            (json!({"name": "x", "version": "newest"}), "version"),
            (json!({"name": "x", "status": "running"}), "status"),
            (json!({"name": "x", "hyperparameters": [1]}), "hyperparameters"),
        ];
        for (body, field) in cases {
            assert_eq!(request(body.clone()).unwrap_err().field(), Some(field), "{body}");
        }
    }
}
