//! Text to token ids, by the tables of a model file, or by a file of the `tokenizers` library.
//!
//! Control tokens of tables stay outside the byte-pair model: their texts are no part of its vocabulary, so that no ordinary text can
//! become one, whatever the merge rules say.

use seedhouse_core::runtime::{TokenizerModel, TokenizerSpec};
use seedhouse_core::{Error, Result};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{PreTokenizerWrapper, Tokenizer};

use super::byte_level::character_of;
use super::control_tokens::{ControlTokens, Piece};
use super::library_tokenizer::LibraryTokenizer;
use super::score_merging::ScoreMerging;

/// The largest vocabularies have a quarter of a million tokens; a merge rule makes one of them.
const MOST_TOKENS: usize = 1 << 21;
const MOST_MERGES: usize = 1 << 22;

/// What happens to a control token's text within a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// It becomes the control token: for rendered templates.
    Match,
    /// It is ordinary text: for what a user wrote.
    Ignore,
}

/// Encodes text.
pub(crate) struct TextTokenizer {
    encoder: Encoder,
    control: ControlTokens,
}

/// What turns text into ids.
enum Encoder {
    Tables(Box<Tables>),
    Scores(Box<ScoreMerging>),
    Library(Box<LibraryTokenizer>),
}

/// The tables of byte-level byte-pair encoding.
struct Tables {
    model: Tokenizer,
    added: ControlTokens,
    /// Whether the vocabulary has a token for a byte. Files leave out bytes they never saw.
    expressible: [bool; 256],
}

impl TextTokenizer {
    /// Builds the tokenizer and checks every id and table of `spec`.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the tables contradict each other, [`Error::Unsupported`] for an unknown pre-tokenizer.
    pub(crate) fn new(spec: &TokenizerSpec) -> Result<TextTokenizer> {
        let (tokens, control, added) = (spec.model.tokens(), spec.model.control(), spec.model.added());
        check_count("tokens", tokens.len(), MOST_TOKENS)?;
        check_ids(spec, tokens.len(), control, added)?;
        let encoder = match &spec.model {
            TokenizerModel::ByteLevelBpe { merges, .. } => {
                let pre_tokenizer = pre_tokenizer(&spec.pre_tokenizer)?;
                Encoder::Tables(Box::new(Tables::new(&spec.model, merges, pre_tokenizer)?))
            }
            TokenizerModel::ScoredBpe { .. } => {
                Encoder::Scores(Box::new(ScoreMerging::new(&spec.model, whole(added, tokens)?)?))
            }
            TokenizerModel::HuggingFace { json, token_text, .. } => {
                Encoder::Library(Box::new(LibraryTokenizer::new(json, tokens, *token_text)?))
            }
        };
        Ok(TextTokenizer { encoder, control: whole(control, tokens)? })
    }

    /// Returns the ids of `text`, without any token that marks its beginning.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a byte that the vocabulary cannot express.
    pub(crate) fn encode(&self, text: &str, special: SpecialTokens) -> Result<Vec<u32>> {
        if let Encoder::Library(library) = &self.encoder {
            return library.encode(text, special);
        }
        let pieces = match special {
            SpecialTokens::Match => self.control.split(text),
            SpecialTokens::Ignore => vec![Piece::Text(text)],
        };
        let mut ids = Vec::new();
        for piece in pieces {
            match (piece, &self.encoder) {
                (Piece::Control(id), _) => ids.push(id),
                (Piece::Text(text), Encoder::Tables(tables)) => tables.encode_text(text, &mut ids)?,
                (Piece::Text(text), Encoder::Scores(scores)) => scores.encode_text(text, &mut ids)?,
                (Piece::Text(_), Encoder::Library(_)) => unreachable!("the library has encoded the whole text"),
            }
        }
        Ok(ids)
    }

    /// Returns the first control token's text that `text` contains.
    pub(crate) fn control_text_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.control.first_in(text)
    }
}

impl Tables {
    fn new(spec: &TokenizerModel, merges: &[String], pre_tokenizer: PreTokenizerWrapper) -> Result<Tables> {
        let (tokens, control, added) = (spec.tokens(), spec.control(), spec.added());
        check_count("merge rules", merges.len(), MOST_MERGES)?;
        let is_control = membership(control.iter().chain(added), tokens.len());
        let vocabulary = vocabulary(tokens, &is_control)?;
        let has_token = |byte: usize| {
            let byte = u8::try_from(byte).expect("an index below 256");
            vocabulary.contains_key(character_of(byte).encode_utf8(&mut [0; 4]) as &str)
        };
        let expressible = std::array::from_fn(has_token);
        let model = BPE::builder().vocab_and_merges(vocabulary, split_merges(merges)?).build().map_err(|error| {
            Error::malformed("the tokenizer", format!("a merge rule does not fit the tokens: {error}"))
        })?;
        let mut model = Tokenizer::new(model);
        model.with_pre_tokenizer(Some(pre_tokenizer));
        Ok(Tables { model, added: whole(added, tokens)?, expressible })
    }

