//! Jobs. A worker writes at most about once a second, so they have one connection of their own beside the writer's queue.
//! Each step takes the write lock first: what is read stays true until it is written, also against other processes.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params, params_from_iter};
use seedhouse_core::{
    Claim, Error, Job, JobId, JobOutcome, JobQuery, JobReport, JobState, JobStore, Kind, Lease, NewJob, Result,
    Timestamp,
};

use super::SqliteStore;
use super::own_connection::OwnConnection;
use crate::job_steps::StoredJob;

/// The table of jobs; `job` is the whole of what everybody sees, the columns beside it are what is searched by.
///
/// It came after the first layout, and is added to files of that layout: a program that does not know it is not disturbed.
pub(super) const TABLE: &str = "
    CREATE TABLE job (
        id             INTEGER PRIMARY KEY AUTOINCREMENT,
        kind           TEXT NOT NULL,
        state          TEXT NOT NULL,
        lease_epoch    INTEGER NOT NULL,
        lease_until_us INTEGER,
        job            TEXT NOT NULL
    ) STRICT;
    CREATE INDEX job_by_state ON job (state, id);
";

const COLUMNS: &str = "id, lease_epoch, lease_until_us, job";

/// The jobs of one store.
pub(super) struct Jobs(OwnConnection);

/// What a step found and did, within a transaction that is kept only if it went well.
type Stepped<T> = rusqlite::Result<Result<T>>;

impl Jobs {
    /// Returns the jobs behind a connection.
    pub(super) fn new(connection: OwnConnection) -> Jobs {
        Jobs(connection)
    }

    /// Takes a step on one job that is written only if it succeeds.
    fn step<T>(
        &self,
        action: &'static str,
        id: JobId,
        step: impl FnOnce(&mut StoredJob) -> Result<T>,
    ) -> Result<(Job, T)> {
        self.0.write(action, |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let stepped = found(&transaction, id)?.and_then(|mut stored| {
                let told = step(&mut stored)?;
                Ok((stored, told))
            });
            let (stored, told) = match stepped {
                Ok(stepped) => stepped,
                Err(error) => return Ok(Err(error)),
            };
            write(&transaction, &stored)?;
            transaction.commit()?;
            Ok(Ok((stored.job, told)))
        })
    }

    fn insert(&self, new: NewJob) -> Result<Job> {
        self.0.write("add a job", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sql = "INSERT INTO job (kind, state, lease_epoch, job) VALUES (?1, ?2, 0, '')";
            transaction.execute(sql, params![new.kind.as_str(), JobState::Queued.as_str()])?;
            // SQLite numbers its rows from 1.
            let stored = StoredJob::new(JobId(transaction.last_insert_rowid().unsigned_abs()), new);
            write(&transaction, &stored)?;
            transaction.commit()?;
            Ok(Ok(stored.job))
        })
    }

    fn claim(&self, claim: &Claim) -> Result<Option<(Job, Lease)>> {
        self.0.write("claim a job", |connection| {
            // Idle workers look often and must not take the write lock each time.
            if claimable(connection, claim)?.is_none() {
                return Ok(Ok(None));
            }
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            while let Some(id) = claimable(&transaction, claim)? {
                let claimed = found(&transaction, id)?.and_then(|mut stored| {
                    let lease = stored.claim(claim)?;
                    Ok((stored, lease))
                });
                let (stored, lease) = match claimed {
                    Ok(claimed) => claimed,
                    Err(error) => return Ok(Err(error)),
                };
                write(&transaction, &stored)?;
                if let Some(lease) = lease {
                    transaction.commit()?;
                    return Ok(Ok(Some((stored.job, lease))));
                }
            }
            transaction.commit()?;
            Ok(Ok(None))
        })
    }

    fn list(&self, query: &JobQuery) -> Result<Vec<Job>> {
        let mut sql = format!("SELECT {COLUMNS} FROM job WHERE TRUE");
        let mut parameters = Vec::new();
        let mut narrow = |condition: &str, value: Value| {
            sql.push_str(condition);
            parameters.push(value);
        };
        if let Some(state) = query.state {
            narrow(" AND state = ?", Value::Text(state.to_string()));
        }
        if let Some(kind) = query.kind {
            narrow(" AND kind = ?", Value::Text(kind.to_string()));
        }
        if let Some(before) = query.before {
            narrow(" AND id < ?", Value::Integer(i64::try_from(before.0).unwrap_or(i64::MAX)));
        }
        narrow(" ORDER BY id DESC LIMIT ?", Value::Integer(i64::try_from(query.limit).unwrap_or(i64::MAX)));
        self.0.with("list jobs", |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(parameters), JobRow::read)?;
            let rows: Vec<JobRow> = rows.collect::<rusqlite::Result<_>>()?;
            Ok(rows.into_iter().map(|row| Ok(row.into_stored()?.job)).collect())
        })
    }

    fn counts(&self) -> Result<BTreeMap<JobState, u64>> {
        self.0.with("count jobs", |connection| {
            let mut statement = connection.prepare_cached("SELECT state, count(*) FROM job GROUP BY state")?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            let rows: Vec<(String, i64)> = rows.collect::<rusqlite::Result<_>>()?;
            Ok(rows.into_iter().map(|(state, count)| Ok((state.parse()?, count.unsigned_abs()))).collect())
        })
    }

    fn prune(&self, keep: usize) -> Result<u64> {
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        self.0.write("forget old jobs", |connection| {
            let sql =
                "DELETE FROM job WHERE id IN (SELECT id FROM job WHERE state IN ('succeeded', 'failed', 'cancelled')
                       ORDER BY id DESC LIMIT -1 OFFSET ?1)";
            Ok(Ok(connection.execute(sql, [keep])? as u64))
        })
    }
}

