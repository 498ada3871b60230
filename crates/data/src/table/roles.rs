//! Which columns are features, targets or neither; which rows are used.

use std::collections::BTreeMap;

use seedhouse_core::dataset::{Column, ColumnValues, DatasetDeclaration, SplitPart, TableDataset};
use seedhouse_core::{Error, Result};
use serde_json::Value;

use super::cell::Missing;
use super::column::take;
use super::{RawColumn, RawTable, known_column};
use crate::split::{Examples, shown, test_files};

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Feature,
    Target,
    /// Neither; it may say the part or the group.
    Unused,
}

/// A table with what is to be said about it beside its examples.
pub(crate) struct Table {
    pub(crate) dataset: TableDataset,
    /// The columns that are neither features nor targets.
    pub(crate) unused: Vec<String>,
    /// Why columns or rows were left out.
    pub(crate) notes: Vec<String>,
    /// How many rows were left out.
    pub(crate) rows_left_out: u64,
}

/// Chooses columns and rows, and splits the rows.
pub(crate) fn choose(raw: &RawTable, files: &[&str], declaration: &DatasetDeclaration) -> Result<Table> {
    let mut notes = Vec::new();
    let roles = roles(raw, declaration, &mut notes)?;
    let targets: Vec<&RawColumn> = with_role(raw, &roles, Role::Target);
    let rows = rows_used(raw, &targets, declaration, &mut notes)?;
    check_targets(&targets, &rows)?;
    let parts = row_parts(raw, files, &rows, declaration)?;
    let columns: Vec<Column> = raw
        .columns
        .iter()
        .zip(&roles)
        .filter(|(_, role)| **role != Role::Unused)
        .map(|(column, _)| Column { name: column.name.clone(), values: take(&column.values, &rows) })
        .collect();
    Ok(Table {
        dataset: TableDataset {
            columns,
            features: names_with_role(raw, &roles, Role::Feature),
            targets: declaration.targets.clone(),
            parts,
        },
        unused: names_with_role(raw, &roles, Role::Unused),
        notes,
        rows_left_out: (raw.rows - rows.len()) as u64,
    })
}

fn with_role<'t>(raw: &'t RawTable, roles: &[Role], wanted: Role) -> Vec<&'t RawColumn> {
    raw.columns.iter().zip(roles).filter(|(_, role)| **role == wanted).map(|(column, _)| column).collect()
}

fn names_with_role(raw: &RawTable, roles: &[Role], wanted: Role) -> Vec<String> {
    with_role(raw, roles, wanted).iter().map(|column| column.name.clone()).collect()
}

fn roles(raw: &RawTable, declaration: &DatasetDeclaration, notes: &mut Vec<String>) -> Result<Vec<Role>> {
    let names: Vec<String> = raw.columns.iter().map(|column| column.name.clone()).collect();
    let features_are_named = !declaration.features.is_empty();
    let all = if features_are_named { Role::Unused } else { Role::Feature };
    let mut roles = vec![all; names.len()];
    if let Some(column) = &declaration.split.column {
        roles[known_column("split.column", column, &names)?] = Role::Unused;
    }
    for feature in &declaration.features {
        let place = known_column("features", feature, &names)?;
        if declaration.split.column.as_ref() == Some(feature) {
            return Err(Error::invalid("features", feature, "must not be the column that says the part"));
        }
        if is_all_missing(&raw.columns[place].values) {
            return Err(Error::invalid("features", feature, "must have a value in some row; all of them are missing"));
        }
        roles[place] = Role::Feature;
    }
    for target in &declaration.targets {
        let place = known_column("targets", target, &names)?;
        if declaration.split.column.as_ref() == Some(target) {
            return Err(Error::invalid("targets", target, "must not be the column that says the part"));
        }
        roles[place] = Role::Target;
    }
    for (role, column) in roles.iter_mut().zip(&raw.columns) {
        if *role == Role::Feature && is_all_missing(&column.values) {
            notes.push(format!("column `{}` has no value in any row, so it is no feature", column.name));
            *role = Role::Unused;
        }
    }
    if !roles.contains(&Role::Feature) {
        return Err(Error::invalid(
            "features",
            "",
            format!("no column is left to predict from; the files have {}", shown(&names)),
        ));
    }
    Ok(roles)
}

fn is_all_missing(values: &ColumnValues) -> bool {
    match values {
        ColumnValues::Numbers(numbers) => numbers.iter().all(|number| number.is_nan()),
        ColumnValues::Categories { codes, .. } => codes.iter().all(Option::is_none),
    }
}

