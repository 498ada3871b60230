//! Sequences that are over but may be the beginning of another: kept until their room is needed, the longest unused first.

use seedhouse_core::runtime::{SequenceId, TextExecutor};

/// Comparing a prompt with each of more would cost more than it finds.
const MOST: usize = 64;
/// Fewer tokens are computed as quickly as they are found.
pub(super) const LEAST: usize = 4;

/// The sequences that nobody advances, the longest unused in front.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    kept: Vec<Prefix>,
}

#[derive(Debug)]
struct Prefix {
    tokens: Vec<u32>,
    sequence: SequenceId,
}

impl Prefixes {
    /// Returns the sequence that shares the most tokens with the beginning of `tokens`, and how many.
    pub(super) fn best(&self, tokens: &[u32]) -> Option<(SequenceId, usize)> {
        let shared = |prefix: &Prefix| (prefix.sequence, common(&prefix.tokens, tokens));
        self.kept.iter().map(shared).max_by_key(|(_, shared)| *shared)
    }

    /// Notes that a sequence was of use.
    pub(super) fn touch(&mut self, sequence: SequenceId) {
        if let Some(index) = self.kept.iter().position(|prefix| prefix.sequence == sequence) {
            self.kept[index..].rotate_left(1);
        }
    }

    /// Takes over a sequence of these tokens. Of two where one begins with the other only the longer one stays.
    pub(super) fn keep(&mut self, executor: &mut dyn TextExecutor, sequence: SequenceId, tokens: Vec<u32>) {
        let is_known = self.kept.iter().any(|prefix| prefix.tokens.starts_with(&tokens));
        if tokens.len() < LEAST || is_known {
            executor.close(sequence);
            return;
        }
        let covered = |prefix: &Prefix| tokens.starts_with(&prefix.tokens);
        self.kept.retain(|prefix| {
            let stays = !covered(prefix);
            if !stays {
                executor.close(prefix.sequence);
            }
            stays
        });
        self.kept.push(Prefix { tokens, sequence });
        if self.kept.len() > MOST {
            self.evict(executor);
        }
    }

    /// Gives up the longest unused sequence and returns whether there was one.
    pub(super) fn evict(&mut self, executor: &mut dyn TextExecutor) -> bool {
        if self.kept.is_empty() {
            return false;
        }
        executor.close(self.kept.remove(0).sequence);
        true
    }

    /// Hands a sequence over to be used and shortened by the caller.
    pub(super) fn take(&mut self, sequence: SequenceId) -> Option<SequenceId> {
        let index = self.kept.iter().position(|prefix| prefix.sequence == sequence)?;
        Some(self.kept.remove(index).sequence)
    }

    /// Returns how many tokens would be free without them, or fewer where they share.
    pub(super) fn tokens(&self) -> usize {
        self.kept.iter().map(|prefix| prefix.tokens.len()).sum()
    }
}

/// Returns how many tokens both begin with.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
