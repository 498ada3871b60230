//! Doing a job in this process instead of leaving it to a server.

use std::time::Duration;

use seedhouse_core::{Job, JobId, JobKind, Result};
use seedhouse_service::{Service, Worker};
use serde::de::DeserializeOwned;

use crate::progress_bar::StageBar;

/// How long a job stays with this process when it is killed.
const LEASE: Duration = Duration::from_secs(15);

/// Does a job, with a bar on a terminal.
///
/// # Errors
/// Those of [`Service::work_on`].
pub(super) fn work_on(service: &Service, id: JobId) -> Result<Job> {
    let (name, kinds) = (format!("command of process {}", std::process::id()), JobKind::ALL.to_vec());
    let worker = Worker { name, kinds, lease: LEASE };
    service.work_on(id, &worker, &StageBar::new())
}

/// Does a job and returns its result.
///
/// # Errors
/// Those of [`work_on`] and of the job.
pub(super) fn result_of<T: DeserializeOwned>(service: &Service, id: JobId) -> Result<T> {
    work_on(service, id)?.into_report()
}
