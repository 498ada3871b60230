//! What files of each format give.

use image::ImageFormat;
use seedhouse_core::dataset::{DatasetKind, SplitPart};
use serde_json::json;

use super::*;

#[test]
fn csv_is_read_with_each_separator_and_packed() {
    for separator in [",", "\t", ";"] {
        let text = "name,area,kind\n\"a,;\tb\",1.5,wheat\nc,2,barley\nd,,wheat\n";
        let text = text.replace("name,area,kind", &["name", "area", "kind"].join(separator));
        let text = text
            .replace(",1.5,", &format!("{separator}1.5{separator}"))
            .replace("c,2,", &format!("c{separator}2{separator}"))
            .replace("d,,", &format!("d{separator}{separator}"));
        for bytes in [text.clone().into_bytes(), gzip(text.as_bytes()), [b"\xef\xbb\xbf", text.as_bytes()].concat()] {
            let table = Files::one("fields.data", bytes).table(&declaration(json!({ "targets": ["kind"] })));
            assert_eq!(categories(&table, "name")[0].as_deref(), Some("a,;\tb"));
            assert_eq!(numbers(&table, "area")[..2], [1.5, 2.0]);
            assert!(numbers(&table, "area")[2].is_nan());
            assert_eq!(table.features, ["name", "area"]);
            assert_eq!(table.targets, ["kind"]);
        }
    }
}

#[test]
fn chinese_names_and_categories_survive_untouched() {
    let text = "作物,土壤 类型,产量（吨）\n小麦,黑土,5.5\n玉米,红土 ,7\n水稻,黑土,6\n";
    let files = Files::one("数据/农田.csv", text);
    let declaration = declaration(json!({ "targets": ["产量（吨）"] }));
    let table = files.table(&declaration);
    assert_eq!(table.features, ["作物", "土壤 类型"]);
    assert_eq!(categories(&table, "土壤 类型")[1].as_deref(), Some("红土 "));
    let described = files.describe(&declaration).unwrap();
    assert_eq!(described.schema["columns"][0]["categories"], json!(["小麦", "水稻", "玉米"]));
    assert_eq!(described.statistics["产量（吨）"]["mean"], json!(18.5 / 3.0));
}

#[test]
fn json_lines_are_a_table_with_the_names_of_all_lines() {
    let text = "{\"a\": 1, \"b\": \"x\"}\n\n{\"b\": \"12\", \"c\": true}\n{\"a\": null, \"b\": \"y\", \"c\": false}\n";
    let table = Files::one("rows.jsonl", text).table(&declaration(json!({ "targets": ["b"] })));
    assert_eq!(numbers(&table, "a")[0], 1.0);
    assert!(numbers(&table, "a")[1].is_nan() && numbers(&table, "a")[2].is_nan());
    // A text is no number, whatever it reads as.
    assert_eq!(categories(&table, "b")[1].as_deref(), Some("12"));
    assert_eq!(categories(&table, "c"), [None, Some("true".into()), Some("false".into())]);
}

#[test]
fn json_lines_of_texts_are_texts() {
    let text = "{\"text\": \"one\\ntwo\"}\n{\"text\": \"three\"}\n{\"text\": \"\"}\n";
    let files = Files::one("words.jsonl", text);
    assert_eq!(files.text(&declaration(json!({}))).texts, ["one\ntwo", "three"]);
    let described = files.describe(&declaration(json!({}))).unwrap();
    assert_eq!(described.kind, DatasetKind::Text);
    assert!(
        described.warnings.contains(&"1 rows have no text and are left out".to_owned()),
        "{:?}",
        described.warnings
    );
    let other = Files::one("words.csv", "id,body\n1,first\n2,second\n");
    assert_eq!(other.text(&declaration(json!({ "text_column": "body" }))).texts, ["first", "second"]);
}

#[test]
fn a_column_that_only_later_lines_have_is_not_dropped_beside_a_text() {
    let text = "{\"text\": \"one\"}\n{\"text\": \"two\", \"label\": \"b\"}\n";
    let table = Files::one("words.jsonl", text).table(&declaration(json!({})));
    assert_eq!(categories(&table, "label"), [None, Some("b".into())]);
}

