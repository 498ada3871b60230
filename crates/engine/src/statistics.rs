//! What versions were asked and how they answered, counted while they do: requests, failures by code, times, tokens, slots.
//!
//! ```text
//! Statistics     all versions by id, and requests that named none
//!   VersionCounters   one version: counters and histograms, written by whoever serves it
//!     Request         one request in progress; its end is counted once, whatever the end is
//! VersionStatistics   the same, read
//! ```
//!
//! Counting takes a few atomic additions for a request. Nothing of what was asked or answered is kept.

mod counters;
mod histogram;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use seedhouse_core::{Code, ModelId, ModelName, Version};
use serde::Serialize;

use self::counters::FailureCounters;
pub use self::counters::{
    Failures, Finished, Request, ShortFigures, SlotStatistics, TokenStatistics, TokenUsage, Usage, VersionCounters,
    VersionStatistics,
};
pub use self::histogram::{Distribution, Histogram};

/// How a version is named in reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionName {
    /// Its id.
    pub model_id: ModelId,
    /// The model that it is a version of.
    #[serde(rename = "model")]
    pub base: ModelName,
    /// Its label.
    pub version: Version,
    /// Its number among the versions of its model.
    pub ordinal: u64,
}

/// The counters of all versions. Shared between threads.
#[derive(Debug, Default)]
pub struct Statistics {
    versions: RwLock<HashMap<String, Arc<VersionCounters>>>,
    unresolved: FailureCounters,
}

/// More versions than anybody looks at. Each takes about three kilobytes.
const MOST_VERSIONS: usize = 4096;

