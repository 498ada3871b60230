//! A connection of its own beside the writer's queue, for what is written seldom. It is opened when it is first needed.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;
use seedhouse_core::Result;

use super::connection::{failed, writing};
use super::turn;

/// The connection of one store for one purpose.
pub(super) struct OwnConnection {
    path: PathBuf,
    connection: Mutex<Option<Connection>>,
}

impl OwnConnection {
    /// Returns a connection to the database at `path`.
    pub(super) fn new(path: PathBuf) -> OwnConnection {
        OwnConnection { path, connection: Mutex::new(None) }
    }

    /// Writes something with the connection, when it is this process's turn; `action` names it in errors.
    pub(super) fn write<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<Result<T>>,
    ) -> Result<T> {
        let _turn = turn::wait(&self.path)?;
        self.with(action, work)
    }

    /// Does something with the connection; `action` names it in errors.
    pub(super) fn with<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<Result<T>>,
    ) -> Result<T> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match &mut *connection {
            Some(connection) => connection,
            none => none.insert(writing(&self.path)?),
        };
        work(connection).map_err(failed(action, &self.path))?
    }
}
