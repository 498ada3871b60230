//! Model cards: read the front matter, set, remove.
//!
//! Front matter is YAML from strangers: what it may expand to is bounded, and it becomes plain JSON.

use seedhouse_core::runtime::LocalFiles;
use seedhouse_core::{Card, CardFrontMatter, Edit, Entry, Error, Reference, Result, check_depth};
use serde_json::{Map, Value};

use crate::{Origin, Service};

/// The file of a version that is its card, as on model hubs.
const CARD_FILE: &str = "README.md";

impl Service {
    /// Sets the model card of a version: Markdown, with YAML between two lines `---` at its beginning for programs.
    ///
    /// # Errors
    /// [`Error::Malformed`] for front matter that cannot be read, [`Error::TooLarge`], and those of
    /// [`update`](Service::update).
    pub fn set_card(
        &self,
        reference: &Reference,
        expected_revision: Option<u64>,
        text: String,
        origin: Origin,
    ) -> Result<Entry> {
        let front_matter = read_front_matter(&text).map_err(|reason| Error::malformed("the front matter", reason))?;
        let card = Card::new(text, CardFrontMatter::Fields(front_matter))?;
        self.update(reference, expected_revision, vec![Edit::Card(Some(card))], origin)
    }

    /// Removes the model card of a version.
    ///
    /// # Errors
    /// Those of [`update`](Service::update).
    pub fn remove_card(&self, reference: &Reference, origin: Origin) -> Result<Entry> {
        self.update(reference, None, vec![Edit::Card(None)], origin)
    }
}

/// Returns the card among the files of a new version. A file is taken as it is: what cannot be a card stays a file only.
pub(crate) fn card_among(files: &LocalFiles) -> Result<Option<Card>> {
    let Some(file) = files.0.iter().find(|file| file.path.as_str() == CARD_FILE) else { return Ok(None) };
    let found = std::fs::metadata(&file.local).map_err(Error::io("look at", &file.local))?;
    if found.len() > Card::LONGEST_BYTES as u64 {
        return Ok(None);
    }
    let bytes = std::fs::read(&file.local).map_err(Error::io("read", &file.local))?;
    let Ok(text) = String::from_utf8(bytes) else { return Ok(None) };
    let front_matter = match read_front_matter(&text) {
        Ok(fields) => CardFrontMatter::Fields(fields),
        Err(reason) => CardFrontMatter::Unreadable(reason),
    };
    Ok(Card::new(text, front_matter).ok())
}

/// Reads what stands between the first line `---` and the next one; nothing when the text begins otherwise.
fn read_front_matter(text: &str) -> std::result::Result<Map<String, Value>, String> {
    let Some(yaml) = front_matter_of(text)? else { return Ok(Map::new()) };
    let budget = serde_saphyr::budget! { max_nodes: 10_000, max_depth: 32, max_documents: 1 };
    let options = serde_saphyr::options! { budget: budget, with_snippet: false };
    let value: Value = serde_saphyr::from_str_with_options(yaml, options).map_err(|error| error.to_string())?;
    check_depth("card", &value).map_err(|error| error.to_string())?;
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        _ => Err("must be a mapping of names to values".to_owned()),
    }
}

fn front_matter_of(text: &str) -> std::result::Result<Option<&str>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n');
    let Some(first) = lines.next().filter(|line| line.trim_end() == "---") else { return Ok(None) };
    let mut end = first.len();
    for line in lines {
        if line.trim_end() == "---" {
            return Ok(Some(&text[first.len()..end]));
        }
        end += line.len();
    }
    Err("begins with `---` but no second line `---` ends it".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn front_matter_becomes_json_and_the_rest_is_text() {
        let cases = [
            ("# 标题\nno front matter", json!({})),
            (
                "---\nlicense: mit\ntags: [农业, 2]\nmodel-index:\n- name: a\n  n: 0.5\n---\n# Title\n---\n",
                json!({"license": "mit", "tags": ["农业", 2], "model-index": [{"name": "a", "n": 0.5}]}),
            ),
            ("---\r\nlanguage: zh\r\n---\r\n", json!({"language": "zh"})),
            ("---\n---\ntext", json!({})),
            ("---\n# only a comment\n---", json!({})),
        ];
        for (text, expected) in cases {
            assert_eq!(Value::Object(read_front_matter(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn hostile_or_broken_front_matter_is_refused() {
        let bomb = {
            let mut yaml = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
            for level in 1..12 {
                let previous = format!("*a{}", level - 1);
                yaml += &format!("a{level}: &a{level} [{}]\n", [previous.as_str(); 9].join(", "));
            }
            yaml
        };
        let deep = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
        for yaml in [bomb.as_str(), &deep, "- a\n- b", "a: [", "a: 1\na: 2", "just text"] {
            assert!(read_front_matter(&format!("---\n{yaml}\n---\n")).is_err(), "{}", &yaml[..yaml.len().min(60)]);
        }
        assert!(read_front_matter("---\na: 1\n").unwrap_err().contains("second line"));
    }
}
