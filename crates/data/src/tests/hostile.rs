//! Files that lie about themselves, and files with flipped bytes.

use std::rc::Rc;

use parquet::basic::Compression;
use proptest::prelude::*;
use serde_json::json;

use super::parquet_files::flat;
use super::*;
use crate::limits::{Budget, MOST_COLUMNS};
use crate::source::Source;

#[test]
fn idx_headers_that_lie_are_refused_before_memory_is_taken() {
    let labels = idx(&[2], &[0, 1]);
    let huge = u32::MAX;
    let cases = [
        (idx(&[huge, huge, huge], &[1]), labels.clone(), vec!["`x-images`", "4294967295 pictures"]),
        (idx(&[2, 60_000, 1], &[1]), labels.clone(), vec!["height", "`x-images`", "60000"]),
        (idx(&[1_000_000, 8000, 8000], &[1]), labels.clone(), vec!["`x-images`", "64000000000000 bytes"]),
        (idx(&[2, 2, 2], &[1; 7]), labels.clone(), vec!["`x-images`", "8 numbers", "has 7"]),
        (idx(&[2, 2, 2], &[1; 9]), labels.clone(), vec!["`x-images`", "8 numbers", "has more"]),
        (idx(&[0, 2, 2], &[]), labels.clone(), vec!["`x-images`", "[0, 2, 2]"]),
        (idx(&[2, 2, 2], &[])[..9].to_vec(), labels.clone(), vec!["`x-images`", "header of 16 bytes"]),
        (idx(&[3, 1, 1], &[1; 3]), labels.clone(), vec!["`x-labels`", "2 labels", "`x-images`", "3 pictures"]),
        (idx(&[2, 1, 1], &[1; 2]), idx(&[2], &[0, 9]), vec!["record 2 of `x-labels`", "9", "2 classes"]),
        (idx(&[2, 1, 1], &[1; 2]), idx(&[2, 1], &[0, 0]), vec!["`x-labels`", "0x02"]),
        (idx(&[2, 1, 1], &[1; 2]), idx(&[2, 1, 1], &[0, 0]), vec!["`x-labels`", "same kind as `x-images`"]),
        (gzip(&idx(&[2, 1, 1], &vec![0; 50 << 20])), labels, vec!["`x-images`", "2 numbers", "has more"]),
    ];
    for (images, labels, expected) in cases {
        let message = Files::new(&[("x-images", &images), ("x-labels", &labels)])
            .error(&declaration(json!({ "class_names": ["a", "b"] })));
        for part in expected {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}

#[test]
fn packed_bytes_beyond_a_limit_are_not_unpacked() {
    let files = Files::one("a.csv.gz", gzip(&vec![b' '; 10 << 20]));
    let message = files.source(1 << 20).bytes().unwrap_err().to_string();
    assert_eq!(message, "the dataset up to `a.csv.gz`, unpacked, is 1048577 bytes, but the limit is 1048576 bytes");
}

#[test]
fn files_that_are_each_within_the_limit_are_not_so_together() {
    let files = Files::new(&[("a.csv", &[b'x'; 600]), ("b.csv", &[b'x'; 600])]);
    let budget = Rc::new(Budget::new(1000, "bytes"));
    let sources: Vec<Source<'_>> = files.files.0.iter().map(|file| Source::new(file, &budget).unwrap()).collect();
    assert!(sources[0].bytes().is_ok());
    let message = sources[1].bytes().unwrap_err().to_string();
    assert_eq!(message, "the dataset up to `b.csv`, unpacked, is 1001 bytes, but the limit is 1000 bytes");
}

#[test]
fn pictures_of_several_idx_files_share_a_limit() {
    let count = 1_500_000;
    let (images, labels) = (idx(&[count, 1, 1], &vec![0; count as usize]), idx(&[count], &vec![0; count as usize]));
    let lying = idx(&[count, 1, 1], &[0]);
    let files = [("a-images", &images), ("a-labels", &labels), ("b-images", &lying), ("b-labels", &labels)];
    let message = Files::new(&files.map(|(name, bytes)| (name, bytes.as_slice()))).error(&declaration(json!({})));
    assert_eq!(message, "the dataset up to `b-images` is 3000000 pictures, but the limit is 2000000 pictures");
}

#[test]
fn values_within_values_are_refused_before_they_are_read() {
    // Were the list read, it would be found to be broken.
    let text = format!("{{\"x\": [{}", "[1],".repeat(1000));
    let message = Files::one("a.jsonl", text).error(&declaration(json!({})));
    assert!(message.contains("line 1 of `a.jsonl`") && message.contains("`x` is a list"), "{message}");
}

#[test]
fn columns_beyond_the_limit_are_refused_before_their_names_are_compared() {
    let names: Vec<String> = (0..MOST_COLUMNS).map(|column| format!("\"x{column}\": 1")).collect();
    let members = format!("{{{}, \"x\": 1}}", names.join(", "));
    // The names are all the same, which is not seen.
    let header = format!("x{}\n1{}\n", ",x".repeat(MOST_COLUMNS), ",1".repeat(MOST_COLUMNS));
    for (name, content, unit) in [("a.csv", header, "columns"), ("a.jsonl", members, "names")] {
        let message = Files::one(name, content).error(&declaration(json!({})));
        assert!(message.contains(&format!("`{name}`")), "{message}");
        assert!(message.contains(&format!("4097 {unit}, but the limit is 4096 {unit}")), "{message}");
    }
}

#[test]
fn pictures_with_great_sides_are_refused_by_their_header() {
    let mut bytes = png(2, 2, 1, 0);
    bytes[16..20].copy_from_slice(&1_000_000_u32.to_be_bytes());
    let crc = bytes[12..29].to_vec();
    let mut hasher = flate2::Crc::new();
    hasher.update(&crc);
    bytes[29..33].copy_from_slice(&hasher.sum().to_be_bytes());
    let message = Files::one("a/1.png", bytes).error(&declaration(json!({})));
    assert!(message.contains("`a/1.png`") && message.contains("exceed"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever comes out, nothing panics, and what is read hangs together.
    #[test]
    fn flipped_bytes_never_panic(kind in 0_usize..7, flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let (name, mut bytes): (&str, Vec<u8>) = match kind {
            0 => ("a.csv", b"x,y,kind\n1,2.5,a\n-3,1e3,\"b,c\"\n4,,\n".to_vec()),
            1 => ("a.jsonl", b"{\"x\": 1, \"y\": \"a\"}\n{\"x\": -2.5e1, \"y\": null}\n".to_vec()),
            2 => ("a.parquet", flat(Compression::SNAPPY, [1.0, 2.0, 3.0, 4.0])),
            3 => ("a/1.png", png(5, 4, 3, 100)),
            4 => ("a/1.jpg", picture(16, 9, 3, 50, image::ImageFormat::Jpeg)),
            5 => ("a.csv.gz", gzip(b"x,y\n1,2\n3,4\n")),
            _ => ("a.txt", "some text\n\nof 字\n".repeat(200).into_bytes()),
        };
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= byte;
        }
        check(&Files::one(name, bytes))?;
    }

    #[test]
    fn flipped_bytes_of_idx_files_never_panic(place in any::<prop::sample::Index>(), byte in any::<u8>(), in_labels in any::<bool>()) {
        let (mut images, mut labels) = (idx(&[2, 2, 2], &[1; 8]), idx(&[2], &[0, 1]));
        let bytes = if in_labels { &mut labels } else { &mut images };
        let place = place.index(bytes.len());
        bytes[place] ^= byte;
        check(&Files::new(&[("images", &images), ("labels", &labels)]))?;
    }
}

fn check(files: &Files) -> Result<(), TestCaseError> {
    let declared = declaration(json!({}));
    let read = files.read(&declared);
    prop_assert_eq!(files.describe(&declared).is_ok(), read.is_ok());
    match read {
        Ok(Dataset::Table(table)) => {
            for column in &table.columns {
                let rows = match &column.values {
                    ColumnValues::Numbers(numbers) => numbers.len(),
                    ColumnValues::Categories { codes, .. } => codes.len(),
                };
                prop_assert_eq!(rows, table.parts.len());
            }
        }
        Ok(Dataset::Images(images)) => {
            prop_assert_eq!(images.pixels.len(), images.parts.len() * images.height * images.width * images.channels);
            prop_assert!(images.labels.iter().all(|label| (*label as usize) < images.classes.len()));
        }
        Ok(Dataset::Text(text)) => prop_assert_eq!(text.texts.len(), text.parts.len()),
        Err(_) => {}
    }
    Ok(())
}
