//! Writer of GGUF files, version 3, little-endian: metadata, the table of tensors, then their bytes by whoever has them.

/// The alignment that files have which say nothing about it.
const ALIGNMENT: u64 = 32;

/// What stands before the bytes of the tensors.
#[derive(Debug, Default)]
pub(crate) struct GgufHeader {
    keys: u64,
    metadata: Vec<u8>,
    tensor_count: u64,
    tensors: Vec<u8>,
    /// Where the next tensor begins in the data.
    end: u64,
}

impl GgufHeader {
    fn key(&mut self, key: &str, value_type: u32) {
        self.keys += 1;
        text(&mut self.metadata, key);
        self.metadata.extend(value_type.to_le_bytes());
    }

    /// Adds a whole number.
    pub(crate) fn number(&mut self, key: &str, value: u32) {
        self.key(key, 4);
        self.metadata.extend(value.to_le_bytes());
    }

    /// Adds a number with a fraction.
    pub(crate) fn float(&mut self, key: &str, value: f32) {
        self.key(key, 6);
        self.metadata.extend(value.to_le_bytes());
    }

    /// Adds a truth value.
    pub(crate) fn boolean(&mut self, key: &str, value: bool) {
        self.key(key, 7);
        self.metadata.push(value.into());
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        text(&mut self.metadata, value);
    }

    /// Adds a list of texts.
    pub(crate) fn texts<'v>(&mut self, key: &str, values: impl ExactSizeIterator<Item = &'v str>) {
        self.array(key, 8, values.len());
        values.for_each(|value| text(&mut self.metadata, value));
    }

    /// Adds a list of whole numbers.
    pub(crate) fn numbers(&mut self, key: &str, values: &[i32]) {
        self.array(key, 5, values.len());
        values.iter().for_each(|value| self.metadata.extend(value.to_le_bytes()));
    }

    fn array(&mut self, key: &str, element_type: u32, length: usize) {
        self.key(key, 9);
        self.metadata.extend(element_type.to_le_bytes());
        self.metadata.extend((length as u64).to_le_bytes());
    }

    /// Adds a tensor of this type of ggml, dimensions outermost first. Its bytes follow those of the one before, [padded](padding).
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], type_id: u32, bytes: u64) {
        self.tensor_count += 1;
        text(&mut self.tensors, name);
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| self.tensors.extend((*size as u64).to_le_bytes()));
        self.tensors.extend(type_id.to_le_bytes());
        self.tensors.extend(self.end.to_le_bytes());
        self.end += bytes + padding(bytes);
    }

    /// Returns the bytes up to the first tensor.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut bytes = super::MAGIC.to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend(self.keys.to_le_bytes());
        bytes.extend(self.metadata);
        bytes.extend(self.tensors);
        let missing = padding(bytes.len() as u64);
        bytes.extend((0..missing).map(|_| 0));
        bytes
    }
}

/// Returns how many zeros follow so many bytes.
pub(crate) fn padding(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT) - bytes
}

fn text(into: &mut Vec<u8>, text: &str) {
    into.extend((text.len() as u64).to_le_bytes());
    into.extend(text.as_bytes());
}
