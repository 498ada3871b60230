//! Adapters of the storage ports: where records, events and bytes are kept.
//!
//! ```text
//! metadata     sqlite (one writer thread, group commit), memory; both let `execute` decide, and `fill` from a snapshot
//! tokens       sqlite, memory_tokens
//! jobs         sqlite, memory_jobs; both let `job_steps` decide
//! artifacts    local_artifacts (content-addressed files in a folder), blob_folder (copies elsewhere, to repair from)
//! beside them  metadata_file (metadata.json, written again after every change)
//! ```
//!
//! ```
//! use seedhouse_core::{MetadataStore, Query};
//! use seedhouse_store::{LocalArtifacts, SqliteStore};
//!
//! # fn main() -> seedhouse_core::Result<()> {
//! # let folder = tempfile::tempdir().expect("the system has a folder for temporary files");
//! # let root = folder.path();
//! let store = SqliteStore::open(&root.join("seedhouse.db"))?;
//! let artifacts = LocalArtifacts::open(root)?;
//! assert!(store.search(&Query::default())?.entries.is_empty());
//! # drop(artifacts);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod blob_folder;
mod durable;
mod execute;
mod fill;
mod job_steps;
mod local_artifacts;
mod memory;
mod memory_jobs;
mod memory_tokens;
mod metadata_file;
mod resolve;
mod search_tokens;
mod set_aside;
mod sqlite;
mod version_key;

pub use blob_folder::LocalRepairSources;
pub use local_artifacts::LocalArtifacts;
pub use memory::MemoryStore;
pub use memory_jobs::MemoryJobs;
pub use memory_tokens::MemoryTokens;
pub use metadata_file::MetadataFile;
pub use sqlite::SqliteStore;
