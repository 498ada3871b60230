//! Jobs: long work with a durable record, from the moment somebody asks for it to its result.
//!
//! ```text
//! queued ──claim──> running ──finish──> succeeded | failed | cancelled
//!    ^                 │
//!    └── released, or claimed again after its worker was lost
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Code, Error, ProgressUnit, Result, Timestamp};

/// How often a job may be begun without leaving anything from which the next attempt goes on. A worker that is lost with its process
/// gives no answer; a job that takes its worker with it each time must not do so for ever.
pub const MOST_ATTEMPTS: u32 = 3;

/// The most lines of a job's log; older ones go.
const MOST_LOG_LINES: usize = 100;

/// The longest line of a job's log, in characters.
const LONGEST_LOG_LINE: usize = 500;

/// The number of a job: 1, 2, 3 … in the order in which they were asked for. Never given out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Hashes every stored artifact again, marks what is damaged and repairs it.
    Scrub,
    /// Writes versions with their bytes into a file of the folder of exports.
    Export,
    /// Takes in the versions of a bundle in the folder of imports.
    Import,
    /// Makes a backup in the folder of backups.
    Backup,
    /// Brings the registry to the state in a backup, or to that of an earlier time.
    Restore,
    /// Fetches a repository of a hub and registers it.
    Pull,
    /// Trains a version.
    Train,
    /// Measures a version on a dataset.
    Evaluate,
    /// Makes a version with fewer bits.
    Quantize,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// Done; `result` says what came out.
    Succeeded,
    /// Ended early; `error` says why.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

/// A job, as everybody may see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// What was asked for; its form depends on the kind.
    pub request: Value,
    /// How far it is; `None` before the first stage.
    pub progress: Option<JobProgress>,
    /// What it measured so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Value>,
    /// What came out of it, once it succeeded.
    pub result: Option<Value>,
    /// Why it failed, once it did.
    pub error: Option<JobError>,
    /// Who asked for it.
    pub actor: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was first begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How often it was begun. An attempt that a worker gave back in order does not count.
    pub attempt: u32,
    /// The attempt that last left something from which the next one goes on; 0 for none.
    #[serde(default)]
    pub milestone_attempt: u32,
    /// Whether somebody asked to end it while it was running.
    pub cancel_requested: bool,
    /// The last lines of its log.
    pub log: Vec<LogLine>,
}

/// How far a job is within its present stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// What is being done, e.g. `hashing artifacts`.
    pub stage: String,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do, where that is known.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: ProgressUnit,
}

/// Why a job failed, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// What went wrong, from the closed set.
    pub code: Code,
    /// The thing and both values.
    pub message: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub text: String,
}

/// A job that is asked for.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// What it does.
    pub kind: JobKind,
    /// What is asked for.
    pub request: Value,
    /// Who asks.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

/// A worker that looks for a job.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What the worker can do.
    pub kinds: Vec<JobKind>,
    /// The only job that it wants; any without it.
    pub only: Option<JobId>,
    /// How the log names it.
    pub worker: String,
    /// The present.
    pub at: Timestamp,
    /// How long the job is its own without a word from it.
    pub lease: Duration,
}

/// A worker's right to a job. Each claim has another one, so that a worker that stalled cannot write over its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// Grows with every claim of the job.
    pub epoch: u64,
}

/// What a worker tells about its job.
#[derive(Debug, Clone, Default)]
pub struct JobReport {
    /// How far it is; `None` leaves what was told before.
    pub progress: Option<JobProgress>,
    /// What it measured so far; `None` leaves what was told before.
    pub figures: Option<Value>,
    /// Whether something was left from which another attempt goes on.
    pub milestone: bool,
    /// New lines for the log.
    pub log: Vec<LogLine>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum JobOutcome {
    /// It is done.
    Succeeded(Value),
    /// It cannot be done.
    Failed(JobError),
    /// It was ended because somebody asked for that.
    Cancelled,
    /// The worker has to leave and gives the job back; it is queued again at once.
    Released,
}

/// Which jobs are listed: newest first.
#[derive(Debug, Clone, Default)]
pub struct JobQuery {
    /// Only these.
    pub state: Option<JobState>,
    /// Only these.
    pub kind: Option<JobKind>,
    /// Only jobs before this one: the last of the page before.
    pub before: Option<JobId>,
    /// At most this many.
    pub limit: usize,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [JobKind; 9] = [
        JobKind::Scrub,
        JobKind::Export,
        JobKind::Import,
        JobKind::Backup,
        JobKind::Restore,
        JobKind::Pull,
        JobKind::Train,
        JobKind::Evaluate,
        JobKind::Quantize,
    ];

    /// Returns whether it computes for long, so that it should stand back behind what answers somebody.
    pub fn is_computing(self) -> bool {
        match self {
            JobKind::Train | JobKind::Evaluate | JobKind::Quantize => true,
            JobKind::Scrub | JobKind::Export | JobKind::Import | JobKind::Backup | JobKind::Restore | JobKind::Pull => {
                false
            }
        }
    }

    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Scrub => "scrub",
            JobKind::Export => "export",
            JobKind::Import => "import",
            JobKind::Backup => "backup",
            JobKind::Restore => "restore",
            JobKind::Pull => "pull",
            JobKind::Train => "train",
            JobKind::Evaluate => "evaluate",
            JobKind::Quantize => "quantize",
        }
    }
}

