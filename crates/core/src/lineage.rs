//! What a version was made from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ModelId, Record, Result};

/// How a version was made from its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The same weights with fewer bits.
    Quantized,
    /// Trained further.
    Finetuned,
    /// The same weights in another format, of the registry's own making.
    Converted,
    /// The same weights in another format, written for another program.
    Exported,
}

impl Relation {
    /// Every relation.
    pub const ALL: [Relation; 4] = [Relation::Quantized, Relation::Finetuned, Relation::Converted, Relation::Exported];

    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Relation::Quantized => "quantized",
            Relation::Finetuned => "finetuned",
            Relation::Converted => "converted",
            Relation::Exported => "exported",
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Relation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Relation> {
        Relation::ALL.into_iter().find(|relation| relation.as_str() == text).ok_or_else(|| {
            let names = Relation::ALL.map(Relation::as_str).join(", ");
            Error::invalid("relation", text.escape_debug(), format!("must be one of {names}"))
        })
    }
}

impl Record {
    /// Returns the version that this one was made from, if the record names one.
    pub fn parent(&self) -> Option<ModelId> {
        self.fields.get("parent")?.as_str()?.parse().ok()
    }

    /// Returns how this version was made from its parent, if the record says so.
    pub fn relation(&self) -> Option<Relation> {
        self.fields.get("relation")?.as_str()?.parse().ok()
    }
}
