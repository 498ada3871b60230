//! One step: who takes part with which tokens, and what follows from the logits.

use std::panic::{AssertUnwindSafe, catch_unwind};

use seedhouse_core::runtime::{StepPart, Wanted};
use seedhouse_core::{Code, Error, Result};

use super::machine::Machine;
use super::outlet::Event;
use super::statistics::add;
use super::stream::{Advance, Lane, Stream};
use super::worker::Worker;

/// A part of a step.
#[derive(Debug, Clone, Copy)]
struct Planned {
    /// Index of a running stream.
    stream: usize,
    /// Index of its lane.
    lane: usize,
    /// How many of the lane's tokens.
    tokens: usize,
    wanted: Wanted,
    /// Whether they are a piece of something longer, not just the last chosen token.
    is_prompt: bool,
}

/// How a step went.
enum Stepped {
    /// What each stream with logits does next, by its index.
    Done(Vec<(usize, Result<Advance>)>),
    /// The cache is full, and nothing has changed.
    Full(Error),
    /// It could not be done.
    Failed(Error),
    /// The executor cannot be trusted any more.
    Panicked,
}

impl Worker {
    /// Does one step and returns whether there was anything to do.
    pub(super) fn advance(&mut self) -> bool {
        let is_paused: Vec<bool> = self.running.iter().map(|stream| self.is_paused(stream)).collect();
        if is_paused.iter().all(|is_paused| *is_paused) {
            return false;
        }
        if let Err(error) = self.start_lanes(&is_paused) {
            return self.give_way_or_fail(error, &is_paused);
        }
        let plan = plan(&self.running, &is_paused, self.settings.prompt_tokens.max(1));
        if plan.is_empty() {
            return false;
        }
        match self.step(&plan) {
            Stepped::Done(outcomes) => self.apply(outcomes),
            Stepped::Full(error) => return self.give_way_or_fail(error, &is_paused),
            Stepped::Failed(error) => self.fail_streams(&plan, &error),
            Stepped::Panicked => {
                let error = Error::Internal(format!("a step of `{}` panicked", self.pipeline.model_id()));
                self.forget_machine();
                self.fail_streams(&plan, &error);
            }
        }
        true
    }

    fn start_lanes(&mut self, is_paused: &[bool]) -> Result<()> {
        // It may have been lost in a panic while streams waited for others.
        self.made_machine()?;
        let Worker { machine: Some(machine), running, groups, counters, .. } = self else { return Ok(()) };
        machine.start_lanes(running, is_paused, counters, &mut |group, shared| {
            if let Some(group) = groups.get_mut(&group) {
                group.started_with(shared);
            }
        })
    }

    /// Makes room in the cache; with none to be made the oldest stream ends. Returns whether to go on at once.
    fn give_way_or_fail(&mut self, error: Error, is_paused: &[bool]) -> bool {
        let oldest = is_paused.iter().position(|is_paused| !is_paused).expect("not all are paused");
        if error.code() != Code::Exhausted {
            self.fail(self.running[oldest].group, error);
            return true;
        }
        if let Some(machine) = &mut self.machine
            && machine.prefixes.evict(&mut *machine.executor)
        {
            return true;
        }
        let youngest = (0..self.running.len()).rev().find(|index| *index != oldest);
        match is_paused.iter().position(|is_paused| *is_paused).or(youngest) {
            Some(index) => self.preempt(index),
            None => self.fail(self.running[oldest].group, error),
        }
        true
    }

