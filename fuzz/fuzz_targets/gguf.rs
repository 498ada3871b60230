//! A GGUF file as a decoder, and every row of it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| seedhouse_native::fuzzing::read_gguf(bytes));
