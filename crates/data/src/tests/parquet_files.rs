//! Parquet files, written by the library that reads them.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::json;

use super::*;
use crate::limits::MOST_ROWS;

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
    write_with(schema, WriterProperties::builder().set_compression(compression).build(), fill)
}

fn write_with(schema: &str, properties: WriterProperties, fill: impl FnOnce(&mut Group<'_>)) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
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
pub(crate) fn flat(compression: Compression, ph: [f64; 4]) -> Vec<u8> {
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
    let bytes = with_footer(flat(Compression::SNAPPY, [1.0, 2.0, 3.0, 4.0]), |metadata| {
        let group = metadata.row_group(0).clone().into_builder().set_num_rows(MOST_ROWS as i64 + 1).build().unwrap();
        ParquetMetaDataBuilder::new(metadata.file_metadata().clone()).set_row_groups(vec![group]).build()
    });
    let message = Files::one("a.parquet", bytes).error(&declaration(json!({})));
    assert!(message.contains("`a.parquet`"), "{message}");
    assert!(message.contains("50000001 rows") && message.contains("limit is 50000000 rows"), "{message}");
}

#[test]
fn a_page_header_that_promises_two_gigabytes_takes_no_memory() {
    let plain: Vec<u8> = [7_i64, 8].iter().flat_map(|number| number.to_le_bytes()).collect();
    let packed = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    // Two plain values.
    let pages = page(0, i32::MAX, &packed, &[0x2c, 0x15, 4, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0]);
    let table = Files::one("a.parquet", with_pages("required int64 x", Compression::SNAPPY, &pages))
        .table(&declaration(json!({ "targets": ["y"] })));
    assert_eq!(numbers(&table, "x"), [7.0, 8.0]);
}

#[test]
fn a_dictionary_that_promises_billions_of_values_is_refused_before_memory_is_taken() {
    let mut header = vec![0x4c, 0x15];
    header.extend(varint(i32::MAX));
    header.extend([0x15, 0, 0, 0]);
    let pages = page(2, 8, &[0; 8], &header);
    let bytes = with_pages("required int64 x", Compression::UNCOMPRESSED, &pages);
    let message = Files::one("a.parquet", bytes).error(&declaration(json!({ "targets": ["y"] })));
    assert!(message.contains("dictionaries") && message.contains("column `x` of `a.parquet`"), "{message}");
    assert!(message.contains("68719476704 bytes") && message.contains("limit is 2147483648 bytes"), "{message}");
}

#[test]
fn encodings_that_ask_for_memory_by_themselves_are_refused_by_name() {
    let encodings = [Encoding::DELTA_BYTE_ARRAY, Encoding::DELTA_LENGTH_BYTE_ARRAY];
    for encoding in encodings {
        let properties = WriterProperties::builder().set_dictionary_enabled(false).set_encoding(encoding);
        let bytes = write_with("message m { required binary soil (UTF8); }", properties.build(), |group| {
            column::<ByteArrayType>(group, &["loam", "clay"].map(ByteArray::from), None, None);
        });
        let message = Files::one("a.parquet", bytes).error(&declaration(json!({})));
        assert!(message.contains(&format!("{encoding} of column `soil` of `a.parquet`")), "{message}");
    }
}

#[test]
fn pages_of_the_second_version_are_read() {
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_encoding(Encoding::PLAIN);
        let bytes = write_with("message m { optional int64 x; optional double y; }", properties.build(), |group| {
            column::<Int64Type>(group, &[7, 8], Some(&[1, 0, 1]), None);
            column::<DoubleType>(group, &[], Some(&[0, 0, 0]), None);
        });
        let table = Files::one("a.parquet", bytes).table(&declaration(json!({})));
        assert_eq!(numbers(&table, "x")[..1], [7.0]);
        assert_eq!(numbers(&table, "x")[2], 8.0);
    }
}

/// Writes another footer behind a file.
fn with_footer(mut bytes: Vec<u8>, change: impl FnOnce(&ParquetMetaData) -> ParquetMetaData) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let metadata = change(&ParquetMetaDataReader::new().parse_and_finish(&file).unwrap());
    ParquetMetaDataWriter::new(&mut bytes, &metadata).finish().unwrap();
    bytes
}

/// Returns a table with the target `y` and a column of two rows whose pages are given.
fn with_pages(field: &str, compression: Compression, pages: &[u8]) -> Vec<u8> {
    let mut bytes = write(&format!("message m {{ {field}; required int64 y; }}"), compression, |group| {
        column::<Int64Type>(group, &[0, 0], None, None);
        column::<Int64Type>(group, &[1, 2], None, None);
    });
    // Pages before the footer, which tells where they are.
    let offset = bytes.len() as i64;
    let file = with_footer(bytes.clone(), |metadata| {
        let group = metadata.row_group(0).clone();
        let mut columns = group.columns().to_vec();
        columns[0] = columns[0]
            .clone()
            .into_builder()
            .set_data_page_offset(offset)
            .set_dictionary_page_offset(None)
            .set_total_compressed_size(pages.len() as i64)
            .build()
            .unwrap();
        let group = group.into_builder().set_column_metadata(columns).build().unwrap();
        ParquetMetaDataBuilder::new(metadata.file_metadata().clone()).set_row_groups(vec![group]).build()
    });
    bytes.extend(pages);
    bytes.extend(&file[offset as usize..]);
    bytes
}

/// Returns a page: its kind, the size that its header promises, its bytes, and the part of the header that is of its kind.
fn page(kind: i32, promised: i32, bytes: &[u8], header: &[u8]) -> Vec<u8> {
    let mut page = Vec::new();
    for number in [kind, promised, bytes.len() as i32] {
        // The next field, a number.
        page.push(0x15);
        page.extend(varint(number));
    }
    page.extend(header);
    page.extend(bytes);
    page
}

/// Returns a number as the headers of pages have it: zigzag, seven bits in a byte.
fn varint(number: i32) -> Vec<u8> {
    let mut rest = (number << 1 ^ number >> 31).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}
