//! Mistakes of files and declarations: each error names file, line and both values.

use serde_json::json;

use super::*;

type NamedFiles<'f> = &'f [(&'f str, &'f [u8])];

#[test]
fn broken_tables_are_refused_where_they_are_broken() {
    struct Case {
        file: &'static str,
        content: &'static [u8],
        expected: &'static [&'static str],
    }
    let case = |file, content, expected| Case { file, content, expected };
    let cases = [
        case("a.csv", b"", &["`a.csv`", "empty"]),
        case("a.csv", b" \n \n", &["`a.csv`", "empty"]),
        case("a.csv", b"x,y\n", &["`a.csv`", "no rows"]),
        case("a.csv", b"x,y\n1,2\n1,2,3\n", &["line 3 of `a.csv`", "3 values", "2 columns"]),
        case("a.csv", b"x,y\n1\n", &["line 2 of `a.csv`", "1 values", "2 columns"]),
        case("a.csv", b"x,y,x\n1,2,3\n", &["line 1 of `a.csv`", "columns 1 and 3", "`x`"]),
        case("a.csv", b"x,,y\n1,2,3\n", &["line 1 of `a.csv`", "column 2 has no name"]),
        case("a.csv", b"150,4\n5.1,3.5\n", &["line 1 of `a.csv`", "`150`", "names"]),
        case("a.csv", b"x,y\n1,2\nNaN,3\n", &["line 3 of `a.csv`", "column `x`", "`NaN`", "missing"]),
        case("a.csv", b"x,y\n1,2\n5,-inf\n", &["line 3 of `a.csv`", "column `y`", "`-inf`"]),
        case("a.csv", b"x,y\n1,1e999\n5,2\n", &["line 2 of `a.csv`", "column `y`", "`1e999`"]),
        case("a.csv", b"x,y\n1,2\n3,\xff\n", &["line 3 of `a.csv`", "0xff", "UTF-8"]),
        case("a.csv", b"\xff\xfex\0,\0", &["`a.csv`", "UTF-16"]),
        case("a.txt", b"caf\xe9", &["line 1 of `a.txt`", "0xe9 at 3"]),
        case("a.txt", b"\n \n", &["`a.txt`", "white space"]),
        case("a.bin", b"\x7fELF\0\0", &["`a.bin`", "binary"]),
        case("a.parquet", b"x,y\n1,2\n", &["`a.parquet`", "0x78 0x2c", "PAR1"]),
        case("a.jsonl", b"{\"x\": 1}\n{\"x\": }\n", &["line 2 of `a.jsonl`"]),
        case("a.jsonl", b"{\"x\": 1, \"x\": 2}\n", &["line 1 of `a.jsonl`", "`x`", "twice"]),
        case("a.jsonl", b"{\"x\": 1}\n{\"x\": [1]}\n", &["line 2 of `a.jsonl`", "`x` is a list", "byte 7"]),
        case("a.jsonl", b"{\"x\": {\"y\": 1}}\n", &["line 1 of `a.jsonl`", "`x` is an object"]),
        case("a.jsonl", b"{\"x\": 1}\n7\n", &["line 2 of `a.jsonl`", "object"]),
        case("a.jsonl", b"{}\n", &["`a.jsonl`", "no line with a value"]),
        case("a.json", b"[{\"x\": 1}]", &["`a.json`", "array"]),
        case("a.csv.gz", b"\x1f\x8b\x08\0\0", &["`a.csv.gz`", "unpacked"]),
    ];
    for Case { file, content, expected } in cases {
        let message = Files::one(file, content).error(&declaration(json!({})));
        for part in expected {
            assert!(message.contains(part), "{}: `{part}` is not in: {message}", content.escape_ascii());
        }
    }
}

