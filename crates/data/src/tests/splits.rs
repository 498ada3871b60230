//! The part of each example.

use std::collections::BTreeMap;

use proptest::prelude::*;
use seedhouse_core::dataset::{SplitDeclaration, SplitPart};
use serde_json::json;

use super::*;
use crate::split::{Examples, fraction, place_key};

/// Computed by another implementation, with Python's hashlib. A change of these values gives every registered dataset another split.
#[test]
fn fractions_stay_what_they_are() {
    let golden = [
        (0, 0, 0.2838742571964711),
        (0, 1, 0.38052560552770753),
        (0, 123456, 0.08722643246394035),
        (42, 0, 0.4847319944036792),
        (42, 1, 0.2642411759687727),
        (42, 123456, 0.8882905629250113),
    ];
    for (seed, place, expected) in golden {
        assert!((fraction(seed, &place_key(place)) - expected).abs() < 1e-15, "{seed} {place}");
    }
}

#[test]
fn parts_of_a_table_stay_what_they_are() {
    let text: String =
        std::iter::once("x,y\n".to_owned()).chain((0..24).map(|row| format!("{row},{}\n", row % 5))).collect();
    let declared = json!({ "targets": ["y"], "split": { "validation": 0.2, "test": 0.3, "seed": 7 } });
    let table = Files::one("a.csv", text).table(&declaration(declared));
    let letters: String = table.parts.iter().map(|part| &part.as_str()[..2]).collect();
    assert_eq!(letters, "vatrvatrtetrtetrtrtrtrtrvatrtrtrtrtrtrtrtetrtrte");
}

#[test]
fn rows_that_come_or_go_do_not_move_others() {
    let rows: Vec<String> = (0..300).map(|row| format!("{row},{}\n", row % 7)).collect();
    let declared = json!({ "targets": ["y"], "split": { "validation": 0.2, "test": 0.2 } });
    let short = Files::one("a.csv", format!("x,y\n{}", rows[..200].concat())).table(&declaration(declared.clone()));
    let long = Files::one("a.csv", format!("x,y\n{}", rows.concat())).table(&declaration(declared));
    assert_eq!(short.parts, long.parts[..200]);
    let dropping = json!({ "targets": ["y"], "drop_rows": { "y": 3 }, "split": { "validation": 0.2, "test": 0.2 } });
    let dropped = Files::one("a.csv", format!("x,y\n{}", rows.concat())).table(&declaration(dropping));
    let kept: Vec<SplitPart> = (0..300).filter(|row| row % 7 != 3).map(|row| long.parts[row]).collect();
    assert_eq!(dropped.parts, kept);
}

#[test]
fn rows_of_a_cell_stay_together() {
    let row = |row: i32| format!("{},{},{row}\n", -7.0 + f64::from(row % 40) * 0.03, 33.0 + f64::from(row / 40) * 0.03);
    let text = format!("longitude,latitude,y\n{}", (0..1200).map(row).collect::<String>());
    let split = json!({ "validation": 0.2, "test": 0.2, "group_by": ["longitude", "latitude"], "group_step": 0.1 });
    let table = Files::one("a.csv", text).table(&declaration(json!({ "targets": ["y"], "split": split })));
    let mut cells: BTreeMap<(i64, i64), SplitPart> = BTreeMap::new();
    for ((longitude, latitude), part) in
        numbers(&table, "longitude").iter().zip(numbers(&table, "latitude")).zip(&table.parts)
    {
        let cell = ((longitude / 0.1).floor() as i64, (latitude / 0.1).floor() as i64);
        assert_eq!(cells.entry(cell).or_insert(*part), part);
    }
    assert!(cells.len() > 50 && SplitPart::ALL.iter().all(|part| count(&table.parts, *part) > 0));
}

