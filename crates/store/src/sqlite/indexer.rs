//! Makes the blocks of the search index, in a thread of its own, from the records.
//!
//! ```text
//! writer ── after some hundred changes ──> indexer: is a block full, or do many of its versions pend?
//!        <── the block, to be stored ───── reads its records, sorts, packs
//! ```
//!
//! A change waits for none of this, and a search does not either: until a block is there its versions are read from the records.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, OptionalExtension, Row};
use seedhouse_core::{Error, Result};

use super::connection::{failed, reading};
use super::rows::{VERSION_COLUMNS, VersionRow};
use super::search_index::block::BlockBuilder;
use super::search_index::{Block, SPAN, block_of, indexed_to, place_of};
use super::writer::BlockSender;

/// A block is made again when this many of its versions pend, or when it has the most and [`MOST_PENDING`] pend in all:
/// a search reads each of them by itself.
const MOST_PENDING_OF_BLOCK: i64 = 256;
const MOST_PENDING: i64 = 1024;

/// The owner of the thread. Dropping it waits for the block that is being made, so that even processes that each register one
/// version get blocks made.
pub(super) struct Indexer {
    orders: SyncSender<Order>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is asked to do.
pub(super) enum Order {
    /// Make the blocks that are due.
    Look,
    /// Make those and also one of the rows behind the last full block, and answer.
    Settle(SyncSender<Result<()>>),
    /// End.
    Stop,
}

/// Returns the sender of orders, and what the thread takes them from. One order may wait: a second `Look` says nothing new.
pub(super) fn orders() -> (SyncSender<Order>, Receiver<Order>) {
    sync_channel(1)
}

impl Indexer {
    /// Starts the thread.
    pub(super) fn start(
        path: PathBuf,
        orders: (SyncSender<Order>, Receiver<Order>),
        blocks: BlockSender,
    ) -> Result<Indexer> {
        let (orders, waiting) = orders;
        let stopping = Arc::new(AtomicBool::new(false));
        let work = Work { path, connection: None, blocks, stopping: stopping.clone() };
        let thread = thread::Builder::new()
            .name("search indexer".into())
            .spawn(move || work.run(&waiting))
            .map_err(Error::store("start its indexer thread"))?;
        Ok(Indexer { orders, stopping, thread: Some(thread) })
    }

    /// Asks for the blocks that are due, and does not wait for them.
    pub(super) fn look(&self) {
        // An indexer that already has an order, or is gone, needs none.
        let _ = self.orders.try_send(Order::Look);
    }

    /// Brings the index up to the newest version and waits for it.
    pub(super) fn settle(&self) -> Result<()> {
        let stopped = || Error::Internal("the search indexer has stopped".into());
        let (reply, answer) = sync_channel(1);
        self.orders.send(Order::Settle(reply)).map_err(|_| stopped())?;
        answer.recv().map_err(|_| stopped())?
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Behind the order that may be waiting. A thread that is gone needs none.
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the search indexer panicked");
        }
    }
}

struct Work {
    path: PathBuf,
    /// Opened with the first order, so that a program that only reads has none.
    connection: Option<Connection>,
    blocks: BlockSender,
    stopping: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self, waiting: &Receiver<Order>) {
        while let Ok(order) = waiting.recv() {
            match order {
                Order::Look => {
                    if let Err(error) = self.make_blocks(false) {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "cannot index versions; searches read their records instead");
                    }
                }
                Order::Settle(reply) => {
                    // Who asked may be gone.
                    let _ = reply.send(self.make_blocks(true));
                }
                Order::Stop => return,
            }
        }
    }

    fn make_blocks(&mut self, settle: bool) -> Result<()> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => reading(&self.path)?,
        };
        let connection = &*self.connection.insert(connection);
        loop {
            let due = due(connection, settle).map_err(failed("look for versions to index", &self.path))?;
            let Some(number) = due else { return Ok(()) };
            let block = block(connection, &self.path, number)?;
            self.blocks.store(block)?;
            if self.stopping.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }
}

/// Returns the number of a block that should be made, if there is one.
fn due(connection: &Connection, settle: bool) -> rusqlite::Result<Option<i64>> {
    let to = indexed_to(connection)?;
    let next = "SELECT id FROM version WHERE id > ?1 ORDER BY id LIMIT 1";
    let next: Option<i64> = connection.prepare_cached(next)?.query_row([to], |row| row.get(0)).optional()?;
    if let Some(number) = next.map(block_of) {
        let newest = "SELECT max(id) FROM version";
        let newest: i64 = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
        if settle || newest >= (number + 1) * SPAN - 1 {
            return Ok(Some(number));
        }
    }
    let pending = "SELECT id / ?1 AS block, count(*) AS number, sum(count(*)) OVER ()
                   FROM search_pending GROUP BY block ORDER BY number DESC LIMIT 1";
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let most = connection.prepare_cached(pending)?.query_row([SPAN], read).optional()?;
    let is_due = |of_block: i64, of_all: i64| settle || of_block >= MOST_PENDING_OF_BLOCK || of_all >= MOST_PENDING;
    Ok(most.filter(|(_, of_block, of_all)| is_due(*of_block, *of_all)).map(|(block, ..)| block))
}

/// Makes a block from the records.
fn block(connection: &Connection, path: &Path, number: i64) -> Result<Block> {
    let failed = || failed("read versions to index", path);
    // One transaction, so that the block shows one revision.
    let transaction = connection.unchecked_transaction().map_err(failed())?;
    let sql = "SELECT coalesce(max(sequence), 0) FROM event";
    let revision = transaction.query_row(sql, [], |row| row.get(0)).map_err(failed())?;
    let sql = format!("SELECT {VERSION_COLUMNS}, id, deleted FROM version WHERE id BETWEEN ?1 AND ?2 ORDER BY id");
    let mut statement = transaction.prepare_cached(&sql).map_err(failed())?;
    let mut rows = statement.query([number * SPAN, (number + 1) * SPAN - 1]).map_err(failed())?;
    let mut builder = BlockBuilder::new();
    let mut last_id = number * SPAN;
    while let Some(row) = rows.next().map_err(failed())? {
        let read = |row: &Row<'_>| Ok((VersionRow::read(row)?, row.get(4)?, row.get(5)?));
        let (version, id, deleted): (VersionRow, i64, bool) = read(row).map_err(failed())?;
        last_id = id;
        if !deleted {
            builder.add(place_of(id), &version.into_entry()?);
        }
    }
    Ok(Block { number, last_id, revision, content: builder.build() })
}
