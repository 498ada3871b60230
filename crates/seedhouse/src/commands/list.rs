//! `seedhouse list`: versions that match, page by page if asked.

use seedhouse_core::{Entry, Field, Query};
use seedhouse_service::Service;
use serde_json::json;

use crate::cli::ListArguments;
use crate::output::{Output, entry_json, human_size, print_json, print_table};

pub(super) fn run(service: &Service, arguments: &ListArguments, output: Output) -> anyhow::Result<()> {
    if arguments.deleted {
        return print_entries(&service.deleted()?, output);
    }
    let page = service.list(&query(arguments))?;
    let in_pages = arguments.limit.is_some() || arguments.cursor.is_some();
    if output == Output::Json && in_pages {
        let entries: Vec<_> = page.entries.iter().map(entry_json).collect();
        return print_json(&json!({ "entries": entries, "next_cursor": page.next.map(|next| next.to_string()) }));
    }
    print_entries(&page.entries, output)?;
    if let Some(next) = page.next {
        eprintln!("more: --cursor {next}");
    }
    Ok(())
}

fn query(arguments: &ListArguments) -> Query {
    let mut filter = arguments.filter.clone().unwrap_or_default();
    if let Some(model_type) = &arguments.model_type {
        filter = filter.and_equal(Field::Type, model_type);
    }
    if let Some(status) = &arguments.status {
        filter = filter.and_equal(Field::Status, status.as_str());
    }
    Query {
        text: arguments.search.clone(),
        filter,
        order: arguments.order.clone().unwrap_or_default(),
        limit: arguments.limit,
        cursor: arguments.cursor.clone(),
    }
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
        if record.is_corrupt() { format!("{} (CORRUPT)", record.status) } else { record.status.to_string() },
        record.size_bytes().map_or_else(|| "-".to_owned(), human_size),
        record.created_at.to_string(),
        record.name.clone(),
    ]
}
