//! Model cards: Markdown for people, with a front matter for programs. What a card says is a claim, all of it.

use serde_json::{Map, Value};

use crate::{Error, Record, Result};

/// The fields of a record that hold a card: its text, what the front matter says, or why it cannot be read.
const FIELDS: [&str; 3] = ["card", "card_data", "card_unreadable"];

/// A text of Markdown and what its YAML front matter says.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    text: String,
    front_matter: CardFrontMatter,
}

/// The front matter of a card, parsed.
#[derive(Debug, Clone, PartialEq)]
pub enum CardFrontMatter {
    /// What it says; empty for a card without one.
    Fields(Map<String, Value>),
    /// Why it cannot be read. Only cards that came as a file of a version may have such: files are taken as they are.
    Unreadable(String),
}

impl Card {
    /// The longest card in bytes. Longer documents belong among the files of a version.
    pub const LONGEST_BYTES: usize = 65_536;

    /// Makes a card of its text and its front matter.
    ///
    /// # Errors
    /// [`Error::TooLarge`] naming both lengths; [`Error::Invalid`] for control characters that could rewrite a terminal.
    pub fn new(text: String, front_matter: CardFrontMatter) -> Result<Card> {
        if text.len() > Card::LONGEST_BYTES {
            let (size, limit) = (format!("{} bytes", text.len()), format!("{} bytes", Card::LONGEST_BYTES));
            return Err(Error::TooLarge { what: "the model card".into(), size, limit });
        }
        crate::record::check_text("card", &text, Card::LONGEST_BYTES)?;
        Ok(Card { text, front_matter })
    }

    /// Returns the whole text, front matter included, as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the fields of a record that hold the card.
    pub fn fields(&self) -> Map<String, Value> {
        let [card, card_data, card_unreadable] = FIELDS.map(str::to_owned);
        let mut fields = Map::from_iter([(card, Value::from(self.text.as_str()))]);
        match &self.front_matter {
            CardFrontMatter::Fields(data) if data.is_empty() => {}
            CardFrontMatter::Fields(data) => drop(fields.insert(card_data, Value::Object(data.clone()))),
            CardFrontMatter::Unreadable(reason) => drop(fields.insert(card_unreadable, reason.clone().into())),
        }
        fields
    }
}

impl Record {
    /// Returns the whole text of the model card, if there is one.
    pub fn card(&self) -> Option<&str> {
        self.fields.get("card")?.as_str()
    }

    /// Sets the model card, or removes it.
    pub(crate) fn set_card(&mut self, card: Option<&Card>) {
        FIELDS.iter().for_each(|field| drop(self.fields.shift_remove(*field)));
        self.fields.extend(card.map(Card::fields).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_that_is_too_long_or_could_rewrite_a_terminal_is_refused() {
        let card = |text: String| Card::new(text, CardFrontMatter::Fields(Map::new()));
        let error = card("x".repeat(Card::LONGEST_BYTES + 1)).unwrap_err().to_string();
        assert!(error.contains("65537") && error.contains("65536"), "{error}");
        assert_eq!(card("a\u{1b}[2J".into()).unwrap_err().field(), Some("card"));
        assert_eq!(card("# 小麦\n\tok\r\n".into()).unwrap().text(), "# 小麦\n\tok\r\n");
    }
}
