//! References: how a user points at a version.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Alias, Digest, Error, ModelName, Result, Version};

/// Points at one version. See [`Selector`] for the forms.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    /// The base name, or, with [`Selector::Newest`], possibly a `model_id`.
    pub name: ModelName,
    /// Which version of it.
    pub selector: Selector,
}

/// The part of a reference after the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// `name`: the version with this `model_id`, else the newest servable version of this base.
    Newest,
    /// `base/3`: the third version registered; what MLflow calls the version.
    Ordinal(u64),
    /// `base:1.0.3`: by label.
    Label(Version),
    /// `base@champion`: by alias.
    Alias(Alias),
    /// `base@sha256:…`: by the digest of the manifest.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = Error;

    /// Reads `model_id`, `base`, `base/3`, `base:1.0.3`, `base@alias`, `base@sha256:…`, each also after `models:/`.
    fn from_str(text: &str) -> Result<Reference> {
        let invalid = |rule: &str| Error::invalid("reference", text, rule);
        let bare = text.strip_prefix("models:/").unwrap_or(text);
        let Some(at) = bare.find(['/', ':', '@']) else {
            return Ok(Reference { name: bare.parse()?, selector: Selector::Newest });
        };
        let (name, rest) = bare.split_at(at);
        let (mark, rest) = rest.split_at(1);
        let selector = match mark {
            "/" => match rest.parse() {
                Ok(ordinal) if ordinal > 0 => Selector::Ordinal(ordinal),
                _ => return Err(invalid("after `/` stands the ordinal of a version, a whole number from 1")),
            },
            ":" => Selector::Label(rest.parse()?),
            _ if rest.starts_with("sha256:") => Selector::Digest(rest.parse()?),
            _ => Selector::Alias(rest.parse()?),
        };
        Ok(Reference { name: name.parse()?, selector })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.selector {
            Selector::Newest => write!(formatter, "{name}"),
            Selector::Ordinal(ordinal) => write!(formatter, "{name}/{ordinal}"),
            Selector::Label(version) => write!(formatter, "{name}:{version}"),
            Selector::Alias(alias) => write!(formatter, "{name}@{alias}"),
            Selector::Digest(digest) => write!(formatter, "{name}@{digest}"),
        }
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Reference> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        let digest = Digest::of("x");
        let cases = [
            ("smollm2_v1".to_owned(), Selector::Newest),
            ("视觉模型/3".to_owned(), Selector::Ordinal(3)),
            ("base:1.0.3".to_owned(), Selector::Label("1.0.3".parse().unwrap())),
            ("base@champion".to_owned(), Selector::Alias("champion".parse().unwrap())),
            (format!("base@{digest}"), Selector::Digest(digest)),
        ];
        for (text, selector) in cases {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.selector, selector);
            assert_eq!(reference.to_string(), text);
            assert_eq!(format!("models:/{text}").parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn broken_references_are_refused_with_their_text() {
        for text in
            ["", "/3", "base/", "base/0", "base/x", "base:", "base:x", "base@", "base@sha256:12", "a/1/2", "../x"]
        {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }
}
