//! Patterns of `LIKE`: `%` stands for any text, `_` for one character, `\` takes the next character as it is.

use std::fmt;

/// A pattern, compared case by case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Anything,
    One,
    Character(char),
}

impl Pattern {
    /// Reads a pattern; every text is one.
    pub fn new(text: &str) -> Pattern {
        let mut pieces = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let piece = match character {
                '%' => Piece::Anything,
                '_' => Piece::One,
                '\\' => Piece::Character(characters.next().unwrap_or('\\')),
                other => Piece::Character(other),
            };
            pieces.push(piece);
        }
        Pattern { text: text.to_owned(), pieces }
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the texts that every match contains.
    pub fn literals(&self) -> Vec<String> {
        let chunks = self.pieces.split(|piece| !matches!(piece, Piece::Character(_)));
        let text = |chunk: &[Piece]| {
            let characters = chunk.iter().filter_map(|piece| match piece {
                Piece::Character(character) => Some(*character),
                Piece::Anything | Piece::One => None,
            });
            characters.collect::<String>()
        };
        chunks.map(text).filter(|text| !text.is_empty()).collect()
    }

    /// Returns whether a whole text fits. The effort is at most the product of both lengths: after a mismatch only the
    /// last `%` is tried one character further on.
    pub fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let mut place = 0;
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let before = rest.clone();
            match (self.pieces.get(place), rest.next()) {
                (Some(Piece::Anything), _) => {
                    rest = before.clone();
                    place += 1;
                    retry = Some((place, before));
                    continue;
                }
                (Some(Piece::One), Some(_)) => {
                    place += 1;
                    continue;
                }
                (Some(Piece::Character(wanted)), Some(found)) if *wanted == found => {
                    place += 1;
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            let Some((after_anything, mut from)) = retry.take() else { return false };
            if from.next().is_none() {
                return false;
            }
            place = after_anything;
            rest = from.clone();
            retry = Some((after_anything, from));
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "'{}'", self.text.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_what_they_should() {
        for (pattern, text, expected) in [
            ("resnet%", "resnet50", true),
            ("resnet%", "ResNet50", false),
            ("%net", "resnet", true),
            ("%net", "resnets", false),
            ("r_snet", "resnet", true),
            ("_", "麦", true),
            ("_", "", false),
            ("%", "", true),
            ("%麦%类", "小麦的分类", true),
            ("%a%b%", "xxbxxaxx", false),
            ("%ab%ab", "abxab", true),
            ("%aab", "aaab", true),
            (r"100\%", "100%", true),
            (r"100\%", "1000", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_wildcards_do_not_explode() {
        let pattern = Pattern::new(&"%a".repeat(500));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(1000))));
    }

    #[test]
    fn literals_are_what_every_match_contains() {
        assert_eq!(Pattern::new(r"%res_net\%%x").literals(), ["res", "net%", "x"]);
    }
}
