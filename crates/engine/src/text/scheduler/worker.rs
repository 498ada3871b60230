//! The thread of a language model: it takes requests in, decides who goes on, and computes step by step.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use seedhouse_core::{Code, Error, Result};

use super::fair_queue::FairQueue;
use super::group::Group;
use super::inbox::{Delivery, Inbox, Patience};
use super::machine::Machine;
use super::settings::TextSettings;
use super::statistics::{Counters, add};
use super::stream::{Lane, Stream};
use super::task::Task;
use crate::TextPipeline;

/// Room that a sequence is given to grow before another one is let in, so that it is not sent away at once.
const HEADROOM: usize = 16;

/// Everything that the thread owns.
pub(super) struct Worker {
    pub(super) inbox: Arc<Inbox>,
    pub(super) counters: Arc<Counters>,
    pub(super) settings: TextSettings,
    pub(super) pipeline: Arc<TextPipeline>,
    /// Made when it is needed, and again after a panic.
    pub(super) machine: Option<Machine>,
    pub(super) groups: BTreeMap<u64, Group>,
    /// Streams that were never let in.
    queue: FairQueue<Stream>,
    /// Streams that gave up their place, the oldest first.
    returning: Vec<Stream>,
    /// In the order in which they came.
    pub(super) running: Vec<Stream>,
    arrived: u64,
}

