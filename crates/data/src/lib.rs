//! Reads datasets: tables, pictures and texts out of files that users have.
//!
//! ```text
//! reader       the port: recognises the files, reads them, describes what was read
//! source       the bytes of a file, unpacked where it is packed, within limits
//! format       what a file is, by its content
//! declaration  whether what the user says about the files can be meant
//! table        rows out of CSV, JSON lines and Parquet; columns and their types; which of them are used
//! images       pictures in folders, one folder for each class
//! idx          pictures and labels in IDX files
//! text         plain text, cut into pieces
//! split        the part of each example
//! describe     schema, statistics and warnings
//! ```
//!
//! Files are untrusted: every size is checked before memory is taken for it, against the limits in [`limits`], and a panic inside a
//! library that reads a format becomes an error that names the file.

#![forbid(unsafe_code)]

mod declaration;
mod describe;
mod format;
mod guarded;
mod idx;
mod images;
pub mod limits;
mod reader;
mod source;
mod split;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use reader::FileDatasets;