#[test]
fn plain_text_is_cut_into_stretches_that_stay_in_order() {
    let text: String = (0..4000).map(|line| format!("line {line} of a long text\n")).collect();
    let files = Files::one("text.txt", &text);
    let declaration = declaration(json!({ "split": { "validation": 0.1, "test": 0.1 } }));
    let dataset = files.text(&declaration);
    assert_eq!(dataset.texts.concat(), text);
    assert_eq!(dataset.texts.len(), dataset.parts.len());
    assert!(dataset.texts.iter().all(|piece| piece.ends_with('\n')));
    let tenth = dataset.texts.len().div_ceil(10);
    assert!(count(&dataset.parts, SplitPart::Test).abs_diff(tenth) <= 1, "{:?}", dataset.parts);
    assert!(count(&dataset.parts, SplitPart::Validation).abs_diff(tenth) <= 1);
    let described = files.describe(&declaration).unwrap();
    let bytes: u64 =
        ["train", "validation", "test"].iter().map(|part| described.statistics[*part]["bytes"].as_u64().unwrap()).sum();
    assert_eq!(bytes, text.len() as u64);
}

#[test]
fn pictures_have_the_class_of_their_folder() {
    let files = Files::new(&[
        ("rust/b.jpg", &picture(4, 3, 1, 200, ImageFormat::Jpeg)),
        ("健康/a.png", &png(4, 3, 1, 7)),
        ("rust/a.png", &png(4, 3, 1, 9)),
        ("README.md", b"about the pictures"),
    ]);
    let images = files.images(&declaration(json!({})));
    assert_eq!((images.height, images.width, images.channels), (3, 4, 1));
    assert_eq!(images.classes, ["rust", "健康"]);
    assert_eq!(images.labels, [0, 0, 1]);
    assert_eq!(images.pixels[..12], [9; 12]);
    assert_eq!(images.pixels[24..], [7; 12]);
    let colour = Files::one("x/a.png", png(1, 2, 3, 8)).images(&declaration(json!({})));
    assert_eq!((colour.channels, colour.pixels), (3, vec![8, 0, 255, 8, 0, 255]));
}

