//! Names of models and ids of versions. Names are data, never path parts, and never ambiguous in a reference.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::{Error, Result, Version};

/// The longest id in bytes: with an extension of 32 it still fits into the 255 bytes that file systems allow.
const LONGEST_ID_BYTES: usize = 200;

/// The longest name in bytes: with `_v` and the largest number it still fits into an id.
const LONGEST_NAME_BYTES: usize = 170;

/// The base name of a model, e.g. `agriculture_classification` or `视觉模型`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

/// The unique id of a version, by default `<base>_v<version>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelId(String);

/// A name that points at one version of a model and can be moved, e.g. `champion`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Alias(String);

impl Alias {
    /// Returns the alias as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a token, which is who the history says it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenName(String);

impl TokenName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ModelName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ModelId {
    /// Returns the id that `version` of `base` has unless the user names another.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the two together are too long.
    pub fn of_version(base: &ModelName, version: &Version) -> Result<ModelId> {
        format!("{base}_v{version}").parse()
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the base name: the text before the last `_v` if what follows is a version, else the whole id.
    ///
    /// `swin_vit` is a base name, `swin_v2` is version 2 of `swin`.
    pub fn base(&self) -> ModelName {
        let base = match self.0.rsplit_once("_v") {
            Some((base, suffix)) if is_label(suffix) => base.parse(),
            _ => self.0.parse(),
        };
        // What stands before the suffix may be no name (`x _v1`), or the whole too long for one; the id is unique all the same.
        base.unwrap_or_else(|_| ModelName(self.0.clone()))
    }

    /// Returns the version that the id ends in, if it ends in one.
    pub fn version(&self) -> Option<Version> {
        let base = self.base();
        self.0.strip_prefix(base.as_str())?.strip_prefix("_v")?.parse().ok()
    }
}

/// A version without the `v` that is tolerated elsewhere: it already stands before it.
fn is_label(suffix: &str) -> bool {
    !suffix.starts_with(['v', 'V']) && suffix.parse::<Version>().is_ok()
}

/// The characters a reference or a URL path gives a meaning to, and those that are special in a path.
const RESERVED: [char; 4] = ['/', '\\', ':', '@'];

fn check(field: &str, text: &str, longest_bytes: usize) -> Result<()> {
    let refuse = |rule: String| Err(Error::invalid(field, text.escape_debug(), rule));
    if text.is_empty() {
        return refuse("must not be empty".into());
    }
    if text.len() > longest_bytes {
        return refuse(format!("has {} bytes, and {longest_bytes} is the limit", text.len()));
    }
    if let Some(character) = text.chars().find(|character| RESERVED.contains(character) || character.is_control()) {
        return refuse(format!("must not contain `{}`", character.escape_debug()));
    }
    check_one_spelling(field, text)?;
    if text.starts_with('.') {
        return refuse("must not start with a dot".into());
    }
    if text.trim() != text {
        return refuse("must not start or end with white space".into());
    }
    Ok(())
}

/// Checks that no other text looks the same: `é` is one character, not two (Unicode normalisation form C), and nothing in it
/// is invisible. Two versions could otherwise share a name on the screen, and on some file systems a file.
fn check_one_spelling(field: &str, text: &str) -> Result<()> {
    let refuse = |rule: String| Err(Error::invalid(field, escaped_marks(text), rule));
    if let Some(character) = text.chars().find(|character| is_invisible(*character)) {
        return refuse(format!("must not contain the invisible character U+{:04X}", u32::from(character)));
    }
    if !is_nfc(text) {
        let composed: String = text.nfc().collect();
        return refuse(format!("must be in Unicode normalisation form C, where it is `{composed}`"));
    }
    Ok(())
}

/// Shows what cannot be seen, and a base character apart from its marks.
fn escaped_marks(text: &str) -> String {
    let shown = |character: char| match is_invisible(character) || is_combining_mark(character) {
        true => character.escape_unicode().to_string(),
        false => character.escape_debug().to_string(),
    };
    text.chars().map(shown).collect()
}

/// Joiners, marks of direction, soft hyphens and other characters without width.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// What the registry itself keeps in its folder, where a version's files get names that start with its id.
const OWN_FILES: [&str; 8] = ["backup", "blobs", "exports", "imports", "metadata", "plans", "runtimes", "seedhouse"];

/// Case is ignored, because some file systems do so.
fn check_own_files(text: &str) -> Result<()> {
    let stem = text.split('.').next().unwrap_or(text);
    if OWN_FILES.iter().any(|own| own.eq_ignore_ascii_case(stem)) {
        return Err(Error::invalid("model_id", text, format!("the registry keeps files of its own under `{stem}`")));
    }
    Ok(())
}

fn check_name(text: &str) -> Result<()> {
    check("name", text, LONGEST_NAME_BYTES)
}

fn check_model_id(text: &str) -> Result<()> {
    check("model_id", text, LONGEST_ID_BYTES)?;
    check_own_files(text)
}

/// `latest` and `v3` have a meaning of their own for MLflow's clients.
fn check_alias(text: &str) -> Result<()> {
    check("alias", text, LONGEST_NAME_BYTES)?;
    let lower = text.to_ascii_lowercase();
    let is_version =
        lower.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    if lower == "latest" || is_version {
        return Err(Error::invalid("alias", text, "must not be `latest` or `v` and a number: these mean versions"));
    }
    Ok(())
}

/// What the history calls those who come without a token.
const OWN_ACTORS: [&str; 3] = ["cli", "local", "seedhouse"];

fn check_token_name(text: &str) -> Result<()> {
    check("name", text, LONGEST_NAME_BYTES)?;
    if OWN_ACTORS.iter().any(|own| own.eq_ignore_ascii_case(text)) {
        return Err(Error::invalid("name", text, "the history calls somebody else that"));
    }
    Ok(())
}

macro_rules! text_newtype {
    ($type:ident, $check:ident) => {
        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<$type> {
                $check(text)?;
                Ok($type(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(text: String) -> Result<$type> {
                $check(&text)?;
                Ok($type(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

text_newtype!(Alias, check_alias);
text_newtype!(ModelName, check_name);
text_newtype!(ModelId, check_model_id);
text_newtype!(TokenName, check_token_name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_looks_like_another_is_refused() {
        for (text, part) in [
            ("cafe\u{301}", "`café`"),
            ("\u{1112}\u{1161}\u{11ab}", "`한`"),
            ("wheat\u{200b}", "U+200B"),
            ("\u{202e}taehw", "U+202E"),
            ("whe\u{ad}at", "U+00AD"),
        ] {
            let error = text.parse::<ModelName>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(format!("{text}_v1").parse::<ModelId>().is_err() && text.parse::<Alias>().is_err());
        }
        for text in ["café", "한국", "小麦（冬）", "ｆｕｌｌ", "हिन्दी"] {
            text.parse::<ModelName>().unwrap();
        }
    }

    #[test]
    fn suffix_is_a_version_only_if_it_parses_as_one() {
        let cases = [
            ("agriculture_classification_v1", "agriculture_classification"),
            ("agriculture_classification_v1.0.3", "agriculture_classification"),
            ("swin_vit", "swin_vit"),
            ("视觉模型_v1", "视觉模型"),
            ("测试模型-new", "测试模型-new"),
            ("a_v1_v2", "a_v1"),
            ("_v1", "_v1"),
            ("x _v1", "x _v1"),
            ("小麦\u{3000}_v1", "小麦\u{3000}_v1"),
            ("a_vv1", "a_vv1"),
        ];
        for (id, base) in cases {
            assert_eq!(id.parse::<ModelId>().unwrap().base().as_str(), base, "{id}");
        }
    }

    #[test]
    fn names_that_could_reach_a_path_or_confuse_a_reference_are_refused() {
        for text in ["", "..", ".hidden", "a/b", "a\\b", "C:", "a@b", "a\0b", "a\nb", " a", "a ", &"长".repeat(67)] {
            let error = text.parse::<ModelName>().unwrap_err();
            assert_eq!(error.field(), Some("name"), "{text:?}");
        }
    }

    #[test]
    fn ids_that_would_name_our_own_files_are_refused() {
        for text in ["seedhouse", "Seedhouse.db", "metadata", "metadata.json", "blobs", "backup", "plans"] {
            assert!(text.parse::<ModelId>().is_err(), "{text:?}");
        }
        assert!("seedhouse_v1".parse::<ModelId>().is_ok());
        assert!("metadata".parse::<ModelName>().is_ok(), "its versions are called metadata_v1 …");
    }

    #[test]
    fn aliases_that_mean_versions_are_refused() {
        for text in ["latest", "Latest", "v1", "V23", "a@b", "a:b", ""] {
            assert_eq!(text.parse::<Alias>().unwrap_err().field(), Some("alias"), "{text:?}");
        }
        for text in ["champion", "冠军", "v", "v1a", "vx"] {
            assert_eq!(text.parse::<Alias>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn tokens_cannot_be_called_what_the_history_calls_others() {
        for text in ["local", "CLI", "seedhouse", "", "a\nb", " ci", "a/b"] {
            assert_eq!(text.parse::<TokenName>().unwrap_err().field(), Some("name"), "{text:?}");
        }
        for text in ["ci", "local-ci", "小王"] {
            assert_eq!(text.parse::<TokenName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn odd_but_harmless_names_of_the_original_are_kept() {
        for text in ["?????????", "农业分类模型", "a b", "x%2e"] {
            assert_eq!(text.parse::<ModelName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn default_id_is_base_and_version() {
        let id = ModelId::of_version(&"小麦".parse().unwrap(), &"1.0.3".parse().unwrap()).unwrap();
        assert_eq!(id.as_str(), "小麦_v1.0.3");
        assert_eq!(id.base().as_str(), "小麦");
    }
}
