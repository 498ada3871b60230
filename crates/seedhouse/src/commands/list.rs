//! `seedhouse list`: versions, newest registration first.

use seedhouse_core::{Entry, Query};
use seedhouse_service::Service;

use crate::cli::ListArguments;
use crate::output::{Output, entry_json, human_size, print_json, print_table};

pub(super) fn run(service: &Service, arguments: &ListArguments, output: Output) -> anyhow::Result<()> {
    if arguments.deleted {
        return print_entries(&service.deleted()?, output);
    }
    let query = Query {
        text: arguments.search.clone(),
        model_type: arguments.model_type.as_deref().map(Into::into),
        status: arguments.status.as_deref().map(str::parse).transpose()?,
        limit: None,
    };
    print_entries(&service.list(&query)?, output)
}

/// Prints versions as a table or as an array.
pub(super) fn print_entries(entries: &[Entry], output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => print_json(&entries.iter().map(entry_json).collect::<Vec<_>>()),
        Output::Text => {
            let header = ["MODEL ID", "VERSION", "TYPE", "FRAMEWORK", "STATUS", "SIZE", "CREATED", "NAME"];
            Ok(print_table(&header, &entries.iter().map(row).collect::<Vec<_>>())?)
        }
    }
}

fn row(entry: &Entry) -> Vec<String> {
    let record = &entry.record;
    vec![
        record.model_id.to_string(),
        record.version.to_string(),
        record.model_type.to_string(),
        record.framework.to_string(),
        record.status.to_string(),
        record.size_bytes().map_or_else(|| "-".to_owned(), human_size),
        record.created_at.to_string(),
        record.name.clone(),
    ]
}
