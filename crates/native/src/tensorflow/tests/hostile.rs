//! Files that are broken by accident or on purpose: each is refused with a reason, and none ends the process.

use proptest::prelude::*;
use prost::Message as _;
use seedhouse_core::Code;

use super::super::messages::FormatVersion;
use super::writer::{
    CheckpointWriter, RESTARTS, TableWriter, block, entry, finish, in_parts, number, place, raw_entry, shape_of,
    table_of_block, with_trailer,
};
use super::*;

const MODEL: &str = "saved_model.pb";
const INDEX: &str = "variables/variables.index";
const DATA: &str = "variables/variables.data-00000-of-00001";

/// Returns a message with one field.
fn field(number_of_field: u64, bytes: &[u8]) -> Vec<u8> {
    [&number(number_of_field << 3 | 2)[..], &number(bytes.len() as u64), bytes].concat()
}

fn model_of(graphs: &[Vec<u8>]) -> Folder {
    let graphs: Vec<u8> = graphs.iter().flat_map(|graph| field(2, graph)).collect();
    Folder::default().with(MODEL, &[&b"\x08\x01"[..], &graphs].concat())
}

#[test]
fn file_truncated_at_any_byte_is_refused() {
    for (name, path) in [("without-variables", MODEL), ("linear", INDEX), ("linear", DATA)] {
        let folder = Folder::fixture(name);
        let bytes = folder.bytes(path);
        let cuts = (0..bytes.len()).map(|length| bytes[..length].to_vec());
        folder.inspect_each(path, cuts, |cut, inspected| {
            let error = inspected.expect_err(&format!("{path} cut to {} of {} bytes", cut.len(), bytes.len()));
            assert_eq!(error.code(), Code::Invalid, "{error}");
        });
    }
}

/// Returns the bytes with another bit in one of them.
fn flipped(bytes: &[u8], position: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[position] ^= 1 << (position % 8);
    bytes
}

#[test]
fn any_flipped_bit_of_the_values_and_of_the_blocks_is_found() {
    let folder = Folder::fixture("linear");
    // Nothing protects the footer but the magic number at its end.
    let blocks = folder.bytes(INDEX).len() - 48;
    for (path, length) in [(DATA, folder.bytes(DATA).len()), (INDEX, blocks)] {
        let bytes = folder.bytes(path);
        folder.inspect_each(path, (0..length).map(|position| flipped(bytes, position)), |flipped, inspected| {
            let place = flipped.iter().zip(bytes).position(|(one, other)| one != other);
            assert!(inspected.is_err(), "a bit of byte {place:?} of {path}");
        });
    }
}

#[test]
fn flipped_bits_of_a_model_never_panic() {
    let folder = Folder::fixture("without-variables");
    let bytes = folder.bytes(MODEL);
    let variants = (0..bytes.len()).map(|position| flipped(bytes, position));
    folder.inspect_each(MODEL, variants, |_, inspected| drop(inspected));
}