/// Returns the oldest job that the worker may have, or has to end.
fn claimable(connection: &Connection, claim: &Claim) -> rusqlite::Result<Option<JobId>> {
    // The names are ours and need no quoting. The hint keeps SQLite to the few jobs that have not ended.
    let kinds: Vec<String> = claim.kinds.iter().map(|kind| format!("'{kind}'")).collect();
    let sql = format!(
        "SELECT id FROM job INDEXED BY job_by_state WHERE state IN ('queued', 'running')
             AND (state = 'queued' OR coalesce(lease_until_us, 0) <= ?1) AND kind IN ({})
             AND (?2 IS NULL OR id = ?2) ORDER BY id LIMIT 1",
        kinds.join(", ")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let only = claim.only.map(|only| i64::try_from(only.0).unwrap_or(i64::MAX));
    let id: Option<i64> =
        statement.query_row(params![claim.at.as_microseconds(), only], |row| row.get(0)).optional()?;
    Ok(id.map(|id| JobId(id.unsigned_abs())))
}

fn found(connection: &Connection, id: JobId) -> Stepped<StoredJob> {
    let missing = || Error::not_found(Kind::Job, id);
    let Ok(row_id) = i64::try_from(id.0) else { return Ok(Err(missing())) };
    let sql = format!("SELECT {COLUMNS} FROM job WHERE id = ?1");
    let row = connection.prepare_cached(&sql)?.query_row([row_id], JobRow::read).optional()?;
    Ok(row.ok_or_else(missing).and_then(JobRow::into_stored))
}

fn write(connection: &Connection, stored: &StoredJob) -> rusqlite::Result<()> {
    let StoredJob { job, epoch, lease_until } = stored;
    let text = serde_json::to_string(job).expect("a job has string keys only");
    let sql = "UPDATE job SET state = ?2, lease_epoch = ?3, lease_until_us = ?4, job = ?5 WHERE id = ?1";
    // Both numbers were read from SQLite, or grew by one since.
    let [id, epoch] = [job.id.0, *epoch].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let until = lease_until.map(Timestamp::as_microseconds);
    connection.prepare_cached(sql)?.execute(params![id, job.state.as_str(), epoch, until, text])?;
    Ok(())
}

/// A row as it is stored.
struct JobRow {
    id: i64,
    epoch: i64,
    lease_until_us: Option<i64>,
    job: String,
}

impl JobRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<JobRow> {
        Ok(JobRow { id: row.get(0)?, epoch: row.get(1)?, lease_until_us: row.get(2)?, job: row.get(3)? })
    }

    fn into_stored(self) -> Result<StoredJob> {
        let job = serde_json::from_str(&self.job).map_err(|error| Error::CorruptState {
            what: format!("job {} in the database", self.id),
            reason: error.to_string(),
        })?;
        let lease_until = self.lease_until_us.and_then(Timestamp::from_microseconds);
        Ok(StoredJob { job, epoch: self.epoch.unsigned_abs(), lease_until })
    }
}

impl JobStore for SqliteStore {
    fn enqueue(&self, job: NewJob) -> Result<Job> {
        self.jobs.insert(job)
    }

    fn claim(&self, claim: &Claim) -> Result<Option<(Job, Lease)>> {
        self.jobs.claim(claim)
    }

    fn renew(&self, lease: &Lease, at: Timestamp, longer: Duration, report: &JobReport) -> Result<bool> {
        let step = |stored: &mut StoredJob| stored.renew(lease, at, longer, report);
        self.jobs.step("renew a lease", lease.job, step).map(|(_, cancel)| cancel)
    }

    fn finish(&self, lease: &Lease, at: Timestamp, report: &JobReport, outcome: JobOutcome) -> Result<Job> {
        let step = |stored: &mut StoredJob| stored.finish(lease, at, report, outcome);
        self.jobs.step("finish a job", lease.job, step).map(|(job, ())| job)
    }

    fn cancel(&self, id: JobId, at: Timestamp) -> Result<Job> {
        self.jobs.step("cancel a job", id, |stored| stored.cancel(at)).map(|(job, ())| job)
    }

    fn job(&self, id: JobId) -> Result<Job> {
        self.jobs.0.with("read a job", |connection| Ok(found(connection, id)?.map(|stored| stored.job)))
    }

    fn jobs(&self, query: &JobQuery) -> Result<Vec<Job>> {
        self.jobs.list(query)
    }

    fn job_counts(&self) -> Result<BTreeMap<JobState, u64>> {
        self.jobs.counts()
    }

    fn prune(&self, keep: usize) -> Result<u64> {
        self.jobs.prune(keep)
    }
}
