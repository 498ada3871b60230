//! What is said about a table.

use std::hash::Hash;

use seedhouse_core::dataset::{Column, ColumnValues, DatasetKind, TableDataset};
use serde_json::{Map, Value, json};

use super::leaks::{feed_number, repeated};
use super::{Described, listed, numbers, unknown_classes};
use crate::limits::MOST_COUNTS_DESCRIBED;
use crate::table::{Table, counts, is_number};

pub(super) fn describe(table: &Table) -> Described {
    let dataset = &table.dataset;
    let mut schema = Map::new();
    schema.insert("task".to_owned(), json!(task(dataset)));
    schema
        .insert("columns".to_owned(), dataset.columns.iter().map(|column| described_column(dataset, column)).collect());
    schema.insert("unused_columns".to_owned(), json!(table.unused));
    schema.insert("rows_left_out".to_owned(), json!(table.rows_left_out));
    let statistics = dataset.columns.iter().map(|column| (column.name.clone(), figures(&column.values))).collect();
    Described { kind: DatasetKind::Table, schema, statistics, warnings: warnings(table) }
}

/// Returns what the targets ask for; `None` where there are none or some of each.
fn task(dataset: &TableDataset) -> Option<&'static str> {
    let is_target = |column: &&Column| dataset.targets.contains(&column.name);
    let are_classes = |column: &Column| matches!(column.values, ColumnValues::Categories { .. });
    let mut targets = dataset.columns.iter().filter(is_target);
    let first = are_classes(targets.next()?);
    match (first, targets.all(|column| are_classes(column) == first)) {
        (_, false) => None,
        (true, true) => Some("classification"),
        (false, true) => Some("regression"),
    }
}

fn described_column(dataset: &TableDataset, column: &Column) -> Value {
    let role = if dataset.targets.contains(&column.name) { "target" } else { "feature" };
    match &column.values {
        ColumnValues::Numbers(numbers) => {
            let is_whole = numbers.iter().all(|number| number.is_nan() || number.fract() == 0.0);
            json!({ "name": column.name, "role": role, "type": "number", "is_whole": is_whole })
        }
        ColumnValues::Categories { names, .. } => json!({
            "name": column.name, "role": role, "type": "category",
            "category_count": names.len(), "categories": listed(names),
        }),
    }
}

fn figures(values: &ColumnValues) -> Value {
    match values {
        ColumnValues::Numbers(numbers) => numbers::figures(numbers),
        ColumnValues::Categories { names, codes } => {
            let mut ranked: Vec<(&str, u64)> = counts(names, codes).into_iter().collect();
            ranked.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
            let frequent: Map<String, Value> = ranked
                .iter()
                .take(MOST_COUNTS_DESCRIBED)
                .map(|(name, count)| ((*name).to_owned(), json!(count)))
                .collect();
            let missing = codes.iter().filter(|code| code.is_none()).count();
            json!({
                "count": codes.len() - missing, "missing": missing, "distinct": names.len(), "most_frequent": frequent,
            })
        }
    }
}

fn warnings(table: &Table) -> Vec<String> {
    let dataset = &table.dataset;
    let mut warnings = table.notes.clone();
    for column in &dataset.columns {
        warnings.extend(constant(column));
        warnings.extend(nearly_numbers(column));
        if let (true, ColumnValues::Categories { names, codes }) =
            (dataset.targets.contains(&column.name), &column.values)
        {
            let what = format!("{} classes of `{}`", names.len(), column.name);
            warnings.extend(unknown_classes(&what, names, codes, &dataset.parts));
        }
    }
    warnings.extend(repeated("rows", &dataset.parts, |row, hasher| {
        for column in &dataset.columns {
            match &column.values {
                ColumnValues::Numbers(numbers) => feed_number(numbers[row], hasher),
                ColumnValues::Categories { codes, .. } => codes[row].hash(hasher),
            }
        }
    }));
    warnings
}

fn constant(column: &Column) -> Option<String> {
    let (is_constant, value) = match &column.values {
        ColumnValues::Numbers(numbers) => {
            let mut present = numbers.iter().filter(|number| !number.is_nan());
            let first = present.next();
            (first.is_some() && present.all(|number| Some(number) == first), first.map(f64::to_string))
        }
        ColumnValues::Categories { names, .. } => (names.len() == 1, names.first().cloned()),
    };
    match value {
        Some(value) if is_constant => {
            Some(format!("column `{}` is constant: `{value}` wherever it has a value", column.name))
        }
        Some(_) => None,
        None => Some(format!("column `{}` has no value in any row that is used", column.name)),
    }
}

/// Says which few texts make categories of a column that has numbers otherwise.
fn nearly_numbers(column: &Column) -> Option<String> {
    let ColumnValues::Categories { names, codes } = &column.values else { return None };
    let counts = counts(names, codes);
    let all: u64 = counts.values().sum();
    let others: Vec<&str> = counts.keys().copied().filter(|name| !is_number(name)).collect();
    let odd: u64 = others.iter().map(|name| counts[name]).sum();
    (odd > 0 && odd * 2 < all).then(|| {
        let shown = crate::split::shown(&others);
        format!(
            "column `{}` has categories because {odd} of {all} values are no numbers: {shown}; if they stand for missing values, declare them in `missing`",
            column.name
        )
    })
}
