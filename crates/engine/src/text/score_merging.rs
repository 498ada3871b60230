//! Byte-pair encoding by scores, as llama.cpp encodes with SentencePiece models (`llm_tokenizer_spm` of llama-vocab.cpp): a text is
//! cut into characters, and again and again the two neighbours become one whose token has the highest score, the leftmost of
//! equals. What is no token in the end is written byte by byte.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use seedhouse_core::runtime::TokenizerModel;
use seedhouse_core::{Error, Result};

use super::control_tokens::{ControlTokens, Piece};

const SPACE: &str = "▁";

/// Encodes with scores.
pub(super) struct ScoreMerging {
    ids: HashMap<String, u32>,
    scores: Vec<f32>,
    /// The ids of the 256 bytes, or nothing when some have no token.
    bytes: Option<[u32; 256]>,
    add_space: bool,
    added: ControlTokens,
}

/// A piece of the text, and its neighbours.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    /// 0 when it has become a part of the one before it.
    length: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that make a token.
#[derive(PartialEq)]
struct Merge {
    score: f32,
    left: usize,
    right: usize,
    /// How long both were together when the merge was found; if that has changed, it is void.
    length: usize,
}

impl Eq for Merge {}

impl Ord for Merge {
    fn cmp(&self, other: &Merge) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Merge {
    fn partial_cmp(&self, other: &Merge) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ScoreMerging {
    /// Builds the tables. Control and added tokens are no part of them. The caller has checked all ids.
    ///
    /// # Errors
    /// [`Error::Malformed`] when tables do not fit each other.
    pub(super) fn new(model: &TokenizerModel, added: ControlTokens) -> Result<ScoreMerging> {
        let TokenizerModel::ScoredBpe { tokens, scores, bytes, add_space, .. } = model else {
            return Err(Error::Internal("only tokenizers with scores are built from scores".into()));
        };
        let malformed = |reason: String| Error::malformed("the tokenizer", reason);
        if scores.len() != tokens.len() {
            return Err(malformed(format!("it has {} tokens, but {} scores", tokens.len(), scores.len())));
        }
        if let Some(id) = scores.iter().position(|score| score.is_nan()) {
            return Err(malformed(format!("the score of token {id} is no number")));
        }
        if let Some(id) = bytes.iter().find(|id| **id as usize >= tokens.len()) {
            return Err(malformed(format!("the token of a byte is {id}, but it has {} tokens", tokens.len())));
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in (0..).zip(tokens) {
            ids.insert(token.clone(), id);
        }
        let whole = model.control().iter().chain(model.added()).map(|id| &tokens[*id as usize]);
        for token in whole.chain(bytes.iter().map(|id| &tokens[*id as usize])) {
            ids.remove(token);
        }
        Ok(ScoreMerging {
            ids,
            scores: scores.clone(),
            bytes: <[u32; 256]>::try_from(&bytes[..]).ok(),
            add_space: *add_space,
            added,
        })
    }

    /// Appends the ids of a text without control tokens.
    pub(super) fn encode_text(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        for piece in self.added.split(text) {
            match piece {
                Piece::Text(text) => self.encode_piece(text, ids)?,
                Piece::Control(id) => ids.push(id),
            }
        }
        Ok(())
    }

    fn encode_piece(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let text = match self.add_space {
            true => format!("{SPACE}{}", text.replace(' ', SPACE)),
            false => text.replace(' ', SPACE),
        };
        let symbols = self.merged(&text);
        let mut place = symbols.first().map(|_| 0);
        while let Some(index) = place {
            let Symbol { start, length, next, .. } = symbols[index];
            let symbol = &text[start..start + length];
            match (self.ids.get(symbol), &self.bytes) {
                (Some(id), _) => ids.push(*id),
                (None, Some(bytes)) => ids.extend(symbol.bytes().map(|byte| bytes[usize::from(byte)])),
                (None, None) => {
                    let rule = "must not contain this text: the vocabulary has no token for it";
                    return Err(Error::invalid("prompt", symbol.escape_unicode(), rule));
                }
            }
            place = next;
        }
        Ok(())
    }

    /// Merges until no two neighbours make a token. The first symbol stays the first.
    fn merged(&self, text: &str) -> Vec<Symbol> {
        let mut symbols = characters(text);
        let mut merges = BinaryHeap::new();
        let found = |symbols: &[Symbol], left: Option<usize>, right: Option<usize>| -> Option<Merge> {
            let (left, right) = (left?, right?);
            let length = symbols[left].length + symbols[right].length;
            let id = *self.ids.get(&text[symbols[left].start..][..length])?;
            Some(Merge { score: self.scores[id as usize], left, right, length })
        };
        for right in 1..symbols.len() {
            merges.extend(found(&symbols, Some(right - 1), Some(right)));
        }
        while let Some(Merge { left, right, length, .. }) = merges.pop() {
            let (first, second) = (symbols[left], symbols[right]);
            if first.length == 0 || second.length == 0 || first.length + second.length != length {
                continue;
            }
            symbols[left] = Symbol { length, next: second.next, ..first };
            symbols[right].length = 0;
            if let Some(next) = second.next {
                symbols[next].previous = Some(left);
            }
            merges.extend(found(&symbols, first.previous, Some(left)));
            merges.extend(found(&symbols, Some(left), second.next));
        }
        symbols
    }
}

fn characters(text: &str) -> Vec<Symbol> {
    let count = text.chars().count();
    let symbol = |(index, (start, character)): (usize, (usize, char))| Symbol {
        start,
        length: character.len_utf8(),
        previous: index.checked_sub(1),
        next: Some(index + 1).filter(|next| *next < count),
    };
    text.char_indices().enumerate().map(symbol).collect()
}

#[cfg(test)]
mod tests {
    use seedhouse_core::runtime::TokenizerSpec;

    use super::*;
    use crate::text::tokenizer::{SpecialTokens, TextTokenizer};

    const WORDS: [(&str, f32); 9] = [
        ("<s>", 0.0),
        ("▁", -1.0),
        ("a", -2.0),
        ("b", -3.0),
        ("c", -4.0),
        ("ab", -5.0),
        ("bc", -4.5),
        ("▁a", -6.0),
        ("<tool>", 0.0),
    ];

    fn spec(change: impl FnOnce(&mut Vec<String>, &mut Vec<f32>, &mut Vec<u32>, &mut bool)) -> TokenizerSpec {
        let mut tokens: Vec<String> = WORDS.iter().map(|(token, _)| (*token).to_owned()).collect();
        let mut scores: Vec<f32> = WORDS.iter().map(|(_, score)| *score).collect();
        let mut bytes: Vec<u32> = (9..265).collect();
        tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
        scores.resize(tokens.len(), 0.0);
        let mut add_space = false;
        change(&mut tokens, &mut scores, &mut bytes, &mut add_space);
        TokenizerSpec {
            model: TokenizerModel::ScoredBpe { tokens, scores, bytes, add_space, control: vec![0], added: vec![8] },
            pre_tokenizer: String::new(),
            bos: Some(0),
            eos: None,
            stop: Vec::new(),
            add_bos: true,
        }
    }

    fn encode(spec: &TokenizerSpec, text: &str) -> Vec<u32> {
        TextTokenizer::new(spec).unwrap().encode(text, SpecialTokens::Ignore).unwrap()
    }

    #[test]
    fn highest_score_merges_first_and_the_leftmost_of_equals() {
        let plain = spec(|_, _, _, _| {});
        assert_eq!(encode(&plain, "abc"), [2, 6]);
        assert_eq!(encode(&plain, "ab"), [5]);
        assert_eq!(encode(&plain, " ab"), [1, 5]);
        assert_eq!(encode(&plain, " a"), [7]);
        let equal = spec(|_, scores, _, _| scores[6] = scores[5]);
        assert_eq!(encode(&equal, "abc"), [5, 4]);
        assert!(encode(&plain, "").is_empty());
    }

    #[test]
    fn text_without_a_token_is_written_in_bytes_or_refused() {
        assert_eq!(encode(&spec(|_, _, _, _| {}), "aé\n"), [2, 9 + 0xC3, 9 + 0xA9, 9 + 0x0A]);
        let without = TextTokenizer::new(&spec(|_, _, bytes, _| bytes.clear())).unwrap();
        let error = without.encode("aé", SpecialTokens::Ignore).unwrap_err().to_string();
        assert!(error.contains("\\u{e9}"), "{error}");
    }

    #[test]
    fn special_tokens_are_text_unless_matched_and_added_ones_stay_whole() {
        let spaced = spec(|_, _, _, add_space| *add_space = true);
        let tokenizer = TextTokenizer::new(&spaced).unwrap();
        assert_eq!(tokenizer.encode("<s>a<tool>", SpecialTokens::Match).unwrap(), [0, 7, 8]);
        let text: Vec<u32> = [1].into_iter().chain("<s>".bytes().map(|byte| 9 + u32::from(byte))).collect();
        assert_eq!(encode(&spaced, "<s>"), text);
        assert_eq!(encode(&spaced, "<0x41>").len(), 7, "names of bytes are text too");
    }

    #[test]
    fn tables_of_other_lengths_are_refused() {
        for (broken, expected) in [
            (spec(|_, scores, _, _| scores.truncate(264)), "it has 265 tokens, but 264 scores"),
            (spec(|_, _, bytes, _| bytes[7] = 999), "the token of a byte is 999, but it has 265 tokens"),
            (spec(|_, scores, _, _| scores[3] = f32::NAN), "the score of token 3 is no number"),
        ] {
            let error = TextTokenizer::new(&broken).err().expect(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn long_texts_take_no_quadratic_time() {
        let plain = spec(|_, _, _, _| {});
        assert_eq!(encode(&plain, &"ab".repeat(200_000)).len(), 200_000);
    }
}
