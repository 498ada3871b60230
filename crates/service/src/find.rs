//! Looking at the registry: one version, all versions of a base, a filtered list, figures.

use std::collections::BTreeMap;

use seedhouse_core::runtime::PlanStatistics;
use seedhouse_core::{Count, Entry, JobState, Page, Query, Reference, Result, Statistics};
use serde::Serialize;

use crate::Service;

/// Figures about the registry and the engine.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// Counts over the registry.
    #[serde(flatten)]
    pub statistics: Statistics,
    /// Versions held in memory by this process.
    pub loaded_models: u64,
    /// Versions whose bytes were found damaged.
    pub corrupt_models: u64,
    /// Jobs by state.
    pub jobs: BTreeMap<JobState, u64>,
    /// The plans of language models: those on the disk, and what came of plans in this process.
    pub plans: PlanStatistics,
}

/// What is known about the registry's own folder.
#[derive(Debug, Clone, Serialize)]
pub struct Storage {
    /// The folder's name. Where it stands on the disk is nobody's business.
    pub path: String,
    /// Whether it is there.
    pub exists: bool,
    /// Whether `metadata.json` is.
    pub metadata_file_exists: bool,
}

/// How the registry and this process are.
#[derive(Debug, Clone, Serialize)]
pub struct Condition {
    /// The registry's own folder.
    pub storage: Storage,
    /// The ids of the loaded versions, sorted.
    pub loaded: Vec<String>,
    /// Figures.
    pub overview: Overview,
}

impl Service {
    /// Returns how the registry and this process are.
    ///
    /// # Errors
    /// [`Error::Unsupported`](seedhouse_core::Error::Unsupported) for a registry without a folder of its own; those of the
    /// metadata store.
    pub fn condition(&self) -> Result<Condition> {
        let root = self.folders()?.root();
        let storage = Storage {
            path: root.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            exists: root.is_dir(),
            metadata_file_exists: root.join("metadata.json").is_file(),
        };
        Ok(Condition { storage, loaded: self.loaded(), overview: self.overview()? })
    }

    /// Returns the version that a reference points at.
    ///
    /// # Errors
    /// [`Error::NotFound`](seedhouse_core::Error::NotFound).
    pub fn show(&self, reference: &Reference) -> Result<Entry> {
        self.store.version(reference)
    }

    /// Returns the versions that match, in the order of the query, and where the next page begins.
    ///
    /// # Errors
    /// [`Error::Invalid`](seedhouse_core::Error::Invalid) naming what is wrong with the query.
    pub fn list(&self, query: &Query) -> Result<Page> {
        self.store.search(query)
    }

    /// Returns a page as [`list`](Service::list) does, and how many versions match in all. Of very many only the first ten
    /// thousand are counted, so that a broad search costs no more than a narrow one.
    ///
    /// # Errors
    /// Those of [`list`](Service::list).
    pub fn search(&self, query: &Query) -> Result<(Page, Count)> {
        const MOST_COUNTED: u64 = 10_000;
        let page = self.store.search(query)?;
        // What fits on the first page has been counted.
        let count = match (&query.cursor, &page.next) {
            (None, None) => Count { number: page.entries.len() as u64, exact: true },
            _ => self.store.count(query, MOST_COUNTED)?,
        };
        Ok((page, count))
    }

    /// Returns all versions of the base that a reference names, newest version first.
    ///
    /// # Errors
    /// [`Error::NotFound`](seedhouse_core::Error::NotFound).
    pub fn versions(&self, reference: &Reference) -> Result<Vec<Entry>> {
        let base = self.store.version(reference)?.base;
        self.store.versions(&base)
    }

    /// Returns figures about the registry and the engine.
    ///
    /// # Errors
    /// Those of the metadata store, and of listing plans.
    pub fn overview(&self) -> Result<Overview> {
        let statistics = self.store.statistics()?;
        let corrupt = Query { filter: "integrity.state = corrupt".parse()?, ..Query::default() };
        let corrupt_models = self.store.count(&corrupt, u64::MAX)?.number;
        let jobs = self.jobs.job_counts()?;
        let (loaded_models, plans) = (self.engine.loaded_count() as u64, self.engine.plan_statistics()?);
        Ok(Overview { statistics, loaded_models, corrupt_models, jobs, plans })
    }
}
