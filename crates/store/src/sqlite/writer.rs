//! The one writer: a thread that takes whatever is waiting into one transaction and then answers everybody.
//!
//! A durable commit costs one flush of the disk however many changes it carries, so 64 callers at once are served more
//! than ten times as often as one by one. Each change has its own savepoint: one that fails does not undo its neighbours.

use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use seedhouse_core::{Applied, Change, Error, Result};

use super::connection::{failed, shared_failure};
use super::indexer::Order;
use super::ledger::SqliteLedger;
use super::log_keeping::LogKeeping;
use super::search_index::{Block, store_block};
use super::turn;
use crate::execute::execute_all;

/// More changes than this do not go into one transaction, so that the first of them is not kept waiting.
const LARGEST_BATCH: usize = 256;

/// How many changes may wait; further callers wait for a place.
const QUEUE_LENGTH: usize = 1024;

/// After this many changes the indexer is told to look whether a block is full.
const CHANGES_PER_LOOK: usize = 256;

/// The owner of the thread that writes.
pub(super) struct Writer {
    requests: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

enum Request {
    /// Changes to the registry.
    Changes(Work, SyncSender<Result<Vec<Applied>>>),
    /// A block of the search index, which goes into a transaction of its own.
    Block(Box<Block>, SyncSender<Result<()>>),
}

/// Changes that are made together or not at all; most often a single one.
#[derive(Clone)]
struct Work {
    changes: Vec<Change>,
    expected_revision: Option<u64>,
}

/// Hands blocks of the search index to the thread.
pub(super) struct BlockSender(SyncSender<Request>);

impl BlockSender {
    /// Hands a block over and waits until it is stored.
    pub(super) fn store(&self, block: Block) -> Result<()> {
        let stopped = || Error::Internal("the metadata writer has stopped".into());
        let (reply, answer) = sync_channel(1);
        self.0.send(Request::Block(Box::new(block), reply)).map_err(|_| stopped())?;
        answer.recv().map_err(|_| stopped())?
    }
}

impl Writer {
    /// Starts the thread. `path` names the database in errors; `indexer` hears of changes.
    pub(super) fn start(connection: Connection, path: PathBuf, indexer: SyncSender<Order>) -> Result<Writer> {
        LogKeeping::begin(&connection).map_err(failed("set up a connection", &path))?;
        let (requests, waiting) = sync_channel(QUEUE_LENGTH);
        let thread = thread::Builder::new()
            .name("metadata writer".into())
            .spawn(move || run(&connection, &path, &waiting, &indexer))
            .map_err(Error::store("start its writer thread"))?;
        Ok(Writer { requests: Some(requests), thread: Some(thread) })
    }

    /// Hands a change to the thread and waits until it is durable.
    pub(super) fn apply(&self, change: Change) -> Result<Applied> {
        let mut applied = self.apply_all(vec![change], None)?;
        Ok(applied.pop().expect("one change has one outcome"))
    }

    /// Hands changes to the thread, to be made together, and waits until they are durable.
    pub(super) fn apply_all(&self, changes: Vec<Change>, expected_revision: Option<u64>) -> Result<Vec<Applied>> {
        let stopped = || Error::Internal("the metadata writer has stopped".into());
        let (reply, answer) = sync_channel(1);
        let requests = self.requests.as_ref().ok_or_else(stopped)?;
        requests.send(Request::Changes(Work { changes, expected_revision }, reply)).map_err(|_| stopped())?;
        answer.recv().map_err(|_| stopped())?
    }