#[test]
fn idx_files_are_paired_and_t10k_is_the_test_part() {
    let files = Files::new(&[
        ("t10k-images-idx3-ubyte.gz", &gzip(&idx(&[2, 1, 2], &[1, 2, 3, 4]))),
        ("t10k-labels-idx1-ubyte", &idx(&[2], &[0, 1])),
        ("train-images-idx3-ubyte", &idx(&[3, 1, 2], &[5, 6, 7, 8, 9, 10])),
        ("train-labels-idx1-ubyte.gz", &gzip(&idx(&[3], &[1, 0, 2]))),
    ]);
    let images = files.images(&declaration(json!({})));
    assert_eq!(images.pixels, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(images.labels, [0, 1, 1, 0, 2]);
    assert_eq!(images.classes, ["0", "1", "2"]);
    assert_eq!(images.parts[..2], [SplitPart::Test; 2]);
    assert_eq!(images.parts[2..], [SplitPart::Train; 3]);
    let otherwise = json!({ "split": { "validation": 0.0, "test_files": ["train-images-idx3-ubyte"] }, "class_names": ["a", "b", "c"] });
    let images = files.images(&declaration(otherwise));
    assert_eq!(images.parts[..2], [SplitPart::Train; 2]);
    assert_eq!(images.parts[2..], [SplitPart::Test; 3]);
    assert_eq!(images.classes, ["a", "b", "c"]);
}

#[test]
fn numbers_are_names_where_they_are_declared_so() {
    let files = Files::one("a.csv", "plot,crop,yield\n1,7,2\n2,3,4\n10,7,5\n");
    let table = files.table(&declaration(json!({ "targets": ["yield"], "categorical": ["plot", "crop"] })));
    assert_eq!(categories(&table, "plot"), [Some("1".into()), Some("2".into()), Some("10".into())]);
    let described = files.describe(&declaration(json!({ "targets": ["crop"], "categorical": ["crop"] }))).unwrap();
    assert_eq!(described.schema["task"], "classification");
    assert_eq!(described.statistics["crop"]["most_frequent"], json!({ "7": 2, "3": 1 }));
}

#[test]
fn declared_texts_are_missing_values() {
    let files = Files::one("a.csv", "a,b,y\n?,NaN,1\n2,3,2\n 4 , ,3\n");
    let table = files.table(&declaration(json!({ "targets": ["y"], "missing": ["?", "NaN"] })));
    assert!(numbers(&table, "a")[0].is_nan());
    assert_eq!(numbers(&table, "a")[1..], [2.0, 4.0]);
    assert!(numbers(&table, "b")[0].is_nan() && numbers(&table, "b")[2].is_nan());
}

#[test]
fn rows_are_dropped_by_value_and_counted() {
    let text = "soil,ph,y\nclay,0,1\n,6,2\nsand,7,3\nclay,7,4\nloam,5,5\n";
    let files = Files::one("a.csv", text);
    let cases = [
        (json!({ "ph": 0.0 }), vec![2.0, 3.0, 4.0, 5.0]),
        (json!({ "ph": "0" }), vec![2.0, 3.0, 4.0, 5.0]),
        (json!({ "soil": null }), vec![1.0, 3.0, 4.0, 5.0]),
        (json!({ "soil": "" }), vec![1.0, 3.0, 4.0, 5.0]),
        (json!({ "soil": "clay", "ph": 5 }), vec![2.0, 3.0]),
        (json!({ "soil": "peat" }), vec![1.0, 2.0, 3.0, 4.0, 5.0]),
    ];
    for (drop_rows, left) in cases {
        let declaration = declaration(json!({ "targets": ["y"], "drop_rows": drop_rows }));
        assert_eq!(numbers(&files.table(&declaration), "y"), left, "{drop_rows}");
        let described = files.describe(&declaration).unwrap();
        assert_eq!(described.schema["rows_left_out"], json!(5 - left.len()));
        assert!(described.warnings.iter().any(|warning| warning.contains("are left out")), "{:?}", described.warnings);
    }
    let left = files.table(&declaration(json!({ "targets": ["y"], "drop_rows": { "soil": "sand" } })));
    let ColumnValues::Categories { names, .. } = &left.columns[0].values else { panic!() };
    assert_eq!(names, &["clay", "loam"], "a category of dropped rows is gone");
}

#[test]
fn files_of_a_table_follow_each_other_and_may_order_their_columns_differently() {
    let files =
        Files::new(&[("b.csv", b"y,x\n3,30\n"), ("a.csv", b"x,y\n10,1\n20,2\n"), ("c.jsonl", b"{\"x\":40,\"y\":4}")]);
    let table = files.table(&declaration(json!({ "targets": ["y"] })));
    assert_eq!(numbers(&table, "x"), [10.0, 20.0, 30.0, 40.0]);
    assert_eq!(numbers(&table, "y"), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn warnings_name_what_is_odd() {
    let text = "fixed,empty,nearly,y\n5,,1,a\n5,,2,b\n5,,NA,a\n5,,4,b\n";
    let described = Files::one("a.csv", text).describe(&declaration(json!({ "targets": ["y"] }))).unwrap();
    let warnings = described.warnings.join("\n");
    for expected in [
        "column `empty` has no value in any row, so it is no feature",
        "column `fixed` is constant: `5`",
        "column `nearly` has categories because 1 of 4 values are no numbers: `NA`",
        "the part `validation` has no examples",
    ] {
        assert!(warnings.contains(expected), "{expected}\n{warnings}");
    }
    assert_eq!(described.schema["unused_columns"], json!(["empty"]));
}

#[test]
fn held_out_rows_that_are_learnt_too_and_unknown_classes_are_counted() {
    let text = "x,y,part\n1,a,train\n2,b,train\n1,a,test\n3,c,test\n4,b,val\n";
    let declared = json!({ "targets": ["y"], "split": { "column": "part" } });
    let files = Files::one("a.csv", text);
    let described = files.describe(&declaration(declared)).unwrap();
    let warnings = described.warnings.join("\n");
    assert!(warnings.contains("1 of 3 held-out rows also stand in train"), "{warnings}");
    assert!(
        warnings.contains("1 of 3 classes of `y` stand in validation or test, but not in train: `c`"),
        "{warnings}"
    );
    assert_eq!(described.parts.values().copied().collect::<Vec<_>>(), [2, 1, 2]);
    assert_eq!(described.schema["unused_columns"], json!(["part"]));
}