impl JobState {
    /// Every state.
    pub const ALL: [JobState; 5] =
        [JobState::Queued, JobState::Running, JobState::Succeeded, JobState::Failed, JobState::Cancelled];

    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Succeeded => "succeeded",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    /// Returns whether nothing more happens to the job.
    pub fn is_final(self) -> bool {
        match self {
            JobState::Succeeded | JobState::Failed | JobState::Cancelled => true,
            JobState::Queued | JobState::Running => false,
        }
    }
}

impl Job {
    /// Returns what came out of a job that has ended.
    ///
    /// # Errors
    /// The error of one that failed, as it was kept; [`Error::Cancelled`]; [`Error::Unavailable`] for one that has not ended.
    pub fn into_result(self) -> Result<Value> {
        match (self.state, self.result, self.error) {
            (JobState::Succeeded, Some(result), _) => Ok(result),
            (JobState::Failed, _, Some(error)) => {
                Err(Error::Remote { code: error.code, message: error.message, hint: error.hint })
            }
            (JobState::Cancelled, ..) => Err(Error::Cancelled),
            (state, ..) => Err(Error::Unavailable {
                what: format!("the result of job `{}`", self.id),
                reason: format!("it is {state}"),
            }),
        }
    }

    /// Returns what came out of a job that has ended, in the form of its kind.
    ///
    /// # Errors
    /// Those of [`into_result`](Job::into_result); [`Error::CorruptState`] when it has another form.
    pub fn into_report<T: DeserializeOwned>(self) -> Result<T> {
        let what = format!("the result of job `{}`", self.id);
        serde_json::from_value(self.into_result()?)
            .map_err(|error| Error::CorruptState { what, reason: error.to_string() })
    }

    /// Adds lines to the log. Of a long log the newest lines are kept, of a long line its beginning.
    pub fn add_log(&mut self, lines: impl IntoIterator<Item = LogLine>) {
        let shortened = |line: LogLine| match line.text.char_indices().nth(LONGEST_LOG_LINE) {
            Some((end, _)) => LogLine { text: format!("{}…", &line.text[..end]), ..line },
            None => line,
        };
        self.log.extend(lines.into_iter().map(shortened));
        let surplus = self.log.len().saturating_sub(MOST_LOG_LINES);
        self.log.drain(..surplus);
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl FromStr for JobId {
    type Err = Error;

    fn from_str(text: &str) -> Result<JobId> {
        let number = text.parse().ok().filter(|number| *number > 0 && i64::try_from(*number).is_ok());
        number.map(JobId).ok_or_else(|| Error::invalid("job", text.escape_debug(), "must be a whole number from 1"))
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for JobKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<JobKind> {
        JobKind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let names = JobKind::ALL.map(JobKind::as_str).join(", ");
            Error::invalid("kind", text.escape_debug(), format!("must be one of {names}"))
        })
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = Error;

    fn from_str(text: &str) -> Result<JobState> {
        JobState::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let names = JobState::ALL.map(JobState::as_str).join(", ");
            Error::invalid("state", text.escape_debug(), format!("must be one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_text_and_json() {
        for kind in JobKind::ALL {
            assert_eq!(kind.as_str().parse::<JobKind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse::<JobState>().unwrap(), state);
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for text in ["", "Scrub", "done"] {
            assert_eq!(text.parse::<JobKind>().unwrap_err().field(), Some("kind"));
            assert_eq!(text.parse::<JobState>().unwrap_err().field(), Some("state"));
        }
    }

    #[test]
    fn number_of_a_job_is_a_whole_one_from_one() {
        assert_eq!("17".parse::<JobId>().unwrap(), JobId(17));
        for text in ["", "0", "-1", "1.5", "x", "9223372036854775808"] {
            assert_eq!(text.parse::<JobId>().unwrap_err().field(), Some("job"), "{text:?}");
        }
    }

    #[test]
    fn long_log_keeps_its_newest_lines_and_long_lines_their_beginning() {
        let at = Timestamp::now();
        let mut job = Job {
            id: JobId(1),
            kind: JobKind::Scrub,
            state: JobState::Running,
            request: Value::Null,
            progress: None,
            figures: None,
            result: None,
            error: None,
            actor: "test".into(),
            created_at: at,
            started_at: None,
            finished_at: None,
            attempt: 1,
            milestone_attempt: 0,
            cancel_requested: false,
            log: Vec::new(),
        };
        job.add_log((0..250).map(|number| LogLine { at, text: format!("{number}") }));
        assert_eq!((job.log.len(), job.log[0].text.as_str()), (MOST_LOG_LINES, "150"));
        job.add_log([LogLine { at, text: "麦".repeat(LONGEST_LOG_LINE + 1) }]);
        let last = &job.log[MOST_LOG_LINES - 1].text;
        assert_eq!((last.chars().count(), last.ends_with("麦…")), (LONGEST_LOG_LINE + 1, true));
    }
}
