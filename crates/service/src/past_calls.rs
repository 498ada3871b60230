//! The inferences of a while ago: what was asked of which version, when, how long it took and how it ended; never what was said.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seedhouse_core::{Code, Digest, Entry, ModelId, Timestamp};
use serde::Serialize;

use crate::Service;

/// As many are remembered; the oldest is forgotten for the next one.
const MOST_CALLS: usize = 1000;

/// An inference that ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PastCall {
    /// The version that computed it.
    pub model_id: ModelId,
    /// The digest of its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What was asked for, e.g. `text generation`.
    pub task: &'static str,
    /// When it began.
    pub at: Timestamp,
    /// How long it took, loading included.
    pub seconds: f64,
    /// `ok`, or the code of its error.
    pub status: &'static str,
}

/// Past inferences of this process, in memory alone.
#[derive(Default)]
pub(crate) struct PastCalls {
    calls: Mutex<VecDeque<PastCall>>,
}

impl PastCalls {
    pub(crate) fn note(&self, entry: &Entry, task: &'static str, at: Timestamp, time: Duration, end: Option<Code>) {
        let call = PastCall {
            model_id: entry.record.model_id.clone(),
            digest: entry.record.digest(),
            task,
            at,
            seconds: time.as_secs_f64(),
            status: end.map_or("ok", Code::as_str),
        };
        let mut calls = self.lock();
        if calls.len() == MOST_CALLS {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    /// A call is put here whole or not at all.
    fn lock(&self) -> MutexGuard<'_, VecDeque<PastCall>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Returns the inferences that this process computed last, the latest first; 1000 of them are remembered.
    pub fn past_calls(&self, most: usize) -> Vec<PastCall> {
        self.past_calls.lock().iter().rev().take(most).cloned().collect()
    }
}