    fn step(&mut self, plan: &[Planned]) -> Stepped {
        let Worker { machine: Some(machine), running, pipeline, groups, counters, .. } = self else {
            return Stepped::Panicked;
        };
        let parts: Vec<StepPart<'_>> = plan.iter().filter_map(|planned| planned.part(running)).collect();
        let executor = &mut *machine.executor;
        let step = move || {
            // Moved in, so that the logits may leave with the borrow.
            let executor = executor;
            executor.step(&parts)
        };
        let logits = match catch_unwind(AssertUnwindSafe(step)) {
            Err(_) => return Stepped::Panicked,
            Ok(Err(error)) if error.code() == Code::Exhausted => return Stepped::Full(error),
            Ok(Err(error)) => return Stepped::Failed(error),
            Ok(Ok(logits)) => logits,
        };
        add(&counters.steps, 1);
        let mut rows = logits.rows();
        let mut of_streams: Vec<(usize, Vec<&[f32]>)> = Vec::new();
        for planned in plan {
            running[planned.stream].lanes[planned.lane].computed += planned.tokens;
            add(&counters.prompt_tokens, if planned.is_prompt { planned.tokens } else { 0 });
            if planned.wanted == Wanted::Last {
                let row = rows.next().unwrap_or_default();
                match of_streams.last_mut() {
                    Some((stream, rows)) if *stream == planned.stream => rows.push(row),
                    _ => of_streams.push((planned.stream, vec![row])),
                }
            }
        }
        let mut outcomes = Vec::with_capacity(of_streams.len());
        for (index, rows) in of_streams {
            if let Some(group) = groups.get_mut(&running[index].group) {
                group.prompt_is_read();
            }
            let taken = catch_unwind(AssertUnwindSafe(|| running[index].take(&rows, pipeline)));
            let broken = || Err(Error::Internal(format!("choosing a token of `{}` panicked", pipeline.model_id())));
            outcomes.push((index, taken.unwrap_or_else(|_| broken())));
        }
        Stepped::Done(outcomes)
    }

    /// Hands pieces to the callers, moves beams on, and ends what is over.
    fn apply(&mut self, outcomes: Vec<(usize, Result<Advance>)>) {
        let (mut over, mut failed) = (Vec::new(), Vec::new());
        for (index, outcome) in outcomes {
            let group = self.running[index].group;
            match outcome.and_then(|advance| self.apply_one(index, advance)) {
                Ok(true) => over.push(index),
                Ok(false) => {}
                Err(error) => failed.push((group, error)),
            }
        }
        for index in over.into_iter().rev() {
            let stream = self.running.remove(index);
            let id = stream.group;
            self.retire(stream);
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.unfinished -= 1;
            if group.unfinished == 0 {
                self.end(id, Ok(()));
            }
        }
        for (group, error) in failed {
            self.fail(group, error);
        }
    }

    /// Returns whether the stream is over.
    fn apply_one(&mut self, index: usize, advance: Advance) -> Result<bool> {
        let stream = &mut self.running[index];
        let Some(group) = self.groups.get_mut(&stream.group) else { return Ok(true) };
        if group.token_is_chosen() {
            self.counters.first_token_after(group.order.started.elapsed());
        }
        for piece in advance.pieces {
            add(&self.counters.new_tokens, piece.tokens.len());
            group.outlet.send(Event::Piece(piece));
        }
        if let (Some(parents), Some(machine)) = (advance.parents, &mut self.machine) {
            let parents: Vec<usize> = parents.into_iter().map(|parent| parent.0).collect();
            move_beams(machine, stream, &parents)?;
        }
        Ok(advance.is_over)
    }

    fn fail_streams(&mut self, plan: &[Planned], error: &Error) {
        let mut groups: Vec<u64> = plan.iter().map(|planned| self.running[planned.stream].group).collect();
        groups.dedup();
        groups.into_iter().for_each(|group| self.fail(group, error.clone()));
    }

    /// Drops the executor. Sequences that took no part in its last step are computed again by the next one.
    fn forget_machine(&mut self) {
        let machine = self.machine.take();
        if catch_unwind(AssertUnwindSafe(|| drop(machine))).is_err() {
            tracing::error!(model.id = self.pipeline.model_id(), "dropping an executor panicked");
        }
        for lane in self.running.iter_mut().flat_map(|stream| &mut stream.lanes) {
            lane.release();
        }
    }
}

