//! `seedhouse lineage`: what a version was made from, and what was made from it.

use seedhouse_service::{Lineage, Relative, Service};

use crate::cli::LineageArguments;
use crate::output::{Output, print_json, print_line, print_table};

pub(super) fn run(service: &Service, arguments: &LineageArguments, output: Output) -> anyhow::Result<()> {
    let lineage = service.lineage(&arguments.reference)?;
    match output {
        Output::Json => print_json(&lineage),
        Output::Text => print_lineage(&lineage),
    }
}

fn print_lineage(lineage: &Lineage) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = lineage
        .ancestors
        .iter()
        .rev()
        .map(|relative| row(relative, "ancestor"))
        .chain([row(&lineage.version, "asked for")])
        .chain(lineage.descendants.iter().map(|relative| row(relative, "descendant")))
        .collect();
    print_table(&["MODEL_ID", "IS", "STATUS", "RELATION", "PARENT"], &rows)?;
    if lineage.cut_off {
        print_line("there are more relatives than are listed")?;
    }
    Ok(())
}

fn row(relative: &Relative, is: &str) -> Vec<String> {
    let status = match &relative.known {
        Some(known) if known.deleted => format!("{}, deleted", known.status),
        Some(known) => known.status.to_string(),
        None => "not in this registry".to_owned(),
    };
    let parent = relative.parent.as_ref().map(ToString::to_string).unwrap_or_default();
    let relation = relative.relation.map(|relation| relation.to_string()).unwrap_or_default();
    vec![relative.model_id.to_string(), is.to_owned(), status, relation, parent]
}