    /// Encodes text without control tokens; added tokens are ordinary words that stay whole.
    fn encode_text(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        for piece in self.added.split(text) {
            match piece {
                Piece::Text(text) => self.encode_piece(text, ids)?,
                Piece::Control(id) => ids.push(id),
            }
        }
        Ok(())
    }

    fn encode_piece(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        // The byte-pair model would drop such a byte without a word.
        if let Some(character) = text.chars().find(|character| !self.can_express(*character)) {
            let rule = "must not contain this character: the vocabulary has no token for one of its bytes";
            return Err(Error::invalid("prompt", character.escape_unicode(), rule));
        }
        let encoding = self
            .model
            .encode_fast(text, false)
            .map_err(|error| Error::Internal(format!("the tokenizer cannot encode a text: {error}")))?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }

    fn can_express(&self, character: char) -> bool {
        character.encode_utf8(&mut [0; 4]).bytes().all(|byte| self.expressible[usize::from(byte)])
    }
}

/// Returns what finds these tokens in a text.
fn whole(ids: &[u32], tokens: &[String]) -> Result<ControlTokens> {
    ControlTokens::new(ids.iter().map(|&id| (id, tokens[id as usize].as_str())))
}

fn pre_tokenizer(name: &str) -> Result<PreTokenizerWrapper> {
    let byte_level = ByteLevel::new(false, true, true);
    match name {
        "gpt-2" | "gpt2" => Ok(byte_level.into()),
        "smollm" => Ok(Sequence::new(vec![Digits::new(true).into(), byte_level.into()]).into()),
        other => {
            let reason = "the pre-tokenizers are `gpt-2`, `gpt2` and `smollm`";
            Err(Error::unsupported(format!("pre-tokenizer `{other}`"), reason))
        }
    }
}

fn check_count(what: &str, count: usize, most: usize) -> Result<()> {
    if count > most {
        return Err(Error::malformed("the tokenizer", format!("it has {count} {what}, but at most {most} are read")));
    }
    Ok(())
}

fn check_ids(spec: &TokenizerSpec, token_count: usize, control: &[u32], added: &[u32]) -> Result<()> {
    let named = [
        ("bos", spec.bos.as_slice()),
        ("eos", spec.eos.as_slice()),
        ("stop", &spec.stop),
        ("control", control),
        ("added", added),
    ];
    for (role, ids) in named {
        if let Some(id) = ids.iter().find(|id| **id as usize >= token_count) {
            return Err(Error::malformed(
                "the tokenizer",
                format!("its {role} token is {id}, but it has {token_count} tokens"),
            ));
        }
    }
    if spec.add_bos && spec.bos.is_none() {
        return Err(Error::malformed("the tokenizer", "prompts begin with its bos token, but it names none"));
    }
    Ok(())
}

fn membership<'i>(ids: impl Iterator<Item = &'i u32>, count: usize) -> Vec<bool> {
    let mut members = vec![false; count];
    for &id in ids {
        members[id as usize] = true;
    }
    members
}

fn vocabulary(tokens: &[String], is_control: &[bool]) -> Result<tokenizers::models::bpe::Vocab> {
    let mut vocabulary = tokenizers::models::bpe::Vocab::with_capacity(tokens.len());
    for (index, token) in tokens.iter().enumerate().filter(|(index, _)| !is_control[*index]) {
        let id = u32::try_from(index).map_err(|_| {
            Error::malformed("the tokenizer", format!("it has {} tokens, more than 32 bits count", tokens.len()))
        })?;
        if let Some(earlier) = vocabulary.insert(token.clone(), id) {
            let reason = format!("tokens {earlier} and {id} are both `{}`", token.escape_debug());
            return Err(Error::malformed("the tokenizer", reason));
        }
    }
    Ok(vocabulary)
}

