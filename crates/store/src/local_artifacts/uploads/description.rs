//! What is kept beside the bytes of an upload.

use std::fs;
use std::io::ErrorKind;

use seedhouse_core::{Error, ManifestPath, NewUpload, Result, Timestamp, Upload};
use serde::{Deserialize, Serialize};

use super::Place;
use crate::durable::replace_file;

const FORMAT_VERSION: u32 = 1;

/// What was said about an upload, and what of its bytes counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    format_version: u32,
    /// How many bytes it will have.
    pub(super) length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<ManifestPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<String>,
    /// Where a part with a checksum begins that is being received, or was when its server died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unverified_from: Option<u64>,
}

impl Description {
    pub(super) fn of(new: &NewUpload) -> Description {
        Description {
            format_version: FORMAT_VERSION,
            length: new.length,
            name: new.name.clone(),
            metadata: new.metadata.clone(),
            unverified_from: None,
        }
    }

    /// Reads the description of an upload; `None` when there is none.
    pub(super) fn read(place: &Place) -> Result<Option<Description>> {
        let path = place.description();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let description: Description =
            serde_json::from_slice(&text).map_err(|error| corrupt(place, format!("its description: {error}")))?;
        match description.format_version {
            FORMAT_VERSION => Ok(Some(description)),
            other => {
                Err(corrupt(place, format!("its description has format {other}, but {FORMAT_VERSION} is the newest")))
            }
        }
    }

    /// Writes the description durably. Only who holds the upload does that.
    pub(super) fn write(&self, place: &Place) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|error| Error::Internal(format!("cannot write JSON: {error}")))?;
        replace_file(&place.description(), &place.new_description(), &text)
    }

    /// Returns how many of the bytes count.
    ///
    /// # Errors
    /// [`Error::CorruptState`] when there are more or fewer than there can be.
    pub(super) fn offset(&self, place: &Place, there: u64) -> Result<u64> {
        match self.unverified_from {
            Some(from) if from > there => Err(corrupt(place, format!("{from} bytes are verified, but {there} there"))),
            Some(from) => Ok(from),
            None if there > self.length => {
                Err(corrupt(place, format!("{there} bytes are there, but its length is {}", self.length)))
            }
            None => Ok(there),
        }
    }

    pub(super) fn upload(&self, place: &Place, offset: u64, expires_at: Timestamp) -> Upload {
        Upload {
            id: place.id.clone(),
            length: self.length,
            offset,
            name: self.name.clone(),
            metadata: self.metadata.clone(),
            expires_at,
        }
    }
}

fn corrupt(place: &Place, reason: String) -> Error {
    Error::CorruptState { what: format!("upload `{}`", place.id), reason }
}
