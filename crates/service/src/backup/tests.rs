//! Backups of real registries, whole and damaged, and what restoring them does.

mod damage;
mod fixture;
mod making;
mod restoring;
mod turning_back;