#[test]
fn rows_of_a_named_group_stay_together_and_the_group_alone_decides() {
    let text = |order: [&str; 6]| {
        format!("farm,y\n{}", order.iter().enumerate().map(|(y, farm)| format!("{farm},{y}\n")).collect::<String>())
    };
    let declared =
        json!({ "targets": ["y"], "split": { "validation": 0.3, "test": 0.3, "seed": 1, "group_by": ["farm"] } });
    let parts = |order| {
        let table = Files::one("a.csv", text(order)).table(&declaration(declared.clone()));
        categories(&table, "farm").into_iter().zip(table.parts).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(parts(["a", "b", "c", "d", "e", "a"]), parts(["e", "a", "a", "d", "c", "b"]));
}

#[test]
fn each_class_has_its_share() {
    let rows: String =
        (0..200).map(|row| format!("{row},{}\n", if row % 10 == 0 { "rare" } else { "usual" })).collect();
    let declared = json!({ "targets": ["y"], "split": { "validation": 0.1, "test": 0.2, "stratify": true } });
    let table = Files::one("a.csv", format!("x,y\n{rows}")).table(&declaration(declared));
    let classes = categories(&table, "y");
    for (class, test, validation) in [("rare", 4, 2), ("usual", 36, 18)] {
        let parts: Vec<SplitPart> = classes
            .iter()
            .zip(&table.parts)
            .filter(|(name, _)| name.as_deref() == Some(class))
            .map(|(_, part)| *part)
            .collect();
        assert_eq!((count(&parts, SplitPart::Test), count(&parts, SplitPart::Validation)), (test, validation));
    }
}

#[test]
fn files_that_are_the_test_part_are_so_whole() {
    let rows = |from: usize| {
        format!("x,y\n{}", (from..from + 50).map(|row| format!("{row},{}\n", row % 3)).collect::<String>())
    };
    let files = Files::new(&[("held/a.csv", rows(0).as_bytes()), ("rest.csv", rows(50).as_bytes())]);
    let declared = json!({ "targets": ["y"], "split": { "validation": 0.2, "test_files": ["held"] } });
    let table = files.table(&declaration(declared));
    assert_eq!(count(&table.parts[..50], SplitPart::Test), 50);
    assert_eq!(count(&table.parts[50..], SplitPart::Test), 0);
    assert!(count(&table.parts, SplitPart::Validation) > 0);
}

proptest! {
    #[test]
    fn parts_have_about_their_shares(validation in 0.0..0.45_f64, test in 0.0..0.45_f64, seed in any::<u64>()) {
        let split = SplitDeclaration { validation, test, seed, ..SplitDeclaration::default() };
        let parts = Examples { split: &split, is_test: None, classes: None, count: 4000 }.parts();
        // Six standard deviations of a share of 4,000 examples.
        for (share, part) in [(validation, SplitPart::Validation), (test, SplitPart::Test)] {
            prop_assert!((count(&parts, part) as f64 / 4000.0 - share).abs() < 0.048);
        }
        let classes = vec![3; 4000];
        let ranked = Examples { split: &split, is_test: None, classes: Some(&classes), count: 4000 }.parts();
        prop_assert_eq!(count(&ranked, SplitPart::Test), (4000.0 * test).round() as usize);
    }

    #[test]
    fn tables_come_back_as_they_were_written(
        rows in prop::collection::vec((prop::num::f64::NORMAL | prop::num::f64::ZERO, "[a-z,;\"\n字 ]{0,8}"), 1..40)
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["number", "text"]).unwrap();
        for (number, text) in &rows {
            writer.write_record([number.to_string(), format!("_{text}")]).unwrap();
        }
        let table = Files::one("a.csv", writer.into_inner().unwrap()).table(&declaration(json!({})));
        let written: Vec<f64> = rows.iter().map(|row| row.0).collect();
        prop_assert_eq!(numbers(&table, "number"), &written);
        let texts: Vec<Option<String>> = rows.iter().map(|row| Some(format!("_{}", row.1))).collect();
        prop_assert_eq!(categories(&table, "text"), texts);
    }
}
