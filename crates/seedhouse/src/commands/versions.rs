//! `seedhouse versions`: the versions of a model, newest version first.

use seedhouse_service::Service;

use crate::cli::VersionsArguments;
use crate::commands::list::print_entries;
use crate::output::Output;

pub(super) fn run(service: &Service, arguments: &VersionsArguments, output: Output) -> anyhow::Result<()> {
    print_entries(&service.versions(&arguments.reference)?, output)
}