fn is_missing(values: &ColumnValues, row: usize) -> bool {
    match values {
        ColumnValues::Numbers(numbers) => numbers[row].is_nan(),
        ColumnValues::Categories { codes, .. } => codes[row].is_none(),
    }
}

/// Returns the rows that are used: without those that the user drops, and without those that have no target.
fn rows_used(
    raw: &RawTable,
    targets: &[&RawColumn],
    declaration: &DatasetDeclaration,
    notes: &mut Vec<String>,
) -> Result<Vec<usize>> {
    let names: Vec<String> = raw.columns.iter().map(|column| column.name.clone()).collect();
    let missing = Missing::new(&declaration.missing);
    let mut is_used = vec![true; raw.rows];
    for (name, value) in &declaration.drop_rows {
        let place = known_column("drop_rows", name, &names)?;
        let drops = Drops::new(&raw.columns[place], value, &missing)?;
        let mut count = 0_u64;
        for (row, is_used) in is_used.iter_mut().enumerate() {
            if drops.row(row) {
                *is_used = false;
                count += 1;
            }
        }
        notes.push(format!("{count} of {} rows have {value} in column `{name}` and are left out", raw.rows));
    }
    for target in targets {
        let without = |(row, used): (usize, &bool)| *used && is_missing(&target.values, row);
        let rows: Vec<usize> = is_used.iter().enumerate().filter(|entry| without(*entry)).map(|(row, _)| row).collect();
        if !rows.is_empty() {
            notes.push(format!("{} rows have no value in the target `{}` and are left out", rows.len(), target.name));
        }
        rows.into_iter().for_each(|row| is_used[row] = false);
    }
    let rows: Vec<usize> = (0..raw.rows).filter(|row| is_used[*row]).collect();
    if rows.is_empty() {
        return Err(Error::malformed(
            "the dataset",
            format!("none of its {} rows is left: {}", raw.rows, notes.join("; ")),
        ));
    }
    Ok(rows)
}