impl Statistics {
    /// Returns the counters of a version; `name` is its name. Where too many versions have some, those of the one go that was asked
    /// least recently.
    pub fn of(&self, model_id: &ModelId, name: impl FnOnce() -> VersionName) -> Arc<VersionCounters> {
        let model_id = model_id.as_str();
        if let Some(counters) = self.find(model_id) {
            return counters;
        }
        let mut versions = self.versions.write().unwrap_or_else(PoisonError::into_inner);
        if !versions.contains_key(model_id) && versions.len() >= MOST_VERSIONS {
            let oldest = versions.iter().min_by_key(|(_, counters)| counters.last_request_micros());
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                versions.remove(&oldest);
            }
        }
        let make = || Arc::new(VersionCounters::new(name()));
        Arc::clone(versions.entry(model_id.to_owned()).or_insert_with(make))
    }

    /// Returns the counters of a version that was asked before.
    pub fn find(&self, model_id: &str) -> Option<Arc<VersionCounters>> {
        self.read(|versions| versions.get(model_id).cloned())
    }

    /// Forgets the versions that `is_kept` does not want to keep.
    pub fn retain(&self, mut is_kept: impl FnMut(&ModelId) -> bool) {
        let gone: Vec<ModelId> = self.read(|versions| {
            versions.values().map(|counters| &counters.name().model_id).filter(|id| !is_kept(id)).cloned().collect()
        });
        if gone.is_empty() {
            return;
        }
        let mut versions = self.versions.write().unwrap_or_else(PoisonError::into_inner);
        for model_id in gone {
            versions.remove(model_id.as_str());
        }
    }

    /// Counts a request that failed before it was known which version it is about.
    pub fn count_unresolved(&self, code: Code) {
        self.unresolved.add(code);
    }

    /// Returns the requests that failed before it was known which version they are about.
    pub fn unresolved(&self) -> Failures {
        self.unresolved.read()
    }

    /// Begins the figures of [`VersionStatistics::since_reset`] anew, for every version.
    pub fn reset_all(&self) {
        self.read(|versions| versions.values().for_each(|counters| counters.reset()));
    }

    /// Returns what was counted, by id.
    pub fn report(&self) -> Vec<VersionStatistics> {
        let mut report: Vec<_> = self.read(|versions| versions.values().map(|counters| counters.report()).collect());
        report.sort_by(|a: &VersionStatistics, b| a.name.model_id.as_str().cmp(b.name.model_id.as_str()));
        report
    }

    fn read<T>(&self, look: impl FnOnce(&HashMap<String, Arc<VersionCounters>>) -> T) -> T {
        look(&self.versions.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(id: &str) -> VersionName {
        VersionName {
            model_id: id.parse().unwrap(),
            base: "wheat".parse().unwrap(),
            version: "1".parse().unwrap(),
            ordinal: 1,
        }
    }

    fn counters(statistics: &Statistics, id: &str) -> Arc<VersionCounters> {
        statistics.of(&id.parse().unwrap(), || name(id))
    }

    #[test]
    fn version_that_is_gone_is_not_reported_and_begins_anew() {
        let statistics = Statistics::default();
        for id in ["wheat_v1", "wheat_v2"] {
            counters(&statistics, id).begin().succeed(&Usage::default());
        }
        statistics.retain(|id| id.as_str() == "wheat_v2");
        let ids: Vec<String> = statistics.report().iter().map(|version| version.name.model_id.to_string()).collect();
        assert_eq!(ids, ["wheat_v2"]);
        assert!(statistics.find("wheat_v1").is_none());
        assert_eq!(counters(&statistics, "wheat_v1").report().succeeded, 0);
    }

    #[test]
    fn number_of_versions_is_bounded_and_the_one_asked_last_stays() {
        let statistics = Statistics::default();
        counters(&statistics, "favourite").begin().succeed(&Usage::default());
        for number in 0..MOST_VERSIONS + 10 {
            counters(&statistics, &format!("m{number}"));
        }
        assert_eq!(statistics.report().len(), MOST_VERSIONS);
        assert!(statistics.find("favourite").is_some(), "versions that nobody asked go first");
    }

    #[test]
    fn requests_are_counted_by_how_they_ended() {
        let statistics = Statistics::default();
        let wheat = counters(&statistics, "wheat_v1");
        let usage = Usage { items: 3, queued: Duration::from_millis(2), ..Usage::default() };
        wheat.begin().succeed(&usage);
        wheat.begin().fail(Code::Deadline);
        let running = wheat.begin();
        let report = wheat.report();
        assert_eq!((report.succeeded, report.items, report.in_progress), (1, 3, 1));
        assert_eq!(report.failed.0, [(Code::Deadline, 1)]);
        assert_eq!(report.request_seconds.count, 1);
        // A panic on its way up ends it, too.
        drop(running);
        let report = wheat.report();
        assert_eq!((report.in_progress, report.failed.of(Code::Internal)), (0, 1));
    }

    #[test]
    fn reset_begins_the_short_figures_anew_and_leaves_the_counters() {
        let statistics = Statistics::default();
        let wheat = counters(&statistics, "wheat_v1");
        wheat.begin().succeed(&Usage::default());
        assert_eq!(wheat.report().since_reset.total, 1);
        statistics.reset_all();
        let report = wheat.report();
        assert_eq!((report.since_reset.total, report.since_reset.seconds), (0, 0.0));
        assert_eq!((report.since_reset.last_at, report.succeeded), (None, 1));
        wheat.begin().succeed(&Usage::default());
        assert_eq!(wheat.report().since_reset.total, 1);
    }

    #[test]
    fn parts_of_the_time_add_up_to_the_whole() {
        let statistics = Statistics::default();
        let wheat = counters(&statistics, "wheat_v1");
        let request = wheat.begin();
        request.succeed(&Usage { queued: Duration::from_secs(3600), ..Usage::default() });
        let report = wheat.report();
        let parts = report.queue_seconds.sum + report.compute_seconds.sum;
        // Nobody waited longer than the whole took, whatever the usage says.
        assert!((parts - report.request_seconds.sum).abs() < 1e-9, "{parts} of {}", report.request_seconds.sum);
    }
}
