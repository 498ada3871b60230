//! `seedhouse alias`: names that point at versions and move.

use seedhouse_core::{ExpectedHolder, Result};
use seedhouse_service::{Service, Warming};

use crate::cli::AliasCommand;
use crate::commands::{origin, print_changed};
use crate::output::Output;

pub(super) fn run(service: &Service, command: &AliasCommand, output: Output) -> anyhow::Result<()> {
    let (entry, what) = match command {
        AliasCommand::Set { reference, alias, expected, reason } => {
            let expected = expected_holder(expected.as_deref())?;
            let entry = service.move_alias(reference, alias.clone(), expected, origin(reason.as_ref()))?;
            (entry, format!("`{alias}` points at"))
        }
        AliasCommand::Rollback { base, alias, reason } => {
            let entry = service.roll_back_alias(base, alias.clone(), Warming::default(), origin(reason.as_ref()))?;
            (entry, format!("`{alias}` points again at"))
        }
        AliasCommand::Remove { base, alias, reason } => {
            let entry = service.remove_alias(base.clone(), alias.clone(), origin(reason.as_ref()))?;
            (entry, format!("`{alias}` no longer points at"))
        }
    };
    print_changed(&entry, &what, output)
}

fn expected_holder(expected: Option<&str>) -> Result<ExpectedHolder> {
    Ok(match expected {
        None => ExpectedHolder::Any,
        Some("none") => ExpectedHolder::Exactly(None),
        Some(model_id) => ExpectedHolder::Exactly(Some(model_id.parse()?)),
    })
}
