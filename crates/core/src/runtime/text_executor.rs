//! The port of a language model at work: several sequences, each a growing list of tokens, advanced together.
//!
//! ```text
//! open ──> step, step, … ──> close        fork: a further sequence that begins with the tokens of another
//!                                         truncate: the last tokens are taken back
//! ```

use crate::Result;

/// Names a sequence of one executor; never given out twice by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Runs sequences of one model, several in a step. Owned by one thread.
///
/// What a sequence answers depends on its own tokens alone: not on what else is in a step, nor on how its tokens are
/// spread over steps, nor on whether it was forked.
///
/// Methods that take a [`SequenceId`] and return no `Result` panic when it is not open: only the caller can have closed it.
pub trait TextExecutor: Send {
    /// Starts an empty sequence.
    ///
    /// # Errors
    /// [`Error::Exhausted`](crate::Error::Exhausted) when no further sequence can be kept.
    fn open(&mut self) -> Result<SequenceId>;

    /// Starts a sequence that begins with the first `length` tokens of `parent`. What can be shared is.
    ///
    /// # Errors
    /// [`Error::Exhausted`](crate::Error::Exhausted) when the cache has no room for what cannot be shared, and
    /// [`Error::Invalid`](crate::Error::Invalid) when the parent is shorter than `length`.
    fn fork(&mut self, parent: SequenceId, length: usize) -> Result<SequenceId>;

    /// Takes back all but the first `length` tokens; a shorter sequence stays as it is.
    fn truncate(&mut self, sequence: SequenceId, length: usize);

    /// Ends a sequence and frees what no other shares.
    fn close(&mut self, sequence: SequenceId);

    /// Returns how many tokens a sequence has.
    fn length(&self, sequence: SequenceId) -> usize;

    /// Appends tokens to sequences and returns the logits that were asked for.
    ///
    /// After an error nothing has changed.
    ///
    /// # Errors
    /// [`Error::Exhausted`](crate::Error::Exhausted) when the cache has no room for all parts together;
    /// [`Error::Invalid`](crate::Error::Invalid) when a part has no tokens, an id outside the vocabulary or more than the
    /// context holds, or when a sequence is not open or stands in two parts.
    fn step(&mut self, parts: &[StepPart<'_>]) -> Result<Logits<'_>>;

    /// Returns how many more tokens the cache takes: for an executor without sequences, all it ever takes.
    ///
    /// A figure to plan with: where tokens are stored in blocks, a step of many sequences may need more room than it has
    /// tokens. What decides is the answer of [`step`](TextExecutor::step).
    fn free_tokens(&self) -> usize;
}

/// What one sequence does in a step.
#[derive(Debug, Clone, Copy)]
pub struct StepPart<'t> {
    /// The sequence.
    pub sequence: SequenceId,
    /// What is appended to it.
    pub tokens: &'t [u32],
    /// Which logits are wanted.
    pub wanted: Wanted,
}

/// Which logits of a [`StepPart`] are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// None: more of the prompt follows.
    None,
    /// Those that follow the last token.
    Last,
    /// Those that follow each token.
    All,
}

impl Wanted {
    /// Returns how many rows a part of that many tokens gives.
    pub fn rows(self, tokens: usize) -> usize {
        match self {
            Wanted::None => 0,
            Wanted::Last => tokens.min(1),
            Wanted::All => tokens,
        }
    }
}

/// Rows of raw logits, one after the other in the order of the parts.
#[derive(Debug, Clone, Copy)]
pub struct Logits<'l> {
    values: &'l [f32],
    width: usize,
}

impl<'l> Logits<'l> {
    /// Returns rows of `width` values, the size of the model's vocabulary.
    pub fn new(values: &'l [f32], width: usize) -> Logits<'l> {
        Logits { values, width }
    }

    /// Returns the rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'l [f32]> + use<'l> {
        self.values.chunks(self.width.max(1))
    }

    /// Returns a row.
    ///
    /// # Panics
    /// When there are not that many.
    pub fn row(&self, index: usize) -> &'l [f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }

    /// Returns how many rows there are.
    pub fn row_count(&self) -> usize {
        self.values.len() / self.width.max(1)
    }
}