    /// Returns what hands blocks of the search index to the thread; it must be dropped before the writer is.
    pub(super) fn blocks(&self) -> Result<BlockSender> {
        let stopped = || Error::Internal("the metadata writer has stopped".into());
        self.requests.clone().map(BlockSender).ok_or_else(stopped)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Without a sender the thread ends once it has done what is still waiting.
        drop(self.requests.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the metadata writer panicked");
        }
    }
}

fn run(connection: &Connection, path: &Path, waiting: &Receiver<Request>, indexer: &SyncSender<Order>) {
    // The first change is followed by a look: another process may have left blocks to be made.
    let mut unseen = CHANGES_PER_LOOK;
    let mut log = LogKeeping::default();
    while let Ok(first) = waiting.recv() {
        let (mut batch, mut replies, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
        for request in iter::once(first).chain(waiting.try_iter().take(LARGEST_BATCH - 1)) {
            match request {
                Request::Changes(work, reply) => {
                    batch.push(work);
                    replies.push(reply);
                }
                Request::Block(block, reply) => blocks.push((block, reply)),
            }
        }
        unseen += batch.iter().map(|work| work.changes.len()).sum::<usize>();
        // A caller who is gone misses the answer; the change stands all the same.
        if !batch.is_empty() {
            for (reply, outcome) in replies.into_iter().zip(commit(connection, path, batch)) {
                let _ = reply.send(outcome);
            }
        }
        for (block, reply) in blocks {
            let _ = reply.send(commit_block(connection, path, &block));
        }
        log.after_commit(connection, path);
        // An indexer that already has an order, or is gone, needs none.
        if unseen >= CHANGES_PER_LOOK && indexer.try_send(Order::Look).is_ok() {
            unseen = 0;
        }
    }
}

/// Stores a block of the search index. The records do not depend on it: if it fails they are searched without it.
fn commit_block(connection: &Connection, path: &Path, block: &Block) -> Result<()> {
    let turn = turn::wait(path)?;
    let begun = connection.execute_batch("BEGIN IMMEDIATE");
    drop(turn);
    let stored = begun.and_then(|()| store_block(connection, block)).and_then(|()| connection.execute_batch("COMMIT"));
    stored.inspect_err(|_| roll_back(connection)).map_err(failed("store a block of the search index", path))
}

/// Executes what was waiting in one transaction. Returns one outcome for each, in their order, once they are durable.
fn commit(connection: &Connection, path: &Path, batch: Vec<Work>) -> Vec<Result<Vec<Applied>>> {
    let count = batch.len();
    let everybody = |action, error: rusqlite::Error| {
        let error = Arc::new(error);
        iter::repeat_with(|| Err(shared_failure(action, path, &error))).take(count).collect()
    };
    let turn = match turn::wait(path) {
        Ok(turn) => turn,
        Err(error) => return vec![Err(error); count],
    };
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        return everybody("begin a transaction", error);
    }
    drop(turn);
    let mut outcomes = Vec::with_capacity(count);
    for work in &batch {
        match within_savepoint(connection, path, work.clone()) {
            Ok(outcome) => outcomes.push(outcome),
            Err(TransactionLost(error)) => {
                roll_back(connection);
                if count == 1 {
                    return vec![Err(error)];
                }
                // Nothing of the batch is kept, and who is to blame shows when each is tried alone.
                return batch.into_iter().flat_map(|work| commit(connection, path, vec![work])).collect();
            }
        }
    }
    match connection.execute_batch("COMMIT") {
        Ok(()) => outcomes,
        Err(error) => {
            roll_back(connection);
            everybody("commit", error)
        }
    }
}

/// After some failures, a full disk among them, SQLite rolls back not the savepoint but the whole transaction.
struct TransactionLost(Error);

/// Executes changes that belong together and undoes what they did if one fails.
fn within_savepoint(connection: &Connection, path: &Path, work: Work) -> Result<Result<Vec<Applied>>, TransactionLost> {
    let run = |sql| connection.execute_batch(sql).map_err(failed("use a savepoint", path));
    run("SAVEPOINT change").map_err(TransactionLost)?;
    match execute_all(&mut SqliteLedger { connection, path }, work.changes, work.expected_revision) {
        Ok(applied) => run("RELEASE change").map(|()| Ok(applied)).map_err(TransactionLost),
        Err(error) => match run("ROLLBACK TO change; RELEASE change") {
            Ok(()) => Ok(Err(error)),
            Err(_) => Err(TransactionLost(error)),
        },
    }
}

fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot roll back a transaction");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seedhouse_core::{Action, Code, Framework, Kind, ModelType, Registration, Status, Timestamp};
    use serde_json::Map;

    use super::*;
    use crate::sqlite::{connection, schema};