/// Whether rows are dropped for the value of a column.
enum Drops<'t> {
    Missing(&'t ColumnValues),
    Number(&'t [f64], f64),
    Code(&'t [Option<u32>], u32),
    None,
}

impl<'t> Drops<'t> {
    fn new(column: &'t RawColumn, value: &Value, missing: &Missing) -> Result<Drops<'t>> {
        let text = match value {
            Value::Null => return Ok(Drops::Missing(&column.values)),
            Value::String(text) if missing.is_missing_text(text) => return Ok(Drops::Missing(&column.values)),
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(Error::invalid("drop_rows", value, "must give one number, text or null for each column"));
            }
        };
        match &column.values {
            ColumnValues::Numbers(numbers) => match text.trim().parse() {
                Ok(number) => Ok(Drops::Number(numbers, number)),
                Err(_) => {
                    let rule = format!("must be a number or null: column `{}` has numbers", column.name);
                    Err(Error::invalid("drop_rows", text, rule))
                }
            },
            ColumnValues::Categories { names, codes } => {
                Ok(names.binary_search(&text).map_or(Drops::None, |place| Drops::Code(codes, place as u32)))
            }
        }
    }

    fn row(&self, row: usize) -> bool {
        match self {
            Drops::Missing(values) => is_missing(values, row),
            Drops::Number(numbers, number) => numbers[row] == *number,
            Drops::Code(codes, code) => codes[row] == Some(*code),
            Drops::None => false,
        }
    }
}

fn check_targets(targets: &[&RawColumn], rows: &[usize]) -> Result<()> {
    for target in targets {
        let is_constant = match &target.values {
            ColumnValues::Numbers(numbers) => rows.iter().all(|row| numbers[*row] == numbers[rows[0]]),
            ColumnValues::Categories { codes, .. } => rows.iter().all(|row| codes[*row] == codes[rows[0]]),
        };
        if is_constant {
            let value = shown_value(&target.values, rows[0]);
            let rule = format!("is `{value}` in each of {} rows, so there is nothing to predict", rows.len());
            return Err(Error::invalid("targets", &target.name, rule));
        }
    }
    Ok(())
}

fn shown_value(values: &ColumnValues, row: usize) -> String {
    match values {
        ColumnValues::Numbers(numbers) if numbers[row].is_nan() => "missing".to_owned(),
        ColumnValues::Numbers(numbers) => numbers[row].to_string(),
        ColumnValues::Categories { names, codes } => {
            codes[row].map_or("missing".to_owned(), |code| names[code as usize].clone())
        }
    }
}

/// Returns the part of each used row.
pub(crate) fn row_parts(
    raw: &RawTable,
    files: &[&str],
    rows: &[usize],
    declaration: &DatasetDeclaration,
) -> Result<Vec<SplitPart>> {
    let split = &declaration.split;
    let names: Vec<String> = raw.columns.iter().map(|column| column.name.clone()).collect();
    if let Some(column) = &split.column {
        let place = known_column("split.column", column, &names)?;
        return rows.iter().map(|row| declared_part(&raw.columns[place], *row)).collect();
    }
    let is_test: Option<Vec<bool>> = test_files(split, files)?.map(|is_test| {
        let file = |row: usize| raw.file_of_row.get(row).map_or(0, |file| *file as usize);
        rows.iter().map(|row| is_test[file(*row)]).collect()
    });
    let classes = if split.stratify { Some(classes(raw, &declaration.targets, rows)?) } else { None };
    let groups = split
        .group_by
        .iter()
        .map(|name| known_column("split.group_by", name, &names).map(|place| &raw.columns[place].values))
        .collect::<Result<Vec<_>>>()?;
    let examples = Examples { split, is_test: is_test.as_deref(), classes: classes.as_deref(), count: rows.len() };
    Ok(examples.parts_by_key(|place| match groups.is_empty() {
        true => crate::split::place_key(rows[place]),
        false => group_key(&groups, rows[place], split.group_step),
    }))
}

/// What rows that stay together have in common.
fn group_key(groups: &[&ColumnValues], row: usize, step: Option<f64>) -> Vec<u8> {
    let mut key = b"group".to_vec();
    for values in groups {
        match values {
            ColumnValues::Numbers(numbers) if numbers[row].is_nan() => key.push(0),
            ColumnValues::Numbers(numbers) => {
                let cell = step.map_or(numbers[row], |step| (numbers[row] / step).floor());
                key.push(1);
                // Minus nothing is nothing.
                key.extend((cell + 0.0).to_le_bytes());
            }
            ColumnValues::Categories { names, codes } => match codes[row] {
                None => key.push(0),
                Some(code) => {
                    let name = &names[code as usize];
                    key.push(2);
                    key.extend((name.len() as u64).to_le_bytes());
                    key.extend(name.as_bytes());
                }
            },
        }
    }
    key
}

/// Returns the classes that each have their share of every part.
fn classes(raw: &RawTable, targets: &[String], rows: &[usize]) -> Result<Vec<u32>> {
    let [target] = targets else {
        let rule = format!("needs one target with classes, but there are {} targets", targets.len());
        return Err(Error::invalid("split.stratify", true, rule));
    };
    let Some(column) = raw.columns.iter().find(|column| column.name == *target) else {
        return Err(Error::invalid("targets", target, "must name a column"));
    };
    match &column.values {
        ColumnValues::Categories { codes, .. } => Ok(rows.iter().map(|row| codes[*row].unwrap_or_default()).collect()),
        ColumnValues::Numbers(_) => {
            let rule =
                format!("needs a target with classes, but `{target}` has numbers; `categorical` makes them names");
            Err(Error::invalid("split.stratify", true, rule))
        }
    }
}

fn declared_part(column: &RawColumn, row: usize) -> Result<SplitPart> {
    const NAMES: [(&str, SplitPart); 7] = [
        ("train", SplitPart::Train),
        ("training", SplitPart::Train),
        ("validation", SplitPart::Validation),
        ("valid", SplitPart::Validation),
        ("val", SplitPart::Validation),
        ("dev", SplitPart::Validation),
        ("test", SplitPart::Test),
    ];
    let found = shown_value(&column.values, row);
    NAMES.iter().find(|(name, _)| *name == found).map(|(_, part)| *part).ok_or_else(|| {
        Error::malformed(
            format!("row {} of column `{}`", row + 1, column.name),
            format!("it says `{found}`, but a part is train, validation or test"),
        )
    })
}

/// Counts the categories of a column by name.
pub(crate) fn counts<'n>(names: &'n [String], codes: &[Option<u32>]) -> BTreeMap<&'n str, u64> {
    let mut counts = vec![0_u64; names.len()];
    codes.iter().flatten().for_each(|code| counts[*code as usize] += 1);
    names.iter().map(String::as_str).zip(counts).collect()
}
