//! `seedhouse predict --row` and `--rows`: named features in, classes or targets out.

use std::io::Read;
use std::path::Path;

use seedhouse_core::{Error, Kind, Result};
use seedhouse_service::{
    Answer, Cell, Flag, Patience, Row, RowAnswer, RowOutcome, Service, TabularAnswer, TabularPolicies, TabularRequest,
};
use serde_json::{Map, Value, json};

use crate::cli::PredictArguments;
use crate::output::{Output, print_json, print_line};

/// What a file of rows is read as.
const FORMS: &str = "an array of objects, an object on each line, or CSV with a header";

/// Answers one row; a mistake in it is that of the command.
pub(super) fn run_one(
    service: &Service,
    arguments: &PredictArguments,
    row: &str,
    output: Output,
) -> anyhow::Result<()> {
    let row: Row = serde_json::from_str(row).map_err(|error| Error::malformed("`--row`", error.to_string()))?;
    let answer = service.predict_rows(&arguments.reference, &request(arguments, vec![row]), &Patience::default())?;
    let row = answer.value.only()?;
    if output == Output::Json {
        let mut json = version_json(&answer);
        if let Value::Object(row) = json!(row) {
            json.extend(row);
        }
        json.insert("units".into(), units(&answer.value).into());
        return print_json(&with_times(json, &answer));
    }
    match &row.outcome {
        RowOutcome::Classes(ranked) => {
            for class in ranked {
                let name = class.class_name.as_deref().unwrap_or_default();
                print_line(&format!("{:.4}  {name}", class.confidence))?;
            }
        }
        RowOutcome::Targets(targets) => {
            for (name, value) in targets {
                print_line(&format!("{name}  {value}{}", unit_of(&answer.value, name)))?;
            }
        }
    }
    print_notes("", row);
    eprintln!("{} {}: {:.3} s", answer.model_id, answer.digest, answer.value.seconds);
    Ok(())
}

/// Answers the rows of a file, one line for each of them; after it, the command fails if one of them had a mistake.
pub(super) fn run_all(
    service: &Service,
    arguments: &PredictArguments,
    path: &Path,
    output: Output,
) -> anyhow::Result<()> {
    let answer = service.predict_rows(&arguments.reference, &request(arguments, read(path)?), &Patience::default())?;
    match output {
        Output::Json => {
            let mut json = version_json(&answer);
            json.insert("rows".into(), answer.value.rows.iter().map(row_json).collect());
            json.insert("units".into(), units(&answer.value).into());
            print_json(&with_times(json, &answer))?;
        }
        Output::Text => print_rows(&answer)?,
    }
    let failed = answer.value.rows.iter().filter(|row| row.is_err()).count();
    if failed > 0 {
        let of_all = format!("{failed} of {}", answer.value.rows.len());
        return Err(Error::invalid("rows", of_all, "have a mistake, which is named in their place").into());
    }
    Ok(())
}

fn print_rows(answer: &Answer<TabularAnswer>) -> anyhow::Result<()> {
    for (place, row) in answer.value.rows.iter().enumerate() {
        let name = format!("row {}: ", place + 1);
        match row {
            Ok(row) => {
                print_line(&row_line(row))?;
                print_notes(&name, row);
            }
            // One line for each row, so that lines of input and output belong together.
            Err(error) => {
                print_line("-")?;
                eprintln!("{name}{error}");
            }
        }
    }
    eprintln!("{} {}: {:.3} s", answer.model_id, answer.digest, answer.value.seconds);
    Ok(())
}

fn row_line(row: &RowAnswer) -> String {
    match &row.outcome {
        RowOutcome::Classes(ranked) => ranked.first().map_or_else(String::new, |best| {
            format!("{:.4}\t{}", best.confidence, best.class_name.as_deref().unwrap_or_default())
        }),
        RowOutcome::Targets(targets) => {
            targets.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join("\t")
        }
    }
}

fn print_notes(row: &str, answer: &RowAnswer) {
    for Flag { feature, value, low, high, unit } in &answer.out_of_range {
        let side = |side: &Option<f64>| side.map_or("…".to_owned(), |side| side.to_string());
        let unit = unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
        eprintln!("{row}`{feature}` is {value}, and the model was made for {} to {}{unit}", side(low), side(high));
    }
    if !answer.missing.is_empty() {
        eprintln!("{row}missing: `{}`", answer.missing.join("`, `"));
    }
}

