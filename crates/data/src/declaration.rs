//! Whether what the user says about the files can be meant.

use seedhouse_core::dataset::{DatasetDeclaration, DatasetKind};
use seedhouse_core::{Error, Result};

/// Checks what holds for every kind of dataset.
pub(crate) fn check(declaration: &DatasetDeclaration) -> Result<()> {
    let split = &declaration.split;
    for (field, share) in [("split.validation", split.validation), ("split.test", split.test)] {
        if !(0.0..1.0).contains(&share) {
            return Err(Error::invalid(field, share, "must be a share of at least 0 and below 1"));
        }
    }
    let held_out = split.validation + split.test;
    if held_out >= 1.0 {
        return Err(Error::invalid(
            "split",
            format!("validation {} + test {}", split.validation, split.test),
            "must leave something for training: together below 1",
        ));
    }
    if let Some(step) = split.group_step
        && !(step.is_finite() && step > 0.0)
    {
        return Err(Error::invalid("split.group_step", step, "must be a number above 0"));
    }
    if split.group_step.is_some() && split.group_by.is_empty() {
        return Err(Error::invalid("split.group_step", split.group_step.unwrap_or_default(), "needs `split.group_by`"));
    }
    if split.stratify && !split.group_by.is_empty() {
        let value = split.group_by.join(", ");
        return Err(Error::invalid(
            "split.group_by",
            value,
            "does not go together with `split.stratify`: groups have no single class",
        ));
    }
    if let Some(column) = &split.column
        && (split.stratify || !split.group_by.is_empty() || !split.test_files.is_empty())
    {
        return Err(Error::invalid(
            "split.column",
            column,
            "does not go together with `stratify`, `group_by` or `test_files`: the column says each part",
        ));
    }
    no_repetition("targets", &declaration.targets)?;
    no_repetition("features", &declaration.features)?;
    no_repetition("class_names", &declaration.class_names)?;
    if let Some(both) = declaration.features.iter().find(|feature| declaration.targets.contains(feature)) {
        return Err(Error::invalid("features", both, "must not be among the targets too"));
    }
    Ok(())
}

/// Checks that nothing is said about columns of what has none.
pub(crate) fn check_without_columns(declaration: &DatasetDeclaration, kind: DatasetKind) -> Result<()> {
    let split = &declaration.split;
    let of_columns = [
        ("targets", declaration.targets.first()),
        ("features", declaration.features.first()),
        ("categorical", declaration.categorical.first()),
        ("missing", declaration.missing.first()),
        ("text_column", declaration.text_column.as_ref()),
        ("drop_rows", declaration.drop_rows.keys().next()),
        ("split.group_by", split.group_by.first()),
        ("split.column", split.column.as_ref()),
    ];
    let what = match kind {
        DatasetKind::Images => "pictures have no columns",
        DatasetKind::Text => "plain texts have no columns",
        DatasetKind::Table => return Ok(()),
    };
    for (field, value) in of_columns {
        if let Some(value) = value {
            return Err(Error::invalid(field, value, what));
        }
    }
    if kind == DatasetKind::Text && split.stratify {
        return Err(Error::invalid("split.stratify", true, "texts have no classes"));
    }
    Ok(())
}

/// Refuses names for classes where the files name them.
pub(crate) fn check_without_class_names(declaration: &DatasetDeclaration, why: &str) -> Result<()> {
    match declaration.class_names.first() {
        Some(name) => Err(Error::invalid("class_names", name, why)),
        None => Ok(()),
    }
}

fn no_repetition(field: &str, names: &[String]) -> Result<()> {
    for (place, name) in names.iter().enumerate() {
        if names[..place].contains(name) {
            return Err(Error::invalid(field, name, "must not be named twice"));
        }
    }
    Ok(())
}
