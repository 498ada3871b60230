//! Every tensor type that the GGUF format has, so that sizes can be checked even where we cannot compute.

/// How numbers are stored: in blocks of `block_size` numbers that take `block_bytes` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TensorType {
    /// The number in the file.
    pub(crate) id: u32,
    /// The name that ggml gives it.
    pub(crate) name: &'static str,
    /// Numbers per block.
    pub(crate) block_size: u64,
    /// Bytes per block.
    pub(crate) block_bytes: u64,
}

impl TensorType {
    /// Returns the type with this number. Numbers that ggml gave up (4, 5, 31 to 33, 36 to 38) are unknown.
    pub(crate) fn of_id(id: u32) -> Option<TensorType> {
        TYPES.iter().copied().find(|tensor_type| tensor_type.id == id)
    }

    /// Returns how many bytes `count` numbers in whole blocks take, or `None` when they do not fill blocks or overflow.
    pub(crate) fn bytes_of(self, count: u64) -> Option<u64> {
        if !count.is_multiple_of(self.block_size) {
            return None;
        }
        (count / self.block_size).checked_mul(self.block_bytes)
    }
}

const fn row(id: u32, name: &'static str, block_size: u64, block_bytes: u64) -> TensorType {
    TensorType { id, name, block_size, block_bytes }
}

/// From `enum ggml_type` of ggml.h and the block structures of ggml-common.h.
const TYPES: [TensorType; 34] = [
    row(0, "F32", 1, 4),
    row(1, "F16", 1, 2),
    row(2, "Q4_0", 32, 18),
    row(3, "Q4_1", 32, 20),
    row(6, "Q5_0", 32, 22),
    row(7, "Q5_1", 32, 24),
    row(8, "Q8_0", 32, 34),
    row(9, "Q8_1", 32, 36),
    row(10, "Q2_K", 256, 84),
    row(11, "Q3_K", 256, 110),
    row(12, "Q4_K", 256, 144),
    row(13, "Q5_K", 256, 176),
    row(14, "Q6_K", 256, 210),
    row(15, "Q8_K", 256, 292),
    row(16, "IQ2_XXS", 256, 66),
    row(17, "IQ2_XS", 256, 74),
    row(18, "IQ3_XXS", 256, 98),
    row(19, "IQ1_S", 256, 50),
    row(20, "IQ4_NL", 32, 18),
    row(21, "IQ3_S", 256, 110),
    row(22, "IQ2_S", 256, 82),
    row(23, "IQ4_XS", 256, 136),
    row(24, "I8", 1, 1),
    row(25, "I16", 1, 2),
    row(26, "I32", 1, 4),
    row(27, "I64", 1, 8),
    row(28, "F64", 1, 8),
    row(29, "IQ1_M", 256, 56),
    row(30, "BF16", 1, 2),
    row(34, "TQ1_0", 256, 54),
    row(35, "TQ2_0", 256, 66),
    row(39, "MXFP4", 32, 17),
    row(40, "NVFP4", 64, 36),
    row(41, "Q1_0", 128, 18),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_order_and_once_each() {
        assert!(TYPES.windows(2).all(|pair| pair[0].id < pair[1].id));
    }

    #[test]
    fn numbers_that_do_not_fill_blocks_have_no_size() {
        let q4_1 = TensorType::of_id(3).unwrap();
        assert_eq!(q4_1.bytes_of(64), Some(40));
        assert_eq!(q4_1.bytes_of(63), None);
        assert_eq!(TensorType::of_id(28).unwrap().bytes_of(u64::MAX), None);
        assert_eq!(TensorType::of_id(4), None);
    }
}