fn unit_of(answer: &TabularAnswer, name: &str) -> String {
    let unit = answer.units.iter().find(|(of, _)| of == name);
    unit.map(|(_, unit)| format!(" {unit}")).unwrap_or_default()
}

fn units(answer: &TabularAnswer) -> Map<String, Value> {
    answer.units.iter().map(|(name, unit)| (name.clone(), unit.clone().into())).collect()
}

fn row_json(row: &Result<RowAnswer>) -> Value {
    match row {
        Ok(row) => json!(row),
        Err(error) => json!({
            "error": {"code": error.code(), "message": error.to_string(), "field": error.field(), "hint": error.hint()},
        }),
    }
}

fn version_json(answer: &Answer<TabularAnswer>) -> Map<String, Value> {
    Map::from_iter([
        ("model_id".to_owned(), json!(answer.model_id)),
        ("version".to_owned(), json!(answer.version)),
        ("digest".to_owned(), json!(answer.digest)),
    ])
}

fn with_times(mut json: Map<String, Value>, answer: &Answer<TabularAnswer>) -> Value {
    json.insert("load_seconds".into(), json!(answer.load_seconds));
    json.insert("seconds".into(), json!(answer.value.seconds));
    Value::Object(json)
}

fn request(arguments: &PredictArguments, rows: Vec<Row>) -> TabularRequest {
    let policies = TabularPolicies {
        out_of_range: arguments.out_of_range,
        unknown_category: arguments.unknown_category,
        unknown_feature: arguments.unknown_feature,
    };
    TabularRequest { rows, policies }
}

/// The content decides; `-` is standard input.
fn read(path: &Path) -> Result<Vec<Row>> {
    let mut bytes = Vec::new();
    let what = match path.to_str() {
        Some("-") => {
            std::io::stdin().read_to_end(&mut bytes).map_err(Error::io("read", path))?;
            "standard input".to_owned()
        }
        _ => {
            bytes = std::fs::read(path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Error::not_found(Kind::File, path.display()),
                _ => Error::io("read", path)(error),
            })?;
            format!("file `{}`", path.display())
        }
    };
    let malformed = |reason: String| Error::malformed(what.clone(), reason);
    let of_json = |error: serde_json::Error| malformed(error.to_string());
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => serde_json::from_slice(&bytes).map_err(of_json),
        Some(b'{') => {
            serde_json::Deserializer::from_slice(&bytes).into_iter().collect::<Result<_, _>>().map_err(of_json)
        }
        Some(_) => of_csv(&bytes).map_err(|error| malformed(error.to_string())),
        None => Err(malformed(format!("it is empty; it must be {FORMS}"))),
    }
}

/// A cell without text is missing.
fn of_csv(bytes: &[u8]) -> Result<Vec<Row>, csv::Error> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers()?.clone();
    let cell = |text: &str| if text.is_empty() { Cell::Missing } else { Cell::Untyped(text.to_owned()) };
    let row = |record: csv::StringRecord| {
        Row(header.iter().zip(record.iter()).map(|(name, text)| (name.to_owned(), cell(text))).collect())
    };
    reader.records().map(|record| record.map(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_with_a_header_becomes_rows() {
        let text = "\u{feff}pH, 土壤,note\n6.5,clay,\"a, b\"\n,沙,\n";
        let rows = of_csv(text.as_bytes()).unwrap();
        let row = |cells: [(&str, Cell); 3]| Row(cells.map(|(name, cell)| (name.to_owned(), cell)).to_vec());
        let text = |text: &str| Cell::Untyped(text.into());
        assert_eq!(rows[0], row([("pH", text("6.5")), ("土壤", text("clay")), ("note", text("a, b"))]));
        assert_eq!(rows[1], row([("pH", Cell::Missing), ("土壤", text("沙")), ("note", Cell::Missing)]));
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn line_with_another_number_of_cells_is_named() {
        let error = of_csv(b"a,b\n1,2\n3\n").unwrap_err().to_string();
        assert!(error.contains("line: 3") && error.contains("1 field"), "{error}");
    }
}
