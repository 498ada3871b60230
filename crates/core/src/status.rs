//! The status of a version and the one table that says which may follow which.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ModelId, Result};

/// Where a version stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Known, not (yet) servable.
    Registered,
    /// Taken over from elsewhere with its files.
    Imported,
    /// Can be served.
    Ready,
    /// A training job works on it.
    Training,
    /// Made by a training job.
    Trained,
    /// Taken over with weights that somebody else trained.
    Pretrained,
    /// Made by a quantisation job.
    Quantized,
    /// Taken out of service.
    Stopped,
    /// A job on it failed.
    Failed,
    /// Kept for the record only.
    Archived,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 10] = [
        Status::Registered,
        Status::Imported,
        Status::Ready,
        Status::Training,
        Status::Trained,
        Status::Pretrained,
        Status::Quantized,
        Status::Stopped,
        Status::Failed,
        Status::Archived,
    ];

    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Registered => "registered",
            Status::Imported => "imported",
            Status::Ready => "ready",
            Status::Training => "training",
            Status::Trained => "trained",
            Status::Pretrained => "pretrained",
            Status::Quantized => "quantized",
            Status::Stopped => "stopped",
            Status::Failed => "failed",
            Status::Archived => "archived",
        }
    }

    /// Returns whether a version with this status may become `next`.
    pub fn can_become(self, next: Status) -> bool {
        use Status::{
            Archived, Failed, Imported, Pretrained, Quantized, Ready, Registered, Stopped, Trained, Training,
        };
        let successors: &[Status] = match self {
            Registered => &[Imported, Ready, Training, Pretrained, Stopped, Failed, Archived],
            Imported | Pretrained => &[Ready, Training, Stopped, Failed, Archived],
            Ready => &[Training, Stopped, Failed, Archived],
            Training => &[Trained, Stopped, Failed],
            Trained => &[Ready, Training, Stopped, Failed, Archived],
            Quantized => &[Ready, Stopped, Failed, Archived],
            Stopped => &[Ready, Training, Archived],
            Failed => &[Registered, Training, Archived],
            Archived => &[Stopped],
        };
        successors.contains(&next)
    }

    /// Checks that a version with this status may become `next`.
    ///
    /// # Errors
    /// [`Error::StatusChange`] with both.
    pub fn check_change(self, next: Status, model_id: &ModelId) -> Result<()> {
        match self.can_become(next) {
            true => Ok(()),
            false => Err(Error::StatusChange { model_id: model_id.to_string(), from: self, to: next }),
        }
    }

    /// Returns whether a version with this status, and with files that a runtime can load, answers inference requests.
    pub fn is_servable(self) -> bool {
        match self {
            Status::Imported | Status::Ready | Status::Trained | Status::Pretrained | Status::Quantized => true,
            Status::Registered | Status::Training | Status::Stopped | Status::Failed | Status::Archived => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(text: &str) -> Result<Status> {
        Status::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
            Error::invalid("status", text, format!("must be one of {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_text_and_json() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse::<Status>().unwrap(), status);
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert!("running".parse::<Status>().unwrap_err().to_string().contains("`running`"));
    }

    #[test]
    fn training_ends_before_anything_else_happens() {
        assert!(Status::Registered.can_become(Status::Training));
        assert!(Status::Training.can_become(Status::Trained));
        assert!(!Status::Training.can_become(Status::Ready));
        assert!(!Status::Archived.can_become(Status::Ready));
    }

    #[test]
    fn every_status_can_be_left_and_none_follows_itself() {
        for status in Status::ALL {
            assert!(!status.can_become(status), "{status}");
            assert!(Status::ALL.iter().any(|next| status.can_become(*next)), "{status}");
        }
    }
}