impl Worker {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        counters: Arc<Counters>,
        settings: TextSettings,
        pipeline: Arc<TextPipeline>,
    ) -> Worker {
        Worker {
            inbox,
            counters,
            settings,
            pipeline,
            machine: None,
            groups: BTreeMap::new(),
            queue: FairQueue::new(),
            returning: Vec::new(),
            running: Vec::new(),
            arrived: 0,
        }
    }

    /// Works until the model is unloaded.
    pub(super) fn run(mut self) {
        let mut has_worked = false;
        loop {
            match self.inbox.receive(self.patience(has_worked)) {
                Delivery::Tasks(tasks) => tasks.into_iter().for_each(|task| self.accept(task)),
                Delivery::Stopped => return self.close(),
            }
            self.end_what_is_over();
            self.let_in();
            self.counters.running.store(self.lanes() as u64, Ordering::Relaxed);
            has_worked = self.advance();
        }
    }

    /// Without anything to compute the thread sleeps until something comes or somebody's time is up.
    fn patience(&self, has_worked: bool) -> Patience {
        if has_worked {
            return Patience::None;
        }
        let deadlines = self.groups.values().filter_map(Group::deadline);
        deadlines.min().map_or(Patience::Endless, Patience::Until)
    }

    fn accept(&mut self, task: Task) {
        let client = Arc::clone(&task.order.client);
        self.arrived += 1;
        let id = self.arrived;
        let mut group = Group::new(task, 0);
        let streams = Stream::of(id, &group.order, &mut self.arrived);
        group.unfinished = streams.len();
        self.groups.insert(id, group);
        streams.into_iter().for_each(|stream| self.queue.push(&client, stream));
    }

    fn end_what_is_over(&mut self) {
        let now = Instant::now();
        let over: Vec<u64> = self
            .groups
            .iter()
            .filter(|(_, group)| group.outlet.is_abandoned() || group.deadline().is_some_and(|end| end <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            let error = match &self.groups[&id] {
                group if group.outlet.is_abandoned() => Error::Cancelled,
                group => group.overdue(),
            };
            self.fail(id, error);
        }
    }

    /// Ends a request with an error. Nobody else notices.
    pub(super) fn fail(&mut self, id: u64, error: Error) {
        self.queue.retain(|stream| stream.group != id);
        self.returning.retain(|stream| stream.group != id);
        let (ended, running) = std::mem::take(&mut self.running).into_iter().partition(|stream| stream.group == id);
        self.running = running;
        // What a fault left in a sequence must not become the beginning of another one.
        let is_harmless = matches!(error.code(), Code::Cancelled | Code::Deadline | Code::Invalid);
        for mut stream in ended {
            match &mut self.machine {
                Some(machine) if is_harmless => machine.retire(&mut stream),
                Some(machine) => machine.close(&mut stream),
                None => {}
            }
        }
        self.end(id, Err(error));
    }

    /// Ends every request.
    fn fail_all(&mut self, error: &Error) {
        let ids: Vec<u64> = self.groups.keys().copied().collect();
        ids.into_iter().for_each(|id| self.fail(id, error.clone()));
    }

    /// Answers a request whose streams are gone.
    pub(super) fn end(&mut self, id: u64, end: Result<()>) {
        let Some(group) = self.groups.remove(&id) else { return };
        if !group.is_admitted {
            self.counters.one_queued_less();
        }
        add(&self.counters.finished, 1);
        let figures = group.figures();
        group.outlet.end(end.map(|()| figures));
    }

    /// Gives the sequences of a stream back.
    pub(super) fn retire(&mut self, mut stream: Stream) {
        if let Some(machine) = &mut self.machine {
            machine.retire(&mut stream);
        }
    }

    fn close(mut self) {
        let reason = "the model is being unloaded".into();
        self.fail_all(&Error::Unavailable { what: format!("`{}`", self.pipeline.model_id()), reason });
    }

    pub(super) fn lanes(&self) -> usize {
        self.running.iter().map(Stream::width).sum()
    }

    pub(super) fn is_paused(&self, stream: &Stream) -> bool {
        self.groups.get(&stream.group).is_some_and(|group| group.outlet.is_full())
    }

    /// Lets streams in while there is room: first those that gave up their place, then clients in turn.
    fn let_in(&mut self) {
        loop {
            let returns = self.returning.iter().position(|stream| !self.is_paused(stream));
            let Some(next) = returns.map(|index| &self.returning[index]).or_else(|| self.queue.peek()) else { return };
            if !self.running.is_empty() && !self.has_room_for(next) {
                // Whoever does not read gives up the place.
                match self.running.iter().position(|stream| self.is_paused(stream)) {
                    Some(index) => self.preempt(index),
                    None => return,
                }
                continue;
            }
            let stream = match returns {
                Some(index) => self.returning.remove(index),
                None => self.queue.pop().expect("peeked above"),
            };
            self.admit(stream);
        }
    }

    fn has_room_for(&self, next: &Stream) -> bool {
        if self.lanes() + next.width() > self.settings.running {
            return false;
        }
        let Some(machine) = &self.machine else { return true };
        let pending = |stream: &Stream| stream.lanes.iter().map(Lane::pending).sum::<usize>();
        let promised: usize = self.running.iter().map(pending).sum();
        let headroom = HEADROOM * (self.lanes() + next.width());
        machine.executor.free_tokens() + machine.prefixes.tokens() >= promised + pending(next) + headroom
    }

    fn admit(&mut self, mut stream: Stream) {
        let Some(group) = self.groups.get_mut(&stream.group) else { return };
        if !group.is_admitted {
            group.admit();
            self.counters.one_queued_less();
        }
        match self.made_machine().map(|machine| machine.capacity) {
            Ok(capacity) if stream.prompt_tokens() >= capacity => {
                let (model_id, prompt_tokens) = (self.pipeline.model_id().to_owned(), stream.prompt_tokens());
                self.fail(stream.group, Error::ContextOverflow { model_id, prompt_tokens, context_length: capacity });
            }
            Ok(capacity) => {
                stream.limit(capacity);
                let place = self.running.partition_point(|other| other.arrived < stream.arrived);
                self.running.insert(place, stream);
            }
            Err(error) => self.fail(stream.group, error),
        }
    }

    pub(super) fn made_machine(&mut self) -> Result<&mut Machine> {
        if self.machine.is_none() {
            let made = catch_unwind(AssertUnwindSafe(|| self.pipeline.executor().map(Machine::new)));
            let made = made.unwrap_or_else(|_| {
                Err(Error::Internal(format!("making an executor of `{}` panicked", self.pipeline.model_id())))
            });
            self.machine = Some(made?);
        }
        Ok(self.machine.as_mut().expect("made above"))
    }

    /// Takes the place of a running stream; it goes on later.
    pub(super) fn preempt(&mut self, index: usize) {
        let mut stream = self.running.remove(index);
        if let Some(machine) = &mut self.machine {
            machine.shelve(&mut stream);
        }
        add(&self.counters.preemptions, 1);
        let place = self.returning.partition_point(|other| other.arrived < stream.arrived);
        self.returning.insert(place, stream);
    }
}
