//! Writes pickles and legacy torch checkpoints, well-formed ones and others.

/// The pickle of 0x1950a86a20f9469cfc6c, which every legacy checkpoint begins with.
pub const MAGIC: [u8; 15] = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

/// Writes opcodes one after another, as Python's pickler does in protocol 2, without noting anything in the memo.
#[derive(Debug, Clone)]
pub struct PickleWriter(Vec<u8>);

impl Default for PickleWriter {
    fn default() -> Self {
        PickleWriter::new()
    }
}

impl PickleWriter {
    /// Begins a pickle of protocol 2.
    pub fn new() -> PickleWriter {
        PickleWriter(vec![0x80, 2])
    }

    /// Appends opcodes and operands as they are.
    pub fn raw(mut self, bytes: &[u8]) -> PickleWriter {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a text.
    pub fn text(self, text: &str) -> PickleWriter {
        let length = u32::try_from(text.len()).expect("test texts are short");
        self.raw(b"X").raw(&length.to_le_bytes()).raw(text.as_bytes())
    }

    /// Appends an integer, as LONG1 of eight bytes.
    pub fn integer(self, value: i64) -> PickleWriter {
        self.raw(&[0x8a, 8]).raw(&value.to_le_bytes())
    }

    /// Appends a tuple of integers.
    pub fn integers(self, values: &[i64]) -> PickleWriter {
        values.iter().fold(self.raw(b"("), |writer, value| writer.integer(*value)).raw(b"t")
    }

    /// Appends a global.
    pub fn global(self, module: &str, name: &str) -> PickleWriter {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    /// Appends a storage: a persistent id of six parts, as the legacy layout has them.
    pub fn storage(self, type_name: &str, key: &str, elements: i64) -> PickleWriter {
        self.raw(b"(").text("storage").global("torch", type_name).text(key).text("cpu").integer(elements).raw(b"NtQ")
    }

    /// Appends a tensor over a storage of `f32`.
    pub fn tensor(self, key: &str, elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> PickleWriter {
        let writer = self.global("torch._utils", "_rebuild_tensor_v2").raw(b"(");
        let writer = writer.storage("FloatStorage", key, elements).integer(offset).integers(shape).integers(strides);
        // requires_grad, and an empty OrderedDict of hooks.
        writer.raw(&[0x89]).global("collections", "OrderedDict").raw(b")RtR")
    }

    /// Ends the pickle.
    pub fn finish(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// Returns a legacy checkpoint around the pickle of its object. `storages` are key and values.
pub fn legacy_around(object: &[u8], storages: &[(&str, &[f32])]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend(PickleWriter::new().integer(1001).finish());
    let system = PickleWriter::new().raw(b"}(").text("protocol_version").integer(1001).text("little_endian");
    file.extend(system.raw(&[0x88]).raw(b"u").finish());
    file.extend(object);
    let keys = storages.iter().fold(PickleWriter::new().raw(b"]("), |writer, (key, _)| writer.text(key));
    file.extend(keys.raw(b"e").finish());
    for (_, values) in storages {
        file.extend((values.len() as u64).to_le_bytes());
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    file
}
