//! Control tokens such as `<|im_start|>`: found in rendered templates, never taken from what a user wrote.

use std::collections::HashMap;

use seedhouse_core::{Error, Result};

/// No known vocabulary comes near; it bounds the work of a search whatever a file says.
const LONGEST_BYTES: usize = 256;

/// The control tokens of a vocabulary by their text.
#[derive(Debug)]
pub(crate) struct ControlTokens {
    ids: HashMap<String, u32>,
    /// Lengths that occur, longest first.
    lengths: Vec<usize>,
    /// Whether some token starts with this byte.
    starts: [bool; 256],
}

/// A part of a text.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'t> {
    /// Ordinary text, not empty.
    Text(&'t str),
    /// A control token.
    Control(u32),
}

impl ControlTokens {
    /// Tokens without text can never be found and are left out.
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = (u32, &'a str)>) -> Result<ControlTokens> {
        let mut control = ControlTokens { ids: HashMap::new(), lengths: Vec::new(), starts: [false; 256] };
        for (id, text) in tokens {
            let Some(&first) = text.as_bytes().first() else { continue };
            if text.len() > LONGEST_BYTES {
                let reason =
                    format!("control token {id} has {} bytes, but at most {LONGEST_BYTES} are allowed", text.len());
                return Err(Error::malformed("the tokenizer", reason));
            }
            control.starts[usize::from(first)] = true;
            control.lengths.push(text.len());
            control.ids.insert(text.to_owned(), id);
        }
        control.lengths.sort_unstable_by(|a, b| b.cmp(a));
        control.lengths.dedup();
        Ok(control)
    }

    /// Returns the first control token's text within `text`, the longest where several start.
    pub(crate) fn first_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.find(text).map(|(start, length, _)| &text[start..start + length])
    }

    /// Cuts `text` at its control tokens.
    pub(crate) fn split<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((start, length, id)) = self.find(rest) {
            if start > 0 {
                pieces.push(Piece::Text(&rest[..start]));
            }
            pieces.push(Piece::Control(id));
            rest = &rest[start + length..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest));
        }
        pieces
    }

    fn find(&self, text: &str) -> Option<(usize, usize, u32)> {
        let starts = text.bytes().enumerate().filter(|(_, byte)| self.starts[usize::from(*byte)]);
        starts.map(|(start, _)| start).find_map(|start| {
            let at = |&length: &usize| {
                let candidate = text.get(start..start.checked_add(length)?)?;
                self.ids.get(candidate).map(|id| (start, length, *id))
            };
            self.lengths.iter().find_map(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> ControlTokens {
        ControlTokens::new([(1, "<a>"), (2, "<a>b"), (3, "麦"), (4, "")].into_iter()).unwrap()
    }

    #[test]
    fn longest_token_wins_where_several_start() {
        let pieces = control().split("x<a>b<a>麦y");
        let expected = [Piece::Text("x"), Piece::Control(2), Piece::Control(1), Piece::Control(3), Piece::Text("y")];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn text_without_tokens_is_one_piece() {
        assert_eq!(control().split("<a <b> 麥"), [Piece::Text("<a <b> 麥")]);
        assert_eq!(control().split(""), []);
        assert_eq!(control().first_in("a<a>"), Some("<a>"));
    }

    #[test]
    fn overlong_token_is_refused_with_both_lengths() {
        let long = "x".repeat(300);
        let error = ControlTokens::new([(7, long.as_str())].into_iter()).unwrap_err().to_string();
        assert!(error.contains("token 7 has 300 bytes") && error.contains("256"), "{error}");
    }
}
