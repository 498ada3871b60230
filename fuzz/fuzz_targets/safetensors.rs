//! A safetensors file beside configurations of several families, and every row of what it makes with them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| seedhouse_native::fuzzing::read_safetensors(bytes));
