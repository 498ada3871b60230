//! A request on its way to the scheduler: checked and encoded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outlet::Outlet;
use crate::text::sampling::Sampling;
use crate::text::text_stream::TextStream;

/// A checked request.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Token ids of the prompt, at least one.
    pub(crate) prompt: Arc<[u32]>,
    /// The most tokens of an answer, at least one.
    pub(crate) longest: usize,
    /// How tokens are chosen.
    pub(crate) sampling: Sampling,
    /// The text of an answer at its beginning.
    pub(crate) text: TextStream,
    /// How many answers are wanted.
    pub(crate) answers: usize,
    /// How many likely tokens are wanted beside each chosen one.
    pub(crate) logprobs: Option<usize>,
    /// When the request came.
    pub(crate) started: Instant,
    /// How long it may take.
    pub(crate) timeout: Option<Duration>,
    /// Who asks.
    pub(crate) client: Arc<str>,
}

/// The same with the way back.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) order: Order,
    pub(super) outlet: Outlet,
}
