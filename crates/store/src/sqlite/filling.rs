//! Taking another store's state over, in one transaction on a connection of its own: the source is read meanwhile, and the
//! writer's queue is no place for something that long.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};
use seedhouse_core::{Error, Result, Snapshot};

use super::connection::{failed, writing};
use super::ledger::SqliteLedger;
use super::turn;
use crate::fill::fill;

/// Fills the tables, if they are empty, and returns the revision. Nothing is kept of what fails halfway.
pub(super) fn fill_empty(path: &Path, source: &mut dyn Snapshot) -> Result<u64> {
    let mut connection = writing(path)?;
    let turn = turn::wait(path)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed("begin a transaction", path))?;
    drop(turn);
    let [versions, events] = counts(&transaction).map_err(failed("count rows", path))?;
    if (versions, events) != (0, 0) {
        return Err(Error::NotEmpty { versions, events });
    }
    let revision = fill(&mut SqliteLedger { connection: &transaction, path }, source)?;
    transaction.commit().map_err(failed("commit", path))?;
    Ok(revision)
}

fn counts(connection: &Connection) -> rusqlite::Result<[u64; 2]> {
    let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    Ok([count("SELECT count(*) FROM version")?, count("SELECT count(*) FROM event")?])
}
