//! Records in `training` whose job ended without a word: its worker was lost too often, or died between the end of the job and that of the
//! record.

use seedhouse_core::{Entry, JobState, Query, Result, Status};

use crate::{Origin, Service};

impl Service {
    /// Ends the trainings whose job is over. A record that says `training` for another reason, such as one from another registry, is left
    /// alone.
    ///
    /// # Errors
    /// Those of the stores.
    pub(crate) fn settle_trainings(&self) -> Result<()> {
        let query = Query { filter: "status = training".parse()?, ..Query::default() };
        self.store.search(&query)?.entries.iter().try_for_each(|entry| self.settle(entry))
    }

    fn settle(&self, entry: &Entry) -> Result<()> {
        let id = &entry.record.model_id;
        let Some(job) = self.newest_training_of(id)? else { return Ok(()) };
        let status = match job.state {
            JobState::Queued | JobState::Running => return Ok(()),
            JobState::Cancelled => Status::Stopped,
            JobState::Failed | JobState::Succeeded => Status::Failed,
        };
        let why = job.error.map_or_else(|| format!("it is {}", job.state), |error| error.message);
        let origin = Origin { actor: "seedhouse".into(), reason: Some(format!("job {} has ended: {why}", job.id)) };
        self.end_training(&id.as_str().parse()?, status, origin)
    }
}