#[test]
fn declarations_that_do_not_fit_a_table_are_refused_with_both_values() {
    let text = "x,y,kind,empty,same,part\n1,2,a,,5,train\n2,3,b,,5,test\n3,4,a,,5,best\n";
    let files = Files::one("a.csv", text);
    let cases = [
        (json!({ "targets": ["z"] }), vec!["`targets`", "`z`", "`kind`"]),
        (json!({ "targets": ["y"], "features": ["q"] }), vec!["`features`", "`q`"]),
        (json!({ "targets": ["y"], "features": ["y"] }), vec!["`features`", "`y`"]),
        (json!({ "targets": ["y", "y"] }), vec!["`targets`", "twice"]),
        (json!({ "targets": ["y"], "categorical": ["q"] }), vec!["`categorical`", "`q`"]),
        (json!({ "targets": ["y"], "drop_rows": { "q": 1 } }), vec!["`drop_rows`", "`q`"]),
        (json!({ "targets": ["y"], "drop_rows": { "x": "a" } }), vec!["`drop_rows`", "`a`", "`x`"]),
        (json!({ "targets": ["y"], "drop_rows": { "x": [1] } }), vec!["`drop_rows`", "[1]"]),
        (json!({ "targets": ["y"], "drop_rows": { "same": 5 } }), vec!["none of its 3 rows"]),
        (json!({ "targets": ["same"] }), vec!["`same`", "`5`", "3 rows"]),
        (json!({ "targets": ["empty"] }), vec!["none of its 3 rows", "`empty`"]),
        (json!({ "targets": ["y"], "features": ["empty"] }), vec!["`features`", "`empty`", "missing"]),
        (json!({ "text_column": "x" }), vec!["`text_column`", "`x`", "numbers"]),
        (json!({ "text_column": "q" }), vec!["`text_column`", "`q`"]),
        (json!({ "targets": ["y"], "class_names": ["a"] }), vec!["`class_names`", "`a`"]),
        (json!({ "targets": ["y"], "split": { "column": "part" } }), vec!["row 3 of column `part`", "`best`"]),
        (json!({ "targets": ["y"], "split": { "column": "q" } }), vec!["`split.column`", "`q`"]),
        (json!({ "targets": ["y"], "split": { "group_by": ["q"] } }), vec!["`split.group_by`", "`q`"]),
        (json!({ "targets": ["y"], "split": { "stratify": true } }), vec!["`split.stratify`", "`y`", "numbers"]),
        (json!({ "split": { "stratify": true } }), vec!["`split.stratify`", "0 targets"]),
        (
            json!({ "targets": ["kind"], "split": { "stratify": true, "group_by": ["x"] } }),
            vec!["`split.group_by`", "`x`"],
        ),
        (json!({ "targets": ["y"], "split": { "validation": -0.1 } }), vec!["`split.validation`", "-0.1"]),
        (json!({ "targets": ["y"], "split": { "test": 1.0 } }), vec!["`split.test`", "`1`"]),
        (
            json!({ "targets": ["y"], "split": { "validation": 0.5, "test": 0.5 } }),
            vec!["`split`", "validation 0.5 + test 0.5"],
        ),
        (
            json!({ "targets": ["y"], "split": { "group_by": ["x"], "group_step": 0.0 } }),
            vec!["`split.group_step`", "`0`"],
        ),
        (json!({ "targets": ["y"], "split": { "group_step": 1.0 } }), vec!["`split.group_step`", "group_by"]),
        (
            json!({ "targets": ["y"], "split": { "test_files": ["b.csv"] } }),
            vec!["`split.test_files`", "`b.csv`", "`a.csv`"],
        ),
        (json!({ "targets": ["y"], "split": { "test_files": ["a.csv"] } }), vec!["`split`", "none of 3 examples"]),
    ];
    for (fields, expected) in cases {
        let message = files.error(&declaration(fields.clone()));
        for part in expected {
            assert!(message.contains(part), "{fields}: `{part}` is not in: {message}");
        }
    }
}

#[test]
fn rows_without_a_target_are_left_out_with_a_warning() {
    let files = Files::one("a.csv", "x,y\n1,2\n2,\n3,4\n");
    let declaration = declaration(json!({ "targets": ["y"] }));
    assert_eq!(numbers(&files.table(&declaration), "x"), [1.0, 3.0]);
    let warnings = files.describe(&declaration).unwrap().warnings;
    assert!(warnings.contains(&"1 rows have no value in the target `y` and are left out".to_owned()), "{warnings:?}");
}

#[test]
fn files_that_do_not_belong_together_are_refused_with_both_names() {
    let picture = png(2, 2, 1, 0);
    let cases: [(NamedFiles, &[&str]); 4] = [
        (&[("a.csv", b"x,y\n1,2\n"), ("b.csv", b"x,z\n1,2\n")], &["`b.csv`", "`y`", "`a.csv`"]),
        (&[("a.csv", b"x,y\n1,2\n"), ("b.csv", b"x,y,z\n1,2,3\n")], &["`b.csv`", "`z`", "`a.csv`"]),
        (&[("a.csv", b"x,y\n1,2\n"), ("b/c.png", &picture)], &["`b/c.png`", "picture", "`a.csv`", "CSV"]),
        (&[("README", b"nothing else")], &["no files with examples"]),
    ];
    for (files, expected) in cases {
        let message = Files::new(files).error(&declaration(json!({})));
        for part in expected {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}

#[test]
fn pictures_that_differ_or_are_broken_are_refused_by_name() {
    let (small, large, coloured) = (png(2, 3, 1, 0), png(4, 3, 1, 0), png(2, 3, 3, 0));
    let broken = &small[..small.len() - 20];
    let mut clear = std::io::Cursor::new(Vec::new());
    image::RgbaImage::from_pixel(2, 3, image::Rgba([1, 2, 3, 9]))
        .write_to(&mut clear, image::ImageFormat::Png)
        .unwrap();
    let cases: [(NamedFiles, &[&str]); 6] = [
        (&[("a/1.png", &small), ("b/2.png", &large)], &["`b/2.png`", "4 x 3", "`a/1.png`", "2 x 3"]),
        (&[("a/1.png", &small), ("b/2.png", &coloured)], &["`b/2.png`", "colour", "`a/1.png`", "grey"]),
        (&[("a/1.png", &small), ("b/2.png", broken)], &["`b/2.png`"]),
        (&[("a/1.png", b"no picture")], &["`a/1.png`", "0x6e"]),
        (&[("1.png", &small)], &["`1.png`", "folder"]),
        (&[("a/1.png", clear.get_ref())], &["`a/1.png`", "transparency"]),
    ];
    for (files, expected) in cases {
        let message = Files::new(files).error(&declaration(json!({})));
        for part in expected {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
    let message = Files::new(&[("a/1.png", &small)]).error(&declaration(json!({ "targets": ["x"] })));
    assert!(message.contains("`targets`") && message.contains("pictures have no columns"), "{message}");
}