impl Planned {
    fn part<'s>(&self, running: &'s [Stream]) -> Option<StepPart<'s>> {
        let lane = &running[self.stream].lanes[self.lane];
        let tokens = &lane.tokens[lane.computed..lane.computed + self.tokens];
        Some(StepPart { sequence: lane.sequence?, tokens, wanted: self.wanted })
    }
}

/// Decides who takes part: everybody with one token, and as much of the longer ones as is allowed, in equal shares.
fn plan(running: &[Stream], is_paused: &[bool], prompt_tokens: usize) -> Vec<Planned> {
    let mut plan = Vec::new();
    for (index, stream) in running.iter().enumerate().filter(|(index, _)| !is_paused[*index]) {
        // The beams of a search are compared, so their last tokens go together.
        let all_ready = stream.lanes.iter().all(|lane| lane.pending() == 1 && lane.sequence.is_some());
        for (lane_index, lane) in stream.lanes.iter().enumerate().filter(|(_, lane)| lane.sequence.is_some()) {
            let all = lane.pending();
            let (tokens, is_prompt) = match all {
                1 if all_ready => (1, lane.tokens.len() == stream.prompt_tokens()),
                1 => continue,
                _ if stream.lanes.len() == 1 => (all, true),
                _ => (all - 1, true),
            };
            let wanted = if tokens == all { Wanted::Last } else { Wanted::None };
            plan.push(Planned { stream: index, lane: lane_index, tokens, wanted, is_prompt });
        }
    }
    share(&mut plan, prompt_tokens);
    plan
}

/// Cuts the longer parts to what is allowed in one step: equal shares first, so that a short prompt does not wait for a long
/// one, and what is left for the oldest.
fn share(plan: &mut Vec<Planned>, prompt_tokens: usize) {
    let is_long = |planned: &&mut Planned| planned.tokens > 1;
    let count = plan.iter_mut().filter(is_long).count();
    if count == 0 {
        return;
    }
    let share = (prompt_tokens / count).max(1);
    let wanted: Vec<usize> = plan.iter().map(|planned| planned.tokens).collect();
    let mut left = prompt_tokens;
    for planned in plan.iter_mut().filter(is_long) {
        planned.tokens = planned.tokens.min(share).min(left);
        left -= planned.tokens;
    }
    for (planned, wanted) in plan.iter_mut().zip(&wanted) {
        let more = (wanted - planned.tokens).min(left);
        planned.tokens += more;
        left -= more;
        if planned.tokens < *wanted {
            planned.wanted = Wanted::None;
        }
    }
    plan.retain(|planned| planned.tokens > 0);
}

/// Gives each beam the sequence of the one that it continues: the first of several takes it over, the others share it.
fn move_beams(machine: &mut Machine, stream: &mut Stream, parents: &[usize]) -> Result<()> {
    let old: Vec<Lane> = std::mem::take(&mut stream.lanes);
    let mut lanes: Vec<Lane> = stream.beam_tokens().into_iter().map(Lane::new).collect();
    let mut is_taken = vec![false; old.len()];
    for (lane, &parent) in lanes.iter_mut().zip(parents) {
        let Some(sequence) = old[parent].sequence else { continue };
        let length = old[parent].computed;
        let own = if is_taken[parent] { machine.fork(sequence, length)? } else { Some(sequence) };
        is_taken[parent] = true;
        // Without room for a fork its tokens are computed again later.
        if let Some(own) = own {
            (lane.sequence, lane.computed) = (Some(own), length);
        }
    }
    for (lane, _) in old.iter().zip(&is_taken).filter(|(_, is_taken)| !**is_taken) {
        if let Some(sequence) = lane.sequence {
            machine.executor.close(sequence);
        }
    }
    stream.lanes = lanes;
    Ok(())
}
