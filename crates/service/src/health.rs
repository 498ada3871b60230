//! Whether the server should be asked: that it runs says whoever answers at all, that it is ready says this.

use std::sync::atomic::{AtomicBool, Ordering};

use seedhouse_core::{Error, Result};

use crate::Service;

/// What readiness depends on beside the database.
#[derive(Debug, Default)]
pub(crate) struct Health {
    is_preload_over: AtomicBool,
    is_leaving: AtomicBool,
}

impl Health {
    pub(crate) fn preload_is_over(&self) {
        self.is_preload_over.store(true, Ordering::Relaxed);
    }
}

impl Service {
    /// Says that the server is about to stop: requests are still answered, but whoever can should ask another one.
    pub fn leave(&self) {
        self.health.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Checks that requests should be sent here: the server does not stop, what was to be loaded at the start is loaded or was found
    /// impossible to load, and the database answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with the reason.
    pub fn check_ready(&self) -> Result<()> {
        let not_ready = |reason: String| Err(Error::Unavailable { what: "the server".into(), reason });
        if self.health.is_leaving.load(Ordering::Relaxed) || self.stop.is_set() {
            return not_ready("it is shutting down".into());
        }
        if !self.kept.preloaded.is_empty() && !self.health.is_preload_over.load(Ordering::Relaxed) {
            return not_ready("it is loading what is to be loaded at the start".into());
        }
        match self.store.revision() {
            Ok(_) => Ok(()),
            // Probes come without a token: what the database says is for the log.
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the database does not answer");
                not_ready("its database does not answer".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use seedhouse_core::SystemClock;
    use seedhouse_engine::Engine;
    use seedhouse_store::{LocalArtifacts, LocalRepairSources, SqliteStore};

    use super::*;
    use crate::{Kept, Ports};

    fn check(preloaded: &[&str], then: impl FnOnce(&Service)) -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("seedhouse.db")).unwrap());
        let ports = Ports {
            store: store.clone(),
            artifacts: Arc::new(LocalArtifacts::open(folder.path()).unwrap()),
            tokens: store.clone(),
            jobs: store,
            repairs: Arc::new(LocalRepairSources),
            clock: Arc::new(SystemClock),
        };
        let preloaded = preloaded.iter().map(|reference| reference.parse().unwrap()).collect();
        let kept = Kept { preloaded, ..Kept::default() };
        let service = Service::new(ports, Engine::new(Vec::new())).with_kept(kept);
        then(&service);
        service.check_ready()
    }

    #[test]
    fn server_is_ready_when_it_has_tried_to_load_what_it_should_and_until_it_leaves() {
        assert!(check(&[], |_| {}).is_ok());
        let early = check(&["absent"], |_| {}).unwrap_err();
        assert!(early.to_string().contains("loading"), "{early}");
        assert!(check(&["absent"], Service::preload).is_ok());
        for leave in [Service::leave, |service: &Service| service.stop().set()] {
            let late = check(&[], leave).unwrap_err();
            assert!(late.to_string().contains("shutting down"), "{late}");
        }
    }
}
