//! What a text search looks at, and how both sides of it are cut into the tokens of an index. One definition for every
//! adapter, so that they find the same versions.
//!
//! A version matches if every word of the search occurs in its searchable text, anywhere and in any case: inside words, across
//! underscores, at every length. An index answers that with tokens of one, two and three characters:
//!
//! ```text
//! text     小麦resnet    tokens   小 麦 r e s n t · 小麦 麦r re es sn ne et · res esn sne net
//! search   resnet       needs    res net            then the text itself is looked at, for the order of the two
//!          小麦          needs    小麦                one token says it all
//! ```
//!
//! Three characters are too many where one is a word (Chinese, Japanese, Korean): there two are as rare as three letters.

use std::collections::BTreeSet;

use seedhouse_core::Record;
use serde_json::Value;

/// Keeps a search from matching across the border of two fields: no word contains it.
const BORDER: char = '\n';

/// What lies beyond is not found by text.
pub(crate) const INDEXED_TEXT_BYTES: usize = 16 * 1024;

/// Where tokens put ASCII characters that the index would take as separators or fold.
const PRIVATE: u32 = 0xf000;

/// Begins tokens that are not part of the text.
const LABEL: char = '\u{f000}';

/// Returns the searchable text of a record: id, name, type, tags and description, in lower case.
pub(crate) fn search_text(record: &Record) -> String {
    let mut text = folded(record.model_id.as_str());
    let mut add = |part: &str| {
        if text.len() < INDEXED_TEXT_BYTES {
            text.push(BORDER);
            text.push_str(&folded(part));
        }
    };
    add(&record.name);
    add(record.model_type.as_str());
    match record.fields.get("tags") {
        Some(Value::Object(tags)) => tags.iter().for_each(|(name, value)| {
            add(name);
            value.as_str().into_iter().for_each(&mut add);
        }),
        Some(Value::Array(tags)) => tags.iter().filter_map(Value::as_str).for_each(&mut add),
        _ => {}
    }
    add(record.description());
    text.truncate(text.floor_char_boundary(INDEXED_TEXT_BYTES));
    text
}

/// Returns the words of a search, as they stand in a [`search_text`] that matches.
pub(crate) fn words(text: &str) -> Vec<String> {
    folded(text).split_whitespace().map(str::to_owned).collect()
}

/// Lower case, character by character, so that a part of a text folds to a part of the folded text.
fn folded(text: &str) -> String {
    let fold = |character: char| match character {
        control if control.is_control() || control.is_whitespace() => ' ',
        private if is_private(private) => char::REPLACEMENT_CHARACTER,
        other => other,
    };
    text.chars().map(fold).flat_map(char::to_lowercase).collect()
}

/// Returns the tokens under which a searchable text is found.
pub(crate) fn tokens_of_text(text: &str) -> BTreeSet<String> {
    let mut tokens = BTreeSet::new();
    for run in text.split_whitespace() {
        let characters: Vec<char> = run.chars().collect();
        for length in 1..=3 {
            let windows = characters.windows(length).filter(|window| length < 3 || is_alphabetic(window));
            tokens.extend(windows.map(token));
        }
    }
    tokens
}

/// The tokens that every text with a word has.
pub(crate) struct Cover {
    /// At least one.
    pub(crate) tokens: Vec<String>,
    /// Whether every text with these tokens has the word, so that the text itself need not be looked at.
    pub(crate) is_exact: bool,
}

/// Returns tokens that together reach over a whole word, which must not be empty.
pub(crate) fn cover(word: &str) -> Cover {
    let characters: Vec<char> = word.chars().collect();
    let mut tokens = Vec::new();
    let mut rest = &characters[..];
    while !rest.is_empty() {
        let length = match rest.len() {
            3.. if is_alphabetic(&rest[..3]) => 3,
            2.. => 2,
            _ => 1,
        };
        let tail = &rest[length..];
        tokens.push(last_token(&characters[..characters.len() - tail.len()]));
        rest = tail;
    }
    Cover { is_exact: tokens.len() == 1, tokens }
}

