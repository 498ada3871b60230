//! `seedhouse card`: prints, sets or removes the model card of a version.

use std::io::Read;
use std::path::Path;

use seedhouse_core::{Card, Error, Kind, Result};
use seedhouse_service::Service;

use crate::cli::CardArguments;
use crate::commands::{origin, print_changed};
use crate::output::{Output, print_text};

pub(super) fn print(service: &Service, arguments: &CardArguments) -> anyhow::Result<()> {
    let entry = service.show(&arguments.reference)?;
    let model_id = &entry.record.model_id;
    let card = entry.record.card().ok_or_else(|| Error::not_found(Kind::File, format!("model card of {model_id}")))?;
    Ok(print_text(card)?)
}

pub(super) fn change(service: &Service, arguments: &CardArguments, output: Output) -> anyhow::Result<()> {
    let origin = origin(arguments.reason.as_ref());
    let entry = match &arguments.set {
        Some(path) => service.set_card(&arguments.reference, None, read_card(path)?, origin)?,
        None => service.remove_card(&arguments.reference, origin)?,
    };
    print_changed(&entry, "updated", output)
}

/// Reads a little more than a card may have: enough to be refused for its length.
fn read_card(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| seedhouse_service::missing_or_unreadable(path, error))?;
    let length = Card::LONGEST_BYTES as u64 + 1;
    file.take(length).read_to_string(&mut text).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Error::malformed(format!("file `{}`", path.display()), "it is not UTF-8"),
        _ => Error::io("read", path)(error),
    })?;
    Ok(text)
}
