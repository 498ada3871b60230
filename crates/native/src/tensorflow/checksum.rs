//! CRC-32C as LevelDB and TensorFlow write it.

/// Returns the checksum of some bytes in the form that stands in files: turned and shifted, because a CRC over bytes that hold
/// CRCs tells little (`util/crc32c.h` of LevelDB).
pub(super) fn masked(checksum: u32) -> u32 {
    const SHIFT: u32 = 0xa282_ead8;
    checksum.rotate_right(15).wrapping_add(SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, section B.4, for the checksums.
    #[test]
    fn checksums_are_those_of_the_specification() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked(0), 0xa282_ead8);
        assert_eq!(masked(0x8000_0001), 0xa285_ead8);
    }
}