/// Returns the longest indexed token at the end of a word: the longer, the rarer.
fn last_token(characters: &[char]) -> String {
    let last = |length: usize| characters.len().checked_sub(length).map(|from| &characters[from..]);
    let window = last(3).filter(|window| is_alphabetic(window)).or_else(|| last(2)).unwrap_or(characters);
    token(window)
}

/// Returns the token that stands for a label and its value, or `None` if the value cannot stand in one.
pub(crate) fn label_token(label: &str, value: &str) -> Option<String> {
    const LONGEST_VALUE_BYTES: usize = 64;
    if value.len() > LONGEST_VALUE_BYTES || value.chars().any(is_private) {
        return None;
    }
    let rest: Vec<char> = label.chars().chain([':']).chain(value.chars()).collect();
    Some(format!("{LABEL}{}", token(&rest)))
}

/// The index takes letters and digits and everything beyond ASCII as part of a token.
fn token(characters: &[char]) -> String {
    let map = |character: &char| match character {
        'a'..='z' | '0'..='9' => *character,
        ascii if ascii.is_ascii() => char::from_u32(PRIVATE + u32::from(*ascii)).expect("a private character"),
        other => *other,
    };
    characters.iter().map(map).collect()
}

fn is_private(character: char) -> bool {
    (PRIVATE..PRIVATE + 0x80).contains(&u32::from(character))
}

/// Returns whether none of the characters is a word by itself.
fn is_alphabetic(characters: &[char]) -> bool {
    !characters.iter().any(|character| {
        matches!(u32::from(*character),
            0x2e80..=0x9fff | 0xa960..=0xa97f | 0xac00..=0xd7ff | 0xf900..=0xfaff | 0xff66..=0xff9f | 0x20000..=0x3ffff)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_reach_over_every_word() {
        for (word, tokens, is_exact) in [
            ("麦", vec!["麦"], true),
            ("小麦", vec!["小麦"], true),
            ("小麦分类", vec!["小麦", "分类"], false),
            ("小麦病", vec!["小麦", "麦病"], false),
            ("v", vec!["v"], true),
            ("net", vec!["net"], true),
            ("resnet", vec!["res", "net"], false),
            ("resnet5", vec!["res", "net", "et5"], false),
            ("resn", vec!["res", "esn"], false),
            ("a麦", vec!["a麦"], true),
        ] {
            let cover = cover(word);
            assert_eq!(
                (cover.tokens, cover.is_exact),
                (tokens.into_iter().map(String::from).collect(), is_exact),
                "{word}"
            );
        }
    }

    #[test]
    fn labels_keep_case_and_are_no_text() {
        let [small, large] = ["vision", "Vision"].map(|value| label_token("t", value).unwrap());
        assert_ne!(small, large);
        assert!(small.starts_with(LABEL));
        assert_eq!(label_token("t", "\u{f041}"), None, "it would look like `A`");
        assert_eq!(label_token("t", &"长".repeat(30)), None);
    }

    proptest! {
        #[test]
        fn every_part_of_a_text_is_covered_by_its_tokens(text in "[a-cA-C_%小麦分İß 1\u{f041}]{1,12}", from in 0..12usize, length in 1..8usize) {
            let part: String = text.chars().skip(from).take(length).collect();
            let text = folded(&text);
            let tokens = tokens_of_text(&text);
            for word in words(&part) {
                prop_assert!(text.contains(&word));
                for token in cover(&word).tokens {
                    prop_assert!(tokens.contains(&token), "{token} of {word} in {text}");
                }
            }
        }

        #[test]
        fn exact_tokens_lie_about_no_text(text in "[ab小麦_ ]{0,10}", word in "[ab小麦_]{1,3}") {
            let cover = cover(&word);
            if cover.is_exact {
                prop_assert_eq!(tokens_of_text(&text).contains(&cover.tokens[0]), text.contains(&word));
            }
        }
    }
}
