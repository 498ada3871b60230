//! The types in which weights are stored, by ggml's names, and how many numbers and bytes their blocks have.

/// A type of tensors that rows can be read of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q4K,
    Q5K,
    Q6K,
    /// Integers of a quantised safetensors file: how many bits, and whether 32 inputs share a scale or all of an output.
    I8,
    I16,
    I8Groups,
    I4Groups,
}

/// The groups of a quantised type: numbers that share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupLayout {
    /// Numbers per group.
    pub(crate) size: usize,
    /// Bits of a quant.
    pub(crate) bits: usize,
    /// Whether groups have an offset beside their scale.
    pub(crate) has_offsets: bool,
    /// Numbers per super-block, whose factor multiplies the whole-number scales of its groups.
    pub(crate) super_block: Option<usize>,
}

impl Storage {
    /// Every type that GGUF files and plain safetensors files have.
    pub(crate) const ALL: [Storage; 11] = [
        Storage::F32,
        Storage::F16,
        Storage::BF16,
        Storage::Q8_0,
        Storage::Q4_0,
        Storage::Q4_1,
        Storage::Q5_0,
        Storage::Q5_1,
        Storage::Q4K,
        Storage::Q5K,
        Storage::Q6K,
    ];

    /// Returns ggml's name, which is also that of safetensors for the plain types.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Storage::F32 => "F32",
            Storage::F16 => "F16",
            Storage::BF16 => "BF16",
            Storage::Q8_0 => "Q8_0",
            Storage::Q4_0 => "Q4_0",
            Storage::Q4_1 => "Q4_1",
            Storage::Q5_0 => "Q5_0",
            Storage::Q5_1 => "Q5_1",
            Storage::Q4K => "Q4_K",
            Storage::Q5K => "Q5_K",
            Storage::Q6K => "Q6_K",
            Storage::I8 | Storage::I8Groups => "I8",
            Storage::I16 => "I16",
            Storage::I4Groups => "I4",
        }
    }

    /// Returns the numbers of a block.
    ///
    /// # Panics
    /// For integers whose scales stand in another tensor.
    pub(super) fn block_numbers(self) -> usize {
        match self {
            Storage::F32 | Storage::F16 | Storage::BF16 => 1,
            Storage::Q8_0 | Storage::Q4_0 | Storage::Q4_1 | Storage::Q5_0 | Storage::Q5_1 => 32,
            Storage::Q4K | Storage::Q5K | Storage::Q6K => 256,
            Storage::I8 | Storage::I16 | Storage::I8Groups | Storage::I4Groups => unreachable!("they have no blocks"),
        }
    }

    /// Returns the bytes of a block.
    ///
    /// # Panics
    /// For integers whose scales stand in another tensor.
    pub(super) fn block_bytes(self) -> usize {
        match self {
            Storage::F32 => 4,
            Storage::F16 | Storage::BF16 => 2,
            Storage::Q8_0 => 34,
            Storage::Q4_0 => 18,
            Storage::Q4_1 => 20,
            Storage::Q5_0 => 22,
            Storage::Q5_1 => 24,
            Storage::Q4K => 144,
            Storage::Q5K => 176,
            Storage::Q6K => 210,
            Storage::I8 | Storage::I16 | Storage::I8Groups | Storage::I4Groups => unreachable!("they have no blocks"),
        }
    }

    /// Returns the groups, or `None` for plain numbers and for integers with a scale per output.
    pub(crate) fn groups(self) -> Option<GroupLayout> {
        let simple = |bits, has_offsets| Some(GroupLayout { size: 32, bits, has_offsets, super_block: None });
        match self {
            Storage::F32 | Storage::F16 | Storage::BF16 | Storage::I8 | Storage::I16 => None,
            Storage::Q8_0 | Storage::I8Groups => simple(8, false),
            Storage::Q4_0 | Storage::I4Groups => simple(4, false),
            Storage::Q4_1 => simple(4, true),
            Storage::Q5_0 => simple(5, false),
            Storage::Q5_1 => simple(5, true),
            Storage::Q4K => Some(GroupLayout { size: 32, bits: 4, has_offsets: true, super_block: Some(256) }),
            Storage::Q5K => Some(GroupLayout { size: 32, bits: 5, has_offsets: true, super_block: Some(256) }),
            Storage::Q6K => Some(GroupLayout { size: 16, bits: 6, has_offsets: false, super_block: Some(256) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::TensorType;

    #[test]
    fn blocks_have_the_sizes_that_the_reader_of_gguf_checks() {
        for id in 0..64 {
            let Some(tensor_type) = TensorType::of_id(id) else { continue };
            let of_name = |storage: &Storage| storage.name() == tensor_type.name;
            let Some(storage) = Storage::ALL.into_iter().find(of_name) else { continue };
            let sizes = (storage.block_numbers() as u64, storage.block_bytes() as u64);
            assert_eq!(sizes, (tensor_type.block_size, tensor_type.block_bytes), "{}", tensor_type.name);
        }
        let known = |storage: &Storage| (0..64).filter_map(TensorType::of_id).any(|known| known.name == storage.name());
        assert!(Storage::ALL.iter().all(known));
    }
}
