//! What is loaded, for those who run the server.

use seedhouse_core::{Digest, Timestamp};
use serde::Serialize;

use super::state::State;

/// The memory of loaded versions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryReport {
    /// What all versions may take together; null without a limit.
    pub budget_bytes: Option<u64>,
    /// What they take now, what is promised to loads in progress included.
    pub used_bytes: u64,
    /// How often a version was loaded.
    pub loads: u64,
    /// How often loading failed.
    pub failed_loads: u64,
    /// How often a version was unloaded to make room.
    pub evictions: u64,
    /// How many requests wait for a version that somebody else loads.
    pub waiting_requests: u64,
    /// What is loaded, being loaded and being drained, the oldest first.
    pub slots: Vec<SlotReport>,
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlotReport {
    /// The version.
    pub model_id: String,
    /// The digest of its manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Whether it answers.
    pub state: SlotState,
    /// What it takes now; for one that is being loaded, what it will probably take.
    pub bytes: u64,
    /// How many requests use it now.
    pub in_use: u64,
    /// How many requests used it since it was loaded.
    pub requests: u64,
    /// Whether it is never unloaded to make room.
    pub pinned: bool,
    /// What computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// How long loading took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_seconds: Option<f64>,
    /// Since when it is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded_at: Option<Timestamp>,
    /// When a request last ended, or when it was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

/// The states of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// It waits for memory.
    Waiting,
    /// It is being loaded.
    Loading,
    /// It answers.
    Ready,
    /// Nobody new is let in; it is freed when the last request ends.
    Draining,
}

impl SlotState {
    /// Returns its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            SlotState::Waiting => "waiting",
            SlotState::Loading => "loading",
            SlotState::Ready => "ready",
            SlotState::Draining => "draining",
        }
    }
}

impl MemoryReport {
    pub(super) fn new(state: &State, budget_bytes: Option<u64>) -> MemoryReport {
        let resident = |resident: &super::state::Resident| SlotReport {
            model_id: resident.loaded.slot.model_id().to_owned(),
            digest: resident.loaded.slot.digest(),
            state: if resident.closing { SlotState::Draining } else { SlotState::Ready },
            bytes: resident.bytes(),
            in_use: resident.in_use as u64,
            requests: resident.requests,
            pinned: state.is_pinned(resident),
            runtime: Some(resident.loaded.slot.runtime().to_owned()),
            load_seconds: Some(resident.loaded.slot.load_seconds()),
            loaded_at: Some(resident.loaded.loaded_at),
            last_used_at: Some(resident.last_used_at),
        };
        let loading = state.loads.values().map(|load| SlotReport {
            model_id: load.model_id.clone(),
            digest: None,
            state: if load.has_room { SlotState::Loading } else { SlotState::Waiting },
            bytes: load.needed,
            in_use: 0,
            requests: 0,
            pinned: false,
            runtime: None,
            load_seconds: None,
            loaded_at: None,
            last_used_at: None,
        });
        MemoryReport {
            budget_bytes,
            used_bytes: state.used(),
            loads: state.loaded_count,
            failed_loads: state.failed_loads,
            evictions: state.evictions,
            waiting_requests: state.waiting as u64,
            slots: state.residents.values().map(resident).chain(loading).collect(),
        }
    }
}