    fn change(base: &str, version: &str, description: String) -> Work {
        let registration = Registration {
            base: base.parse().unwrap(),
            version: Some(version.parse().unwrap()),
            model_id: None,
            name: None,
            model_type: ModelType::Vision,
            framework: Framework::Gguf,
            status: Status::Ready,
            manifest: None,
            fields: Map::from_iter([("notes".to_owned(), description.into())]),
            idempotency_key: None,
        };
        let change = Change {
            at: Timestamp::now(),
            actor: "test".into(),
            reason: None,
            action: Action::Register(Box::new(registration)),
        };
        Work { changes: vec![change], expected_revision: None }
    }

    fn prepared(path: &Path) -> Connection {
        let mut connection = connection::writing(path).unwrap();
        schema::prepare(&mut connection, path).unwrap();
        connection
    }

    fn number(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn failing_change_does_not_undo_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seedhouse.db");
        let connection = prepared(&path);
        let batch = ["1", "1", "2", "1", "3"].map(|version| change("m", version, String::new()));
        let outcomes = commit(&connection, &path, batch.into());
        let told: Vec<Result<(u64, u64), Kind>> = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Ok(applied) => Ok((applied[0].entry.ordinal, applied[0].revision)),
                Err(Error::AlreadyExists { kind, .. }) => Err(kind),
                Err(other) => panic!("{other}"),
            })
            .collect();
        assert_eq!(told, [Ok((1, 1)), Err(Kind::Version), Ok((2, 2)), Err(Kind::Version), Ok((3, 3))]);
        let other = prepared(&path);
        assert_eq!(number(&other, "SELECT count(*) FROM version"), 3);
        assert_eq!(number(&other, "SELECT max(sequence) FROM event"), 3);
    }

    #[test]
    fn change_that_fails_halfway_is_undone_and_its_neighbours_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seedhouse.db");
        let connection = prepared(&path);
        let trigger = "CREATE TRIGGER broken BEFORE INSERT ON event WHEN NEW.subject = 'm_v2'
                       BEGIN SELECT RAISE(ABORT, 'broken on purpose'); END";
        connection.execute_batch(trigger).unwrap();
        let batch = ["1", "2", "3"].map(|version| change("m", version, String::new()));
        let outcomes = commit(&connection, &path, batch.into());
        assert_eq!(outcomes[1].as_ref().unwrap_err().code(), Code::Internal);
        let ordinals: Vec<u64> = outcomes.iter().flatten().flatten().map(|applied| applied.entry.ordinal).collect();
        assert_eq!(ordinals, [1, 2]);
        assert_eq!(number(&connection, "SELECT count(*) FROM version WHERE label = '2'"), 0);
        assert_eq!(number(&connection, "SELECT max(sequence) FROM event"), 2);
    }

    #[test]
    fn database_locked_by_somebody_else_is_told_to_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seedhouse.db");
        let [connection, other] = [prepared(&path), prepared(&path)];
        connection.busy_timeout(Duration::from_millis(10)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let batch = || ["1", "2"].map(|version| change("m", version, String::new())).into();
        let outcomes = commit(&connection, &path, batch());
        assert_eq!(outcomes.len(), 2);
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable);
            assert!(error.to_string().contains("seedhouse.db"), "{error}");
        }
        other.execute_batch("ROLLBACK").unwrap();
        assert!(commit(&connection, &path, batch()).iter().all(Result::is_ok));
    }

    #[test]
    fn full_disk_is_told_to_whom_it_concerns_and_leaves_no_half_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seedhouse.db");
        let connection = prepared(&path);
        let pages = number(&connection, "PRAGMA page_count");
        connection.query_row(&format!("PRAGMA max_page_count = {}", pages + 8), [], |_| Ok(())).unwrap();
        let batch = vec![change("m", "1", String::new()), change("m", "2", "长".repeat(1_000_000))];
        let outcomes = commit(&connection, &path, batch);
        assert!(outcomes[0].is_ok(), "the neighbour that fits is kept");
        assert_eq!(outcomes[1].as_ref().unwrap_err().code(), Code::Exhausted);
        assert_eq!(number(&connection, "SELECT count(*) FROM version"), 1);
        assert_eq!(number(&connection, "SELECT count(*) FROM event"), 1);
        assert!(connection.is_autocommit(), "no transaction is left open");
        let outcomes = commit(&connection, &path, vec![change("m", "3", String::new())]);
        assert!(outcomes[0].is_ok(), "what fits is still taken");
    }
}
