//! The native API under `/api`: the original system's routes and shapes, with real status codes.

pub(crate) mod absent;
pub(crate) mod bundles;
pub(crate) mod card;
pub(crate) mod changes;
pub(crate) mod files;
pub(crate) mod image;
pub(crate) mod image_data;
pub(crate) mod import;
pub(crate) mod inference;
pub(crate) mod jobs;
pub(crate) mod lineage;
pub(crate) mod manager;
pub(crate) mod model_response;
pub(crate) mod models;
pub(crate) mod new_model;
pub(crate) mod new_version;
pub(crate) mod pretrained;
pub(crate) mod result_response;
pub(crate) mod search;
pub(crate) mod serving;
pub(crate) mod text;
pub(crate) mod text_request;
pub(crate) mod text_response;
pub(crate) mod transfers;
pub(crate) mod upload_headers;
pub(crate) mod uploads;
