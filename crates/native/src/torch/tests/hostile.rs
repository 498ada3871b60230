//! Files that are broken by accident or on purpose: each is refused with a reason, and none ends the process.

use proptest::prelude::*;
use seedhouse_testkit::tiny_torch::pickle_with_global;

use super::*;

/// A legacy checkpoint of one tensor `x` with the given storage and place.
fn one_tensor(storage: &[f32], declared: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let object =
        PickleWriter::new().raw(b"}").text("x").tensor("a", declared, offset, shape, strides).raw(b"s").finish();
    legacy_around(&object, &[("a", storage)])
}

fn object_only(object: PickleWriter) -> Vec<u8> {
    legacy_around(&object.finish(), &[])
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "{from:?} does not occur");
    let mut bytes = bytes.to_vec();
    places.iter().for_each(|at| bytes[*at..*at + to.len()].copy_from_slice(to));
    bytes
}

#[test]
fn file_truncated_at_any_byte_is_refused() {
    for bytes in [legacy_checkpoint(&[("w", &[2], &[1.0, 2.0]), ("b", &[1], &[3.0])]), current_archive()] {
        read(&bytes).unwrap();
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "cut to {length} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn forbidden_global_is_refused_by_its_full_name_however_it_is_asked_for() {
    for (module, name) in
        [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("torch", "load"), ("collections", "x")]
    {
        let call = b"X\x07\x00\x00\x00echo hi\x85R";
        let by_stack = PickleWriter::new().text(module).text(name).raw(b"\x93").raw(call);
        let by_inst = PickleWriter::new().raw(b"(").raw(format!("i{module}\n{name}\n").as_bytes());
        let nested = PickleWriter::new().raw(b"}").text("x").raw(b"](").global(module, name).raw(call).raw(b"es");
        let new_object = PickleWriter::new().global(module, name).raw(b")\x81");
        let object = nested.clone().finish();
        let cases = [
            pickle_with_global(module, name),
            object_only(by_stack),
            object_only(by_inst),
            object_only(nested),
            object_only(new_object),
            archive(&[("a/data.pkl", &object)]),
            object,
        ];
        for bytes in cases {
            assert!(is_checkpoint(&bytes));
            let expected =
                format!("the global `{module}.{name}`, which is not among the allowed ones; nothing was executed");
            let refusal = refusal(&bytes);
            assert!(refusal.contains(&expected), "{refusal}");
        }
    }
}

#[test]
fn what_could_run_code_or_is_not_a_state_dict_is_refused() {
    let new = PickleWriter::new;
    let cases = [
        (new().raw(b"\x82\x01"), "the opcode EXT1 (0x82)"),
        (new().raw(b"P1\n"), "the opcode PERSID (0x50)"),
        (new().raw(b"\xff"), "the byte 0xff stands, which is no opcode"),
        (new().global("collections", "OrderedDict").raw(b")\x81"), "the opcode NEWOBJ (0x81)"),
        (new().raw(b"(icollections\nOrderedDict\n"), "the opcode INST makes `collections.OrderedDict`"),
        (new().text("x").raw(b")R"), "the pickle calls the text `x`"),
        (new().global("torch", "FloatStorage").raw(b")R"), "`torch.FloatStorage` is called with 0 arguments"),
        (new().global("torch._utils", "_rebuild_parameter").raw(b"N\x85R"), "a parameter is made of `None`"),
        (
            new().raw(b"(").text("module").global("torch", "FloatStorage").text("0").text("cpu").raw(b"K\x01tQ"),
            "`module`",
        ),
        (
            new().raw(b"(").text("storage").raw(b"N").text("0").text("cpu").raw(b"K\x01tQ"),
            "the type of a storage is `None`",
        ),
        (new().global("torch", "QInt8Storage"), "`torch.QInt8Storage`"),
        (new().raw(b"]N}b"), "BUILD gives a dictionary of 0 entries to `None`"),
        (new().raw(b"NNs"), "needs a value"),
        (new().raw(b"}(Nu"), "SetItems puts 1 values into"),
        (new().raw(b"(s"), "needs 2 values, but 0 are there"),
        (new().raw(b"t"), "needs a mark"),
        (new().raw(b"N("), "needs a value"),
        (new().raw(b"NN"), "STOP leaves 1 values"),
        (new().raw(b"j\xff\xff\xff\xff"), "the memo has no number 4294967295"),
        (new().raw(b"X\xff\xff\xff\xff"), "a text needs 4294967295 bytes"),
        (new().raw(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "a text needs 18446744073709551615 bytes"),
        (new().raw(b"X\x01\x00\x00\x00\xff"), "a text is not UTF-8"),
        (new().raw(b"\x8a\x09123456789"), "an integer has 9 bytes, but at most 8"),
        (new().raw(b"\x80\x07N"), "the pickle is of protocol 7"),
        (new().raw(b"N"), "it holds `None`, expected a state dict"),
        (new().raw(b"}"), "dictionary of 0 entries has no tensors"),
        (new().raw(b"}(").text("epoch").raw(b"K\x03u"), "dictionary of 1 entries has no tensors"),
    ];
    for (object, expected) in cases {
        let refusal = refusal(&object_only(object));
        assert!(refusal.contains(expected), "{refusal}\nexpected: {expected}");
    }
}

#[test]
fn tensor_outside_its_storage_is_refused_with_both_values() {
    let most = i64::MAX;
    let cases = [
        (one_tensor(&[0.0; 4], 4, 0, &[5], &[1]), "ends at element 5, but storage `a` has 4"),
        (one_tensor(&[0.0; 4], 4, 2, &[3], &[1]), "at offset 2 ends at element 5, but storage `a` has 4"),
        (one_tensor(&[0.0; 4], 4, 0, &[2, 2], &[3, 1]), "ends at element 5, but storage `a` has 4"),
        (one_tensor(&[0.0; 4], 4, 5, &[0], &[1]), "ends at element 5, but storage `a` has 4"),
        (one_tensor(&[0.0; 4], 4, 0, &[5], &[0]), "repeats elements: it has 5, but storage `a` has 4"),
        (one_tensor(&[0.0; 4], 4, 0, &[-1], &[1]), "the shape of a tensor is -1"),
        (one_tensor(&[0.0; 4], 4, 0, &[1], &[-1]), "the strides of a tensor is -1"),
        (one_tensor(&[0.0; 4], 4, -1, &[1], &[1]), "the offset of a tensor is -1"),
        (one_tensor(&[0.0; 4], 4, 0, &[1], &[1, 1]), "1 dimensions, but 2 strides"),
        (one_tensor(&[0.0; 4], 4, 0, &[most, most], &[1, 1]), "does not fit into memory"),
        (one_tensor(&[0.0; 4], 4, 0, &[0, most, most], &[1, 1, 1]), "does not fit into memory"),
        (one_tensor(&[0.0; 4], 4, 0, &[2, 3], &[most, most]), "does not fit into memory"),
        (one_tensor(&[0.0; 4], 4, 0, &[1; 17], &[1; 17]), "has 17 dimensions, but at most 16"),
        (one_tensor(&[0.0; 4], 5, 0, &[1], &[1]), "storage `a` has 4 elements, but the pickle says 5"),
        (one_tensor(&[0.0; 4], -1, 0, &[1], &[1]), "the length of a storage is -1"),
        (one_tensor(&[0.0; 4], most, 0, &[1], &[1]), "storage `a` has 9223372036854775807 elements"),
    ];
    for (bytes, expected) in cases {
        let refusal = refusal(&bytes);
        assert!(refusal.contains(expected), "{refusal}\nexpected: {expected}");
    }
}

#[test]
fn legacy_layout_that_contradicts_itself_is_refused() {
    let good = one_tensor(&[1.0, 2.0], 2, 0, &[2], &[1]);
    let object = PickleWriter::new().raw(b"}").text("x").tensor("a", 1, 0, &[1], &[1]).raw(b"s").finish();
    let twice = PickleWriter::new().raw(b"}(").text("x").tensor("a", 1, 0, &[1], &[1]).text("y");
    let twice = twice.tensor("a", 2, 0, &[1], &[1]).raw(b"u").finish();
    let same_name = PickleWriter::new().raw(b"}(").text("x").tensor("a", 1, 0, &[1], &[1]).text("x");
    let same_name = same_name.tensor("a", 1, 0, &[1], &[1]).raw(b"u").finish();
    let mixed =
        PickleWriter::new().raw(b"}(").text("x").tensor("a", 1, 0, &[1], &[1]).text("y").raw(b"K\x07u").finish();
    let view = PickleWriter::new().raw(b"(").text("storage").global("torch", "FloatStorage").text("a").text("cpu");
    let view = view.raw(b"K\x01(K\x00ttQ").finish();
    let surplus = [&good[..], b"123"].concat();
    let cases = [
        (replaced(&good, &[b'n', 0x88], &[b'n', 0x89]), "big-endian"),
        (replaced(&good, b"little_endian", b"Little_endian"), "with the key `little_endian`"),
        (replaced(&good, &1001_i64.to_le_bytes(), &1002_i64.to_le_bytes()), "version 1002"),
        (surplus, "3 more bytes follow"),
        (legacy_around(&object, &[]), "storage `a` is used by a tensor, but not listed"),
        (legacy_around(&object, &[("a", &[1.0]), ("b", &[1.0])]), "storage `b` is listed, but no tensor uses it"),
        (legacy_around(&object, &[("a", &[1.0]), ("a", &[1.0])]), "storage `a` is listed twice"),
        (legacy_around(&twice, &[("a", &[1.0])]), "storage `a` has 2 elements of F32, but had 1 of F32 before"),
        (legacy_around(&same_name, &[("a", &[1.0])]), "tensor `x` is named twice"),
        (legacy_around(&mixed, &[("a", &[1.0])]), "`y` is the integer 7, expected a tensor"),
        (legacy_around(&view, &[("a", &[1.0])]), "is a view of another one"),
    ];
    for (bytes, expected) in cases {
        let refusal = refusal(&bytes);
        assert!(refusal.contains(expected), "{refusal}\nexpected: {expected}");
    }
}

#[test]
fn archive_that_is_not_what_torch_writes_is_refused() {
    let object = PickleWriter::new().raw(b"}").text("x").tensor("0", 1, 0, &[1], &[1]).raw(b"s").finish();
    let data = little_endian(&[1.0]);
    let good: [(&str, &[u8]); 2] = [("a/data.pkl", &object), ("a/data/0", &data)];
    let with = |name: &'static str, bytes: &'static [u8]| archive(&[good[0], good[1], (name, bytes)]);
    // The method of an entry stands ten bytes into its header in the directory.
    let mut compressed = archive(&good);
    let header = compressed.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    compressed[header + 10] = 8;
    // Where its local header is stands 42 bytes into it.
    let mut overlapping = archive(&good);
    let header = overlapping.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    overlapping[header + 42..header + 46].fill(0);
    let cases = [
        (overlapping, "two entries overlap"),
        (with("a/byteorder", b"big"), "its byte order is `big`"),
        (with("a/constants.pkl", b""), "TorchScript"),
        (with("b/data.pkl", b""), "its object is in `a` and in `b`"),
        (with("a/data/1", b""), "storage `1` is in the archive, but no tensor uses it"),
        (archive(&good[..1]), "it has no entry `a/data/0`"),
        (archive(&good[1..]), "without an entry"),
        (
            archive(&[good[0], ("a/data/0", b"12345")]),
            "storage `0` has 5 bytes, but the pickle says 1 elements of F32, 4 bytes",
        ),
        (replaced(&with("a/data/1", b"1234"), b"a/data/1", b"a/data/0"), "two entries have the same name"),
        (archive(&[("a/data.pkl", &[&object[..], b"."].concat()), good[1]]), "but `data.pkl` has"),
        (compressed, "is compressed or encrypted"),
    ];
    for (bytes, expected) in cases {
        let refusal = refusal(&bytes);
        assert!(refusal.contains(expected), "{refusal}\nexpected: {expected}");
    }
}

#[test]
fn deep_nesting_costs_no_stack() {
    const DEPTH: usize = 100_000;
    let lists = PickleWriter::new().raw(&b"]".repeat(DEPTH)).raw(&b"a".repeat(DEPTH - 1));
    assert!(refusal(&object_only(lists)).contains("it holds a list of 1 items"));
    let tuples = PickleWriter::new().raw(b")").raw(&b"\x85".repeat(DEPTH));
    assert!(refusal(&object_only(tuples)).contains("it holds a tuple of 1 items"));
    let marks = PickleWriter::new().raw(&b"(".repeat(DEPTH));
    assert!(refusal(&object_only(marks)).contains("needs a value"));
}

#[test]
fn huge_memo_numbers_take_no_room() {
    let writer = PickleWriter::new().raw(b"}(").text("x").tensor("a", 1, 0, &[1], &[1]).raw(b"u");
    let writer = (0..1000_u32).fold(writer, |writer, step| writer.raw(b"r").raw(&(u32::MAX - step).to_le_bytes()));
    assert_eq!(read(&legacy_around(&writer.finish(), &[("a", &[1.0])])).unwrap().len(), 1);
}

#[test]
fn pickle_that_copies_one_list_again_and_again_runs_out_of_operations() {
    let list = PickleWriter::new().raw(b"](").raw(&b"NN\x86".repeat(10_000)).raw(b"eq\x00");
    let again = list.global("collections", "OrderedDict").raw(b"q\x010");
    let again = again.raw(&b"h\x01h\x00\x85R0".repeat(10_000));
    assert!(refusal(&object_only(again)).contains("more than 4194304 operations"));
}

#[test]
fn tensors_that_share_one_storage_a_thousand_times_are_refused() {
    let storage = vec![0.0; 100_000];
    let writer = (0..1000).fold(PickleWriter::new().raw(b"}("), |writer, number| {
        writer.text(&number.to_string()).tensor("a", 100_000, 0, &[100_000], &[1])
    });
    let refusal = refusal(&legacy_around(&writer.raw(b"u").finish(), &[("a", &storage)]));
    assert!(refusal.contains("they need 400000000 bytes, but at most 4 times the file"), "{refusal}");
}

#[test]
fn bare_pickle_is_refused_without_being_run() {
    for (bytes, expected) in
        [(&b"\x80\x04N."[..], "without the magic number"), (b"\x80\x02", "an opcode needs 1 bytes")]
    {
        assert!(is_checkpoint(bytes));
        let refusal = refusal(bytes);
        assert!(refusal.contains(expected), "{refusal}");
    }
}

proptest! {
    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        for original in [legacy_checkpoint(&[("w", &[2, 1], &[1.0, 2.0]), ("b", &[1], &[3.0])]), current_archive()] {
            let mut bytes = original;
            for (place, value) in &flips {
                let place = place.index(bytes.len());
                bytes[place] = *value;
            }
            let _ = is_checkpoint(&bytes);
            let _ = inspect(&file(), &bytes, &LocalFiles(Vec::new()));
        }
    }

    #[test]
    fn any_opcodes_never_panic(program in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&legacy_around(&program, &[("a", &[1.0])]));
        let _ = read(&archive(&[("a/data.pkl", &program)]));
    }
}
