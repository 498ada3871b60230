//! The executor with the sequences that were left in it.

use std::sync::atomic::AtomicU64;

use seedhouse_core::runtime::{SequenceId, TextExecutor};
use seedhouse_core::{Code, Result};

use super::prefixes::{LEAST, Prefixes, common};
use super::statistics::{Counters, add};
use super::stream::{Lane, Stream};

/// What computes.
pub(super) struct Machine {
    pub(super) executor: Box<dyn TextExecutor>,
    pub(super) prefixes: Prefixes,
    /// How many tokens it takes in all.
    pub(super) capacity: usize,
}

/// A lane whose tokens another one may begin with.
pub(super) struct Holder<'l> {
    tokens: &'l [u32],
    sequence: SequenceId,
    computed: usize,
    /// Whether more of its tokens are computed in this step.
    grows: bool,
}

impl Machine {
    pub(super) fn new(executor: Box<dyn TextExecutor>) -> Machine {
        let capacity = executor.free_tokens();
        Machine { executor, prefixes: Prefixes::default(), capacity }
    }

    /// Returns a sequence for a lane, and how many of its tokens that has already: as many as some other lane or kept sequence
    /// shares. `None` when another lane is about to compute more of them.
    ///
    /// At least the last token is left to be computed: its logits are wanted.
    fn start(&mut self, tokens: &[u32], holders: &[Holder<'_>]) -> Result<Option<(SequenceId, usize)>> {
        let most = tokens.len() - 1;
        let shared = |holder: &Holder<'_>, length: usize| common(&holder.tokens[..length], tokens).min(most);
        let running = holders.iter().map(|holder| (holder.sequence, shared(holder, holder.computed)));
        let running = running.max_by_key(|(_, shared)| *shared).unwrap_or((SequenceId(0), 0));
        let kept =
            self.prefixes.best(tokens).map_or((SequenceId(0), 0), |(sequence, shared)| (sequence, shared.min(most)));
        let growing = holders.iter().filter(|holder| holder.grows);
        let expected = growing.map(|holder| shared(holder, holder.tokens.len())).max().unwrap_or(0);
        if expected >= running.1.max(kept.1) + LEAST {
            return Ok(None);
        }
        if running.1 >= kept.1.max(LEAST)
            && let Some(fork) = self.fork(running.0, running.1)?
        {
            return Ok(Some((fork, running.1)));
        }
        // Forking may have given up what was kept.
        let kept = self.prefixes.best(tokens).map(|(sequence, shared)| (sequence, shared.min(most)));
        if let Some((sequence, length)) = kept.filter(|(_, length)| *length >= LEAST)
            && let Some(own) = self.continue_kept(sequence, length)?
        {
            return Ok(Some((own, length)));
        }
        Ok(Some((self.executor.open()?, 0)))
    }

    /// Shares a kept sequence, or takes it over when there is no room for both.
    fn continue_kept(&mut self, sequence: SequenceId, length: usize) -> Result<Option<SequenceId>> {
        self.prefixes.touch(sequence);
        match self.executor.fork(sequence, length) {
            Ok(fork) => Ok(Some(fork)),
            Err(error) if error.code() == Code::Exhausted => {
                let own = self.prefixes.take(sequence);
                if let Some(own) = own {
                    self.executor.truncate(own, length);
                }
                Ok(own)
            }
            Err(error) => Err(error),
        }
    }

    /// Shares a sequence, giving up kept ones for it; `None` when there is no room even so.
    pub(super) fn fork(&mut self, sequence: SequenceId, length: usize) -> Result<Option<SequenceId>> {
        loop {
            match self.executor.fork(sequence, length) {
                Ok(fork) => return Ok(Some(fork)),
                Err(error) if error.code() == Code::Exhausted => {
                    if !self.prefixes.evict(&mut *self.executor) {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the sequences of a stream back, to be continued by it or by others.
    pub(super) fn shelve(&mut self, stream: &mut Stream) {
        for (sequence, tokens) in stream.lanes.iter_mut().filter_map(Lane::release) {
            self.prefixes.keep(&mut *self.executor, sequence, tokens);
        }
    }

    /// Ends the sequences of a stream. What one answer said may be the beginning of the next prompt; of a beam search the
    /// prompt may be.
    pub(super) fn retire(&mut self, stream: &mut Stream) {
        let is_search = stream.width() > 1;
        let prompt_tokens = stream.prompt_tokens();
        for (index, (sequence, mut tokens)) in stream.lanes.iter_mut().filter_map(Lane::release).enumerate() {
            if is_search && index > 0 {
                self.executor.close(sequence);
                continue;
            }
            if is_search && tokens.len() > prompt_tokens {
                tokens.truncate(prompt_tokens);
                self.executor.truncate(sequence, prompt_tokens);
            }
            self.prefixes.keep(&mut *self.executor, sequence, tokens);
        }
    }

    /// Ends the sequences of a stream for good.
    pub(super) fn close(&mut self, stream: &mut Stream) {
        for (sequence, _) in stream.lanes.iter_mut().filter_map(Lane::release) {
            self.executor.close(sequence);
        }
    }

    /// Gives every running lane without a sequence one, if it need not wait for another lane.
    ///
    /// `is_paused` says which streams do not go on.
    pub(super) fn start_lanes(
        &mut self,
        running: &mut [Stream],
        is_paused: &[bool],
        counters: &Counters,
        shared_by: &mut dyn FnMut(u64, usize),
    ) -> Result<()> {
        for index in 0..running.len() {
            for lane in 0..running[index].lanes.len() {
                if is_paused[index] || running[index].lanes[lane].sequence.is_some() {
                    continue;
                }
                let start = self.start(&running[index].lanes[lane].tokens, &holders(running, is_paused))?;
                let Some((sequence, shared)) = start else { continue };
                let started = &mut running[index].lanes[lane];
                (started.sequence, started.computed) = (Some(sequence), shared);
                count_shared(&counters.prefix_hits, &counters.shared_tokens, shared);
                shared_by(running[index].group, shared);
            }
        }
        Ok(())
    }
}

fn count_shared(hits: &AtomicU64, tokens: &AtomicU64, shared: usize) {
    if shared > 0 {
        add(hits, 1);
        add(tokens, shared);
    }
}

fn holders<'s>(running: &'s [Stream], is_paused: &[bool]) -> Vec<Holder<'s>> {
    let of_stream = |(stream, is_paused): (&'s Stream, &bool)| {
        let is_paused = *is_paused;
        stream.lanes.iter().filter_map(move |lane| {
            let (sequence, grows) = (lane.sequence?, !is_paused && lane.pending() > 1);
            Some(Holder { tokens: &lane.tokens, sequence, computed: lane.computed, grows })
        })
    };
    running.iter().zip(is_paused).flat_map(of_stream).collect()
}