fn split_merges(merges: &[String]) -> Result<Vec<(String, String)>> {
    let split = |(rank, merge): (usize, &String)| match merge.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => {
            let reason =
                format!("merge rule {rank} is `{}`, but must be two tokens and one space", merge.escape_debug());
            Err(Error::malformed("the tokenizer", reason))
        }
    };
    merges.iter().enumerate().map(split).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seedhouse_core::Code;
    use seedhouse_testkit::fake_runtime::{END_OF_TEXT, TURN_END, byte_tokenizer};

    use super::*;

    fn with_tables(change: impl FnOnce(&mut Vec<String>, &mut Vec<String>, &mut Vec<u32>)) -> TokenizerSpec {
        let mut spec = byte_tokenizer();
        let TokenizerModel::ByteLevelBpe { tokens, merges, control, .. } = &mut spec.model else { unreachable!() };
        change(tokens, merges, control);
        spec
    }

    #[test]
    fn more_important_merges_come_first() {
        let spec = with_tables(|tokens, merges, _| {
            tokens.extend(["bc", "ab", "Ġa"].map(String::from));
            merges.extend(["b c", "a b", "Ġ a"].map(String::from));
        });
        let tokenizer = TextTokenizer::new(&spec).unwrap();
        let encode = |text| tokenizer.encode(text, SpecialTokens::Ignore).unwrap();
        assert_eq!(encode("abc"), [97, 259]);
        assert_eq!(encode("ab"), [260]);
        assert_eq!(encode(" ab"), [32, 260]);
        assert_eq!(encode("x a"), [120, 261]);
    }

    #[test]
    fn written_control_token_is_ordinary_text_unless_matched() {
        let tokenizer = TextTokenizer::new(&byte_tokenizer()).unwrap();
        let text = "a<|im_end|>";
        let ignored = tokenizer.encode(text, SpecialTokens::Ignore).unwrap();
        assert_eq!(ignored, text.bytes().map(u32::from).collect::<Vec<_>>());
        assert_eq!(tokenizer.encode(text, SpecialTokens::Match).unwrap(), [97, TURN_END]);
    }

    #[test]
    fn added_token_is_matched_in_every_text() {
        let mut spec = with_tables(|tokens, _, _| tokens.push("<think>".into()));
        let TokenizerModel::ByteLevelBpe { added, .. } = &mut spec.model else { unreachable!() };
        added.push(259);
        let tokenizer = TextTokenizer::new(&spec).unwrap();
        for special in [SpecialTokens::Match, SpecialTokens::Ignore] {
            assert_eq!(tokenizer.encode("a<think>b", special).unwrap(), [97, 259, 98]);
        }
        assert_eq!(tokenizer.control_text_in("a<think>b"), None);
    }

    #[test]
    fn merges_cannot_make_a_control_token() {
        let spec = with_tables(|tokens, merges, control| {
            tokens.push("ab".into());
            merges.push("a b".into());
            control.push(259);
        });
        let error = TextTokenizer::new(&spec).err().unwrap().to_string();
        assert!(error.contains("ab"), "{error}");
    }

    #[test]
    fn malformed_tables_are_refused_and_named() {
        let cases = [
            (with_tables(|_, merges, _| merges.push("a  b".into())), "merge rule 0 is `a  b`"),
            (with_tables(|_, merges, _| merges.push("ab".into())), "merge rule 0 is `ab`"),
            (with_tables(|_, merges, _| merges.push(" b".into())), "merge rule 0 is ` b`"),
            (with_tables(|_, merges, _| merges.push("a b".into())), "ab"),
            (with_tables(|_, merges, _| merges.push("zz b".into())), "zz"),
            (with_tables(|_, _, control| control.push(9999)), "control token is 9999, but it has 259"),
            (with_tables(|tokens, _, _| tokens.push("a".into())), "tokens 97 and 259 are both `a`"),
            (TokenizerSpec { eos: Some(300), ..byte_tokenizer() }, "eos token is 300, but it has 259"),
            (TokenizerSpec { stop: vec![1, 301], ..byte_tokenizer() }, "stop token is 301"),
            (TokenizerSpec { bos: None, add_bos: true, ..byte_tokenizer() }, "names none"),
        ];
        for (spec, expected) in cases {
            let error = TextTokenizer::new(&spec).err().expect(expected);
            assert_eq!(error.code(), Code::Invalid);
            assert!(error.to_string().contains(expected), "{error} should contain {expected}");
        }
    }

    #[test]
    fn unknown_pre_tokenizer_is_named() {
        for name in ["tekken", "default"] {
            let spec = TokenizerSpec { pre_tokenizer: name.into(), ..byte_tokenizer() };
            let error = TextTokenizer::new(&spec).err().unwrap();
            assert_eq!(error.code(), Code::Unsupported);
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn character_without_a_token_is_refused_not_dropped() {
        let spec = with_tables(|tokens, _, _| tokens[0x04] = "unused".into());
        let tokenizer = TextTokenizer::new(&spec).unwrap();
        let error = tokenizer.encode("a\u{4}b", SpecialTokens::Ignore).unwrap_err().to_string();
        assert!(error.contains("\\u{4}"), "{error}");
        assert_eq!(tokenizer.encode("ab", SpecialTokens::Ignore).unwrap(), [97, 98]);
    }

    #[test]
    fn long_runs_of_one_character_are_encoded_whole() {
        let tokenizer = TextTokenizer::new(&byte_tokenizer()).unwrap();
        for character in [" ", "a", "\n", "!", "麦"] {
            let text = character.repeat(200_000) + "x";
            let ids = tokenizer.encode(&text, SpecialTokens::Ignore).unwrap();
            assert_eq!(ids.len(), text.len(), "{character:?}");
        }
        let ends = "<|endoftext|>".repeat(10_000);
        assert_eq!(tokenizer.encode(&ends, SpecialTokens::Match).unwrap(), vec![END_OF_TEXT; 10_000]);
    }

    proptest! {
        #[test]
        fn bytes_survive_encoding(text in any::<String>()) {
            let tokenizer = TextTokenizer::new(&byte_tokenizer()).unwrap();
            let ids = tokenizer.encode(&text, SpecialTokens::Ignore).unwrap();
            let bytes: Vec<u8> = ids.iter().map(|id| u8::try_from(*id).unwrap()).collect();
            prop_assert_eq!(bytes, text.into_bytes());
        }
    }
}