#[test]
fn damage_is_named_with_file_tensor_place_and_both_values() {
    let folder = Folder::fixture("linear");
    let mut data = folder.bytes(DATA).to_vec();
    data[0] ^= 1;
    let error = folder.clone().with(DATA, &data).refusal();
    let expected =
        format!("file `{DATA}` is malformed: tensor `w/.ATTRIBUTES/VARIABLE_VALUE` at byte 0 has the checksum ");
    assert!(error.starts_with(&expected) && error.contains(", but the index says "), "{error}");
    let error = folder.clone().with(DATA, &data[..100]).refusal();
    assert!(error.ends_with("but the file has 100"), "{error}");
    let mut index = folder.bytes(INDEX).to_vec();
    index[5] ^= 1;
    let error = folder.clone().with(INDEX, &index).refusal();
    assert!(error.starts_with(&format!("file `{INDEX}` is malformed: block at byte 0: its checksum is ")), "{error}");
    let error = folder.with(MODEL, b"\x08\x01\x12\x7f\x0a\x00").refusal();
    let expected = "the model at byte 0: field 2 has 127 bytes, but 2 are left, at byte 4";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn folder_that_is_not_all_there_is_refused_by_what_is_missing() {
    let folder = Folder::fixture("linear");
    for (path, expected) in [
        (INDEX, "it has 5 variables, but `variables/variables.index` is not among the files"),
        (DATA, "`variables/variables.data-00000-of-00001` is not among the files; register the whole folder"),
        ("assets/vocabulary.txt", "reads `assets/vocabulary.txt`, which is not among the files"),
    ] {
        let error = folder.clone().without(path).refusal();
        assert!(error.contains(expected), "{expected:?}: {error}");
    }
}

type Breakage = fn(&mut CheckpointWriter);

#[test]
fn entries_that_contradict_themselves_or_the_shards_are_refused() {
    let cases: [(Breakage, &str); 20] = [
        (|c| c.entries[1].1.offset = 20, "tensor `b` has 8 bytes from byte 20 on, but the file has 24"),
        (|c| c.entries[1].1.offset = i64::MAX, "from byte 9223372036854775807 on"),
        (|c| c.entries[1].1.offset = -1, "tensor `b` has 8 bytes at byte -1"),
        (|c| c.entries[1].1.size = -8, "tensor `b` has -8 bytes at byte 16"),
        (|c| c.entries[1].1.size = 4, "of shape [2] has 4 bytes, but 2 values of 4 bytes"),
        (
            |c| c.entries[1] = (b"b".to_vec(), entry(&[2], 12, &c.data[12..20])),
            "`a` ends before byte 16, but `b` begins at byte 12",
        ),
        (|c| c.entries[1] = (b"b".to_vec(), entry(&[4], 0, &c.data[..16])), "two tensors overlap"),
        (|c| c.entries[1].1.shape = Some(shape_of(&[1 << 40])), "but 1099511627776 values"),
        (|c| c.entries[1].1.shape = Some(shape_of(&[1 << 40, 1 << 40])), "whose product overflows 64 bits"),
        (|c| c.entries[1].1.shape = Some(shape_of(&[-1])), "has the shape [-1]"),
        (|c| c.entries[1].1.shape = Some(shape_of(&[1; 255])), "has 255 dimensions, and 254 are possible"),
        (|c| c.entries[1].1.shape.as_mut().unwrap().is_unknown = true, "has an unknown shape"),
        (|c| c.entries[1].1.checksum ^= 1, "tensor `b` at byte 16 has the checksum"),
        (|c| c.entries[1].1.shard = 1, "tensor `b` is in shard 1, and there are 1"),
        (|c| c.entries[1].1.shard = -1, "tensor `b` is in shard -1"),
        (|c| c.entries[1].1.data_type = 7, "tensor `b` has lengths with the checksum"),
        (|c| c.entries[1].0 = vec![b'b', 0xff], "has a name that is no text"),
        (|c| c.header.shard_count = 2, "it has 2 shards, but `m.data-00000-of-00002` is not among the files"),
        (|c| c.header.shard_count = i32::MAX, "it has 2147483647 shards, but `m.data-00000-of-2147483647`"),
        (|c| c.header.byte_order = 7, "its byte order is 7; 0 and 1 exist"),
    ];
    CheckpointWriter::new().folder().described();
    for (breakage, expected) in cases {
        let mut checkpoint = CheckpointWriter::new();
        breakage(&mut checkpoint);
        let error = checkpoint.folder().refusal();
        assert!(error.contains(" is malformed: ") && error.contains(expected), "{expected:?}: {error}");
    }
}

#[test]
fn variables_in_parts_must_be_the_sum_of_their_parts() {
    let part = |name: &str, number: u8| [&[0], name.as_bytes(), &[0, 1, 1, number]].concat();
    let with = |name: &str, whole: &[i64], second: &[i64]| {
        let mut checkpoint = CheckpointWriter::new();
        let data = checkpoint.data.clone();
        let length: i64 = second.iter().product::<i64>() * 4;
        checkpoint.entries = vec![
            (part("w", 1), entry(&[4], 0, &data[..16])),
            (part(name, 2), entry(second, 16, &data[16..16 + length as usize])),
            (b"w".to_vec(), in_parts(whole, 2)),
        ];
        checkpoint.folder()
    };
    let inspection = with("w", &[6], &[2]).described();
    assert_eq!((inspection.tensor_count, inspection.parameter_count), (1, 6));
    let cases = [
        (with("w", &[7], &[2]), "tensor `w` has 7 values, but 6 are in its 2 parts"),
        (with("w", &[1 << 50], &[2]), "but 6 are in its 2 parts"),
        (with("w", &[6], &[1]), "tensor `w` has 6 values, but 5 are in its 2 parts"),
        (with("x", &[4], &[2]), "it has parts of `x`, which is no tensor in parts"),
    ];
    for (folder, expected) in cases {
        let error = folder.refusal();
        assert!(error.contains(expected), "{expected:?}: {error}");
    }
    let mut checkpoint = CheckpointWriter::new();
    checkpoint.entries.insert(0, (vec![0, b'w'], checkpoint.entries[0].1.clone()));
    assert!(checkpoint.folder().refusal().contains("overlap"));
}

#[test]
fn what_is_merely_not_read_is_kept_with_the_reason() {
    let cases: [(Breakage, &str); 3] = [
        (|c| c.header.byte_order = 1, "big-endian"),
        (|c| c.header.version = Some(FormatVersion { oldest_reader: 2 }), "a reader of version 2; 1 is read"),
        (|c| c.entries[0].1.data_type = 77, "tensor `a` is of data type 77"),
    ];
    for (breakage, expected) in cases {
        let mut checkpoint = CheckpointWriter::new();
        breakage(&mut checkpoint);
        let reason = checkpoint.folder().described().not_servable_because.expect("a reason");
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn compressed_blocks_are_read_and_may_not_grow_without_bound() {
    let checkpoint = CheckpointWriter::new();
    let mut table = checkpoint.table();
    table.is_compressed = true;
    assert_eq!(checkpoint.folder_with(&table.bytes()).described().parameter_count, 6);

    // A block of four bytes that says it becomes 4 GiB.
    let packed = [&number(u64::from(u32::MAX))[..], &[0, 0, 0]].concat();
    let file = with_trailer(packed.clone(), 1);
    let error = checkpoint.folder_with(&finish(file, &place(0, packed.len() as u64))).refusal();
    assert!(error.contains("it claims to become 4294967295 bytes, but 8 become at most 256"), "{error}");
}

#[test]
fn tables_that_are_none_are_refused() {
    let checkpoint = CheckpointWriter::new();
    let value = Vec::new;
    let mut twice = checkpoint.table();
    twice.blocks.push(twice.blocks[0].clone());
    let mut shuffled = checkpoint.table();
    shuffled.blocks[0].swap(1, 2);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![0; 100], "it ends with the bytes 0000000000000000, a table with 57fb808b247547db"),
        (vec![0; 20], "it has 20 bytes, and the footer takes 48"),
        (finish(Vec::new(), &[0xff; 20]), "a place in its footer does not end"),
        (finish(Vec::new(), &place(0, 99)), "it has 99 bytes and 5 more, but the footer begins at 13"),
        (finish(Vec::new(), &place(u64::MAX, u64::MAX)), "block at byte 18446744073709551615"),
        (finish(vec![0; 100], &place(0, u64::MAX)), "it has 18446744073709551615 bytes and 5 more"),
        (table_of_block(block(&[]), 0), "it has no entries"),
        (table_of_block(vec![0; 3], 0), "it has 3 bytes, too few for a count"),
        (table_of_block(vec![0xff; 4], 0), "it has 4294967295 places in 0 bytes"),
        (table_of_block(block(&[(value(), value())]), 7), "its compression is 7; 0 (none) and 1 (Snappy) exist"),
        (table_of_block(block(&[(value(), value())]), 1), "block at byte 0: "),
        (
            table_of_block([&raw_entry(9, b"a", b"")[..], &RESTARTS].concat(), 0),
            "a key has 9 bytes of the one before, which has 0",
        ),
        (table_of_block([&[0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0][..], &RESTARTS].concat(), 0), "an entry does not end"),
        (table_of_block([&[0xff; 12][..], &RESTARTS].concat(), 0), "an entry does not end"),
        (table_of_block(block(&[(b"a".to_vec(), value())]), 0), "its first key is `a`, not the empty one"),
        (twice.bytes(), "comes after `b`, but keys are sorted"),
        (shuffled.bytes(), "keys are not sorted after `b`"),
        (TableWriter { blocks: Vec::new(), ..checkpoint.table() }.bytes(), "it has no entries"),
    ];
    for (index, expected) in cases {
        let error = checkpoint.folder_with(&index).refusal();
        assert!(
            error.starts_with("file `m.index` is malformed: ") && error.contains(expected),
            "{expected:?}: {error}"
        );
    }
}

#[test]
fn keys_that_share_almost_everything_do_not_fill_the_memory() {
    const LONG: u64 = 1 << 20;
    let checkpoint = CheckpointWriter::new();
    let empty = entry(&[0], 0, b"").encode_to_vec();
    let mut bytes = raw_entry(0, b"", &checkpoint.header.encode_to_vec());
    bytes.extend(raw_entry(0, &vec![b'a'; LONG as usize], &empty));
    (0..1000).for_each(|number| bytes.extend(raw_entry(LONG, format!("{number:04}").as_bytes(), &empty)));
    let index = table_of_block([&bytes[..], &RESTARTS].concat(), 0);
    let error = checkpoint.folder_with(&index).inspect().unwrap_err();
    assert_eq!(error.code(), Code::TooLarge, "{error}");
}

#[test]
fn models_with_too_much_to_say_are_refused() {
    let info = field(1, &field(4, b"serve"));
    let tags = field(1, &field(4, b"").repeat(1 << 17));
    let cases =
        [model_of(&[tags]), model_of(&[info.clone(), field(5, &vec![0; 2 << 20])]), model_of(&vec![info; 1 << 14])];
    for folder in cases {
        let error = folder.inspect().unwrap_err();
        assert_eq!(error.code(), Code::TooLarge, "{error}");
    }
}

#[test]
fn graph_for_servers_is_the_one_described() {
    let graph = |tag: &str, version: &str| {
        let version = field(5, version.as_bytes());
        field(1, &[field(4, tag.as_bytes()), version].concat())
    };
    let found = model_of(&[graph("train", "1.14.0"), graph("serve", "1.15.0")]).described().hyper_parameters;
    let expected = serde_json::json!({
        "tensorflow_version": "1.15.0", "tags": ["serve"], "signatures": {}, "tags_of_other_graphs": [["train"]],
    });
    assert_eq!(Value::Object(found), expected);
}

#[test]
fn newer_version_of_the_format_is_kept_with_the_reason() {
    let folder = Folder::default().with(MODEL, b"\x08\x02\x12\x02\x0a\x00");
    let reason = folder.described().not_servable_because.expect("a reason");
    assert!(reason.contains("its format has the version 2; 1 is read"), "{reason}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        file in prop::sample::select(vec![MODEL, INDEX, DATA]),
    ) {
        let folder = Folder::fixture("linear");
        let mut bytes = folder.bytes(file).to_vec();
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        let _either = folder.with(file, &bytes).inspect();
    }

    /// Damage below right checksums, which only somebody who means it makes.
    #[test]
    fn changed_entries_with_right_checksums_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let checkpoint = CheckpointWriter::new();
        let mut bytes = block(&checkpoint.table().blocks[0]);
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        let _either = checkpoint.folder_with(&table_of_block(bytes, 0)).inspect();
    }

    #[test]
    fn noise_in_a_graph_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let _either = model_of(&[[&b"\x0a\x00"[..], &noise].concat()]).inspect();
        let _either = Folder::default().with(MODEL, &noise).inspect();
    }
}
