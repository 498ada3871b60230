//! Parquet files, written by the library that reads them.

use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::json;

use super::*;

const FLAT: &str = "message fields {
    optional binary soil (UTF8);
    required double ph;
    optional int64 crop;
    required boolean irrigated;
    required int32 day (DATE);
    required int32 price (DECIMAL(9, 2));
}";

type Group<'w> = SerializedRowGroupWriter<'w, Vec<u8>>;

fn write(schema: &str, compression: Compression, fill: impl FnOnce(&mut Group<'_>)) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    fill(&mut group);
    group.close().unwrap();
    writer.into_inner().unwrap()
}

fn column<T: DataType>(group: &mut Group<'_>, values: &[T::T], levels: Option<&[i16]>, repetitions: Option<&[i16]>) {
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<T>().write_batch(values, levels, repetitions).unwrap();
    column.close().unwrap();
}

/// A table of four rows.
pub(super) fn flat(compression: Compression, ph: [f64; 4]) -> Vec<u8> {
    write(FLAT, compression, |group| {
        column::<ByteArrayType>(group, &["黑土", "", "loam"].map(ByteArray::from), Some(&[1, 0, 1, 1]), None);
        column::<DoubleType>(group, &ph, None, None);
        column::<Int64Type>(group, &[3, 1, 3], Some(&[1, 1, 1, 0]), None);
        column::<BoolType>(group, &[true, false, true, true], None, None);
        column::<Int32Type>(group, &[0, 1, 365, -1], None, None);
        column::<Int32Type>(group, &[150, 2, -5, 100], None, None);
    })
}

#[test]
fn columns_of_the_usual_types_are_read() {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, zstd] {
        let files = Files::one("fields.bin", flat(compression, [6.5, 0.0, 7.0, 5.5]));
        let table = files.table(&declaration(json!({ "targets": ["ph"], "categorical": ["crop"] })));
        assert_eq!(categories(&table, "soil"), [Some("黑土".into()), None, None, Some("loam".into())]);
        assert_eq!(numbers(&table, "ph"), [6.5, 0.0, 7.0, 5.5]);
        assert_eq!(categories(&table, "crop"), [Some("3".into()), Some("1".into()), Some("3".into()), None]);
        assert_eq!(categories(&table, "irrigated")[1].as_deref(), Some("false"));
        assert_eq!(numbers(&table, "day"), [0.0, 1.0, 365.0, -1.0]);
        assert_eq!(numbers(&table, "price"), [1.5, 0.02, -0.05, 1.0]);
    }
}

#[test]
fn missing_numbers_are_declared_as_texts() {
    let files = Files::one("a.parquet", flat(Compression::SNAPPY, [6.5, 0.0, f64::NAN, 5.5]));
    let table = files.table(&declaration(json!({ "targets": ["price"], "missing": ["0", "NaN"] })));
    let missing: Vec<bool> = numbers(&table, "ph").iter().map(|number| number.is_nan()).collect();
    assert_eq!(missing, [false, true, true, false]);
}

#[test]
fn not_a_number_is_refused_where_it_is_not_declared() {
    let files = Files::one("a.parquet", flat(Compression::SNAPPY, [6.5, 0.0, f64::NAN, 5.5]));
    let message = files.error(&declaration(json!({ "targets": ["price"] })));
    assert!(
        message.contains("record 3 of `a.parquet`") && message.contains("`ph`") && message.contains("`NaN`"),
        "{message}"
    );
}

#[test]
fn repeated_and_nested_columns_are_refused_by_name() {
    let repeated = write("message m { required int32 a; repeated int32 bands; }", Compression::SNAPPY, |group| {
        column::<Int32Type>(group, &[1], None, None);
        column::<Int32Type>(group, &[1, 2], Some(&[1, 1]), Some(&[0, 1]));
    });
    let nested = write(
        "message m { required int32 a; required group place { required int32 x; } }",
        Compression::SNAPPY,
        |group| {
            column::<Int32Type>(group, &[1], None, None);
            column::<Int32Type>(group, &[1], None, None);
        },
    );
    for (bytes, name) in [(repeated, "bands"), (nested, "place")] {
        let message = Files::one("a.parquet", bytes).error(&declaration(json!({})));
        assert!(message.contains(&format!("column `{name}` of `a.parquet`")) && message.contains("flat"), "{message}");
    }
}

#[test]
fn broken_footers_and_pages_are_errors_that_name_the_file() {
    let whole = flat(Compression::SNAPPY, [1.0, 2.0, 3.0, 4.0]);
    let mut lying = whole.clone();
    let end = lying.len();
    lying[end - 8..end - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut holed = whole.clone();
    holed[4..80].fill(0xff);
    for bytes in [whole[..whole.len() - 1].to_vec(), whole[..40].to_vec(), b"PAR1".to_vec(), lying, holed] {
        let message = Files::one("a.parquet", bytes).error(&declaration(json!({})));
        assert!(message.contains("`a.parquet`"), "{message}");
    }
}

#[test]
fn rows_beyond_the_limit_are_refused_by_the_footer() {
    let message = crate::limits::within("the table of `a`", 3, 2, "rows").unwrap_err().to_string();
    assert_eq!(message, "the table of `a` is 3 rows, but the limit is 2 rows");
}
