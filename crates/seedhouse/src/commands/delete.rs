//! `seedhouse delete` and `seedhouse undelete`.

use seedhouse_core::DeletionGuard;
use seedhouse_service::Service;

use crate::cli::{DeleteArguments, UndeleteArguments};
use crate::commands::{origin, print_changed};
use crate::output::Output;

pub(super) fn run(service: &Service, arguments: &DeleteArguments, output: Output) -> anyhow::Result<()> {
    let guard = if arguments.force { DeletionGuard::Force } else { DeletionGuard::RefuseIfNeeded };
    let entry = service.delete(&arguments.reference, guard, origin(arguments.reason.as_ref()))?;
    print_changed(&entry, "deleted", output)
}

pub(super) fn undelete(service: &Service, arguments: &UndeleteArguments, output: Output) -> anyhow::Result<()> {
    let entry = service.undelete(arguments.model_id.clone(), origin(arguments.reason.as_ref()))?;
    print_changed(&entry, "undeleted", output)
}
