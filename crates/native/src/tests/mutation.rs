//! Random damage: whatever the bytes are, the answer is a model or an error.

use proptest::prelude::*;
use seedhouse_testkit::single_sequence::SingleSequence;
use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;

use super::{inspect, load};

/// The header of the tiny model ends before this byte.
const HEADER: usize = 8 << 10;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn flipped_bytes_of_the_header_never_panic(
        changes in prop::collection::vec((0..HEADER, prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(1)]), 1..6),
    ) {
        let mut bytes = tiny_llama_gguf(1);
        for (position, byte) in changes {
            bytes[position] = byte;
        }
        let inspected = inspect(&bytes);
        if let Ok(model) = load(&bytes) {
            let description = inspected.unwrap().expect("what can be loaded can be described");
            prop_assert_eq!(description.not_servable_because, None);
            let mut sequence = SingleSequence::new(model.executor().unwrap()).unwrap();
            prop_assert_eq!(sequence.advance(&[0]).unwrap().len(), model.info().vocab_size);
        }
    }

    #[test]
    fn numbers_of_the_header_replaced_by_huge_ones_never_panic(position in 0..HEADER, number in prop_oneof![
        Just(u64::MAX), Just(u64::MAX / 2), Just(1 << 63), Just(1 << 40), Just(u64::from(u32::MAX)), any::<u64>(),
    ]) {
        let mut bytes = tiny_llama_gguf(1);
        bytes[position..position + 8].copy_from_slice(&number.to_le_bytes());
        prop_assert!(load(&bytes).is_err() || inspect(&bytes).is_ok());
    }

    #[test]
    fn noise_after_the_magic_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [&b"GGUF\x03\0\0\0"[..], &noise].concat();
        prop_assert!(load(&bytes).is_err());
    }
}
