//! What a text search looks at, and how both sides of it are cut into the tokens of an index. One definition for every
//! adapter, so that they find the same versions.
//!
//! A version matches if every word of the search occurs in its searchable text, anywhere and in any case: inside words, across
//! underscores, at every length. An index answers that with tokens of one, two and three characters:
//!
//! ```text
//! text     小麦resnet    tokens   小 麦 r e s n t · 小麦 麦r re es sn ne et · res esn sne net
//! search   resnet       needs    res esn sne net    then the text itself is looked at, for the order of these
//!          小麦          needs    小麦                one token says it all
//! ```
//!
//! Three characters are too many where one is a word (Chinese, Japanese, Korean): there two are as rare as three letters.

use seedhouse_core::Record;
use serde_json::Value;

/// Keeps a search from matching across the border of two fields: no word contains it.
const BORDER: char = '\n';

/// What lies beyond is not found by text.
pub(crate) const INDEXED_TEXT_BYTES: usize = 16 * 1024;

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
        other => other,
    };
    text.chars().map(fold).flat_map(char::to_lowercase).collect()
}

/// One, two or three characters as a number, 21 bits each.
pub(crate) type Token = u64;

/// Returns the tokens under which a searchable text is found, in ascending order.
pub(crate) fn tokens_of_text(text: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(text.len() * 2);
    let mut characters = Vec::new();
    for run in text.split_whitespace() {
        characters.clear();
        characters.extend(run.chars());
        for length in 1..=3 {
            let windows = characters.windows(length).filter(|window| length < 3 || is_alphabetic(window));
            tokens.extend(windows.map(token));
        }
    }
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

/// The tokens that every text with a word has.
pub(crate) struct Cover {
    /// At least one, in ascending order.
    pub(crate) tokens: Vec<Token>,
    /// Whether every text with these tokens has the word, so that the text itself need not be looked at.
    pub(crate) is_exact: bool,
}

/// Returns the longest tokens at every place of a word, which must not be empty. All of them rather than a few that reach over
/// the word: hardly a text has them all and not the word.
pub(crate) fn cover(word: &str) -> Cover {
    let characters: Vec<char> = word.chars().collect();
    let mut tokens: Vec<Token> = match characters.len() {
        1 | 2 => vec![token(&characters)],
        _ => characters.windows(3).flat_map(longest_tokens).collect(),
    };
    tokens.sort_unstable();
    tokens.dedup();
    Cover { is_exact: characters.len() < 3 || characters.len() == 3 && is_alphabetic(&characters), tokens }
}

fn longest_tokens(window: &[char]) -> Vec<Token> {
    if is_alphabetic(window) { vec![token(window)] } else { vec![token(&window[..2]), token(&window[1..])] }
}

fn token(characters: &[char]) -> Token {
    characters.iter().fold(0, |token, character| token << 21 | u64::from(*character))
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
            ("小麦病", vec!["小麦", "麦病"], false),
            ("v", vec!["v"], true),
            ("net", vec!["net"], true),
            ("resnet", vec!["res", "esn", "sne", "net"], false),
            ("aaaa", vec!["aaa"], false),
            ("小小小", vec!["小小"], false),
            ("a麦", vec!["a麦"], true),
            ("ab麦", vec!["ab", "b麦"], false),
        ] {
            let cover = cover(word);
            let mut expected: Vec<Token> =
                tokens.iter().map(|text| token(&text.chars().collect::<Vec<char>>())).collect();
            expected.sort_unstable();
            assert_eq!((cover.tokens, cover.is_exact), (expected, is_exact), "{word}");
        }
    }

    proptest! {
        #[test]
        fn every_part_of_a_text_is_covered_by_its_tokens(text in "[a-cA-C_%小麦分İß 1]{1,12}", from in 0..12usize, length in 1..8usize) {
            let part: String = text.chars().skip(from).take(length).collect();
            let text = folded(&text);
            let tokens = tokens_of_text(&text);
            for word in words(&part) {
                prop_assert!(text.contains(&word));
                for token in cover(&word).tokens {
                    prop_assert!(tokens.contains(&token), "{word} in {text}");
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
