//! Writes GGUF files. Nothing is checked: a test that wants a broken file gets one.

/// Numbers of the value types that the format knows.
mod value_type {
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOLEAN: u32 = 7;
    pub(super) const TEXT: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
}

/// A GGUF file in the making, little-endian.
#[derive(Debug, Clone)]
pub struct GgufBuilder {
    /// Version of the format.
    pub version: u32,
    /// Alignment of the data section and of each tensor; `general.alignment` is not written by itself.
    pub alignment: usize,
    /// Number of tensors to claim instead of the real one.
    pub claimed_tensors: Option<u64>,
    /// Number of metadata keys to claim instead of the real one.
    pub claimed_keys: Option<u64>,
    /// Keys, numbers of their types, and encoded values, in order.
    pub metadata: Vec<(String, u32, Vec<u8>)>,
    /// Tensors, in order.
    pub tensors: Vec<TensorEntry>,
}

/// One tensor of a file in the making.
#[derive(Debug, Clone)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Dimensions, the fastest-moving first.
    pub shape: Vec<u64>,
    /// Number of its ggml type.
    pub type_id: u32,
    /// Offset to claim instead of the real one.
    pub claimed_offset: Option<u64>,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Default for GgufBuilder {
    fn default() -> GgufBuilder {
        GgufBuilder {
            version: 3,
            alignment: 32,
            claimed_tensors: None,
            claimed_keys: None,
            metadata: Vec::new(),
            tensors: Vec::new(),
        }
    }
}

impl GgufBuilder {
    /// Sets a key to an encoded value of the type with this number, in the place of the key's old value if it has one.
    pub fn set(&mut self, key: &str, value_type: u32, value: Vec<u8>) -> &mut Self {
        match self.metadata.iter_mut().find(|(existing, ..)| existing == key) {
            Some(entry) => (entry.1, entry.2) = (value_type, value),
            None => self.metadata.push((key.to_owned(), value_type, value)),
        }
        self
    }

    /// Sets a key to a text.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.set(key, value_type::TEXT, encode_text(value))
    }

    /// Sets a key to a whole number.
    pub fn number(&mut self, key: &str, value: u32) -> &mut Self {
        self.set(key, value_type::U32, value.to_le_bytes().to_vec())
    }

    /// Sets a key to a number with a fraction.
    pub fn float(&mut self, key: &str, value: f32) -> &mut Self {
        self.set(key, value_type::F32, value.to_le_bytes().to_vec())
    }

    /// Sets a key to a truth value.
    pub fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.set(key, value_type::BOOLEAN, vec![value.into()])
    }

    /// Sets a key to a list of texts.
    pub fn texts<T: AsRef<str>>(&mut self, key: &str, values: &[T]) -> &mut Self {
        let mut bytes = array_header(value_type::TEXT, values.len());
        values.iter().for_each(|value| bytes.extend(encode_text(value.as_ref())));
        self.set(key, value_type::ARRAY, bytes)
    }

    /// Sets a key to a list of signed 32-bit numbers.
    pub fn numbers(&mut self, key: &str, values: &[i32]) -> &mut Self {
        let mut bytes = array_header(value_type::I32, values.len());
        values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        self.set(key, value_type::ARRAY, bytes)
    }

    /// Sets a key to a list of 32-bit numbers with a fraction.
    pub fn floats(&mut self, key: &str, values: &[f32]) -> &mut Self {
        let mut bytes = array_header(value_type::F32, values.len());
        values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        self.set(key, value_type::ARRAY, bytes)
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        self.metadata.retain(|(existing, ..)| existing != key);
        self
    }

    /// Adds a tensor.
    pub fn tensor(&mut self, name: &str, shape: &[u64], type_id: u32, data: Vec<u8>) -> &mut Self {
        self.tensors.push(TensorEntry {
            name: name.to_owned(),
            shape: shape.to_vec(),
            type_id,
            claimed_offset: None,
            data,
        });
        self
    }

    /// Returns the tensor of this name, to change it.
    ///
    /// # Panics
    /// When there is none: the test names a tensor that the model does not have.
    pub fn tensor_mut(&mut self, name: &str) -> &mut TensorEntry {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("the model has the tensor")
    }

    /// Returns the bytes of the file.
    pub fn build(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.claimed_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(self.claimed_keys.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, value_type, value) in &self.metadata {
            file.extend(encode_text(key));
            file.extend(value_type.to_le_bytes());
            file.extend(value);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            data.resize(data.len().next_multiple_of(self.alignment), 0);
            file.extend(encode_text(&tensor.name));
            file.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().for_each(|length| file.extend(length.to_le_bytes()));
            file.extend(tensor.type_id.to_le_bytes());
            file.extend(tensor.claimed_offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
        }
        file.resize(file.len().next_multiple_of(self.alignment), 0);
        file.extend(data);
        file
    }
}

fn encode_text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn array_header(element_type: u32, length: usize) -> Vec<u8> {
    [&element_type.to_le_bytes()[..], &(length as u64).to_le_bytes()].concat()
}
