//! Every type of tensors against the formulas of ggml, number by number in f64.

use half::f16;
use proptest::prelude::*;
use seedhouse_testkit::tiny_gguf::GgufBuilder;
use seedhouse_testkit::tiny_safetensors::plain_numbers;

use super::tiny::{WIDTH, gguf_of, numbers, read_gguf};
use crate::decoder::{GroupRow, NonFinitePolicy, Role, Storage, TensorSource, WeightCheck};
use crate::gguf::TensorType;

const ROWS: usize = 4;
const COLUMNS: usize = 512;

fn id_of(storage: Storage) -> u32 {
    (0..64).find(|id| TensorType::of_id(*id).is_some_and(|known| known.name == storage.name())).unwrap()
}

/// Returns the feed-forward matrix of a model that is `COLUMNS` wide, with these bytes.
fn source(storage: Storage, bytes: Vec<u8>) -> TensorSource {
    let mut builder: GgufBuilder = gguf_of("llama");
    builder.number("llama.feed_forward_length", ROWS as u32).number("llama.embedding_length", COLUMNS as u32);
    for tensor in &mut builder.tensors {
        let is_feed_forward = |size: &u64| *size == super::tiny::FEED_FORWARD as u64;
        for size in &mut tensor.shape {
            *size = if is_feed_forward(size) {
                ROWS as u64
            } else if *size == WIDTH as u64 {
                COLUMNS as u64
            } else {
                *size
            };
        }
        let count = tensor.shape.iter().product::<u64>() as usize;
        tensor.data = plain_numbers("F32", &vec![0.0; count]);
    }
    let tensor = builder.tensor_mut("blk.0.ffn_up.weight");
    (tensor.type_id, tensor.data) = (id_of(storage), bytes);
    let model = read_gguf(&builder).unwrap();
    model.tensors.layer_tensor(0, Role::Up).clone()
}

fn half(block: &[u8], at: usize) -> f64 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f64()
}

fn signed(byte: u8) -> f64 {
    f64::from(i8::from_le_bytes([byte]))
}

/// The half-byte of number `i` where the lower halves come first.
fn half_byte(quants: &[u8], i: usize) -> u8 {
    if i < quants.len() { quants[i] & 15 } else { quants[i - quants.len()] >> 4 }
}

fn fifth_bit(bits: &[u8], i: usize) -> u8 {
    let all = u32::from_le_bytes(bits.try_into().unwrap());
    u8::try_from((all >> i) & 1).unwrap() * 16
}

/// `get_scale_min_k4` of ggml-quants.c.
fn scale_and_minimum(q: &[u8], j: usize) -> (f64, f64) {
    let pair = if j < 4 {
        (q[j] & 63, q[j + 4] & 63)
    } else {
        ((q[j + 4] & 0xf) | ((q[j - 4] >> 6) << 4), (q[j + 4] >> 4) | ((q[j] >> 6) << 4))
    };
    (pair.0.into(), pair.1.into())
}

/// Number `i` of a block, by `dequantize_row_*`.
fn expected(storage: Storage, block: &[u8], i: usize) -> f64 {
    let halves_of_64 = |quants: &[u8]| f64::from(half_byte(&quants[i / 64 * 32..][..32], i % 64));
    match storage {
        Storage::I8 | Storage::I16 | Storage::I8Groups | Storage::I4Groups => unreachable!("no file has blocks of it"),
        Storage::F32 => f32::from_le_bytes(block[4 * i..][..4].try_into().unwrap()).into(),
        Storage::F16 => half(block, 2 * i),
        Storage::BF16 => f32::from_bits(u32::from_le_bytes([0, 0, block[2 * i], block[2 * i + 1]])).into(),
        Storage::Q8_0 => half(block, 0) * signed(block[2 + i]),
        Storage::Q4_0 => half(block, 0) * (f64::from(half_byte(&block[2..], i)) - 8.0),
        Storage::Q4_1 => half(block, 0) * f64::from(half_byte(&block[4..], i)) + half(block, 2),
        Storage::Q5_0 => {
            let quant = half_byte(&block[6..], i) | fifth_bit(&block[2..6], i);
            half(block, 0) * (f64::from(quant) - 16.0)
        }
        Storage::Q5_1 => {
            let quant = half_byte(&block[8..], i) | fifth_bit(&block[4..8], i);
            half(block, 0) * f64::from(quant) + half(block, 2)
        }
        Storage::Q4K => {
            let (scale, minimum) = scale_and_minimum(&block[4..16], i / 32);
            half(block, 0) * scale * halves_of_64(&block[16..]) - half(block, 2) * minimum
        }
        Storage::Q5K => {
            let (scale, minimum) = scale_and_minimum(&block[4..16], i / 32);
            let fifth = f64::from((block[16 + i % 32] >> (i / 32)) & 1) * 16.0;
            half(block, 0) * scale * (halves_of_64(&block[48..]) + fifth) - half(block, 2) * minimum
        }
        Storage::Q6K => {
            // In each half of 128: l is the place in a row of 32, and the rows take turns in the bytes.
            let (n, row, l) = (i / 128, i % 128 / 32, i % 32);
            let (low, high) = (&block[64 * n..], &block[128 + 32 * n..]);
            let lower = match row {
                0 => low[l] & 15,
                1 => low[l + 32] & 15,
                2 => low[l] >> 4,
                _ => low[l + 32] >> 4,
            };
            let quant = f64::from(lower | (((high[l] >> (2 * row)) & 3) << 4)) - 32.0;
            half(block, 208) * signed(block[192 + 8 * n + 2 * row + l / 16]) * quant
        }
    }
}

/// Random bytes with half-precision factors of moderate size where the type has them.
fn blocks(storage: Storage, random: &[u8]) -> Vec<u8> {
    let count = ROWS * COLUMNS / storage.block_numbers();
    let mut bytes: Vec<u8> = random.iter().copied().cycle().take(count * storage.block_bytes()).collect();
    let halves: &[usize] = match storage {
        Storage::F32 | Storage::F16 | Storage::BF16 => {
            let numbers = numbers(storage.name(), ROWS * COLUMNS);
            return plain_numbers(storage.name(), &numbers);
        }
        Storage::Q8_0 | Storage::Q4_0 | Storage::Q5_0 => &[0],
        Storage::Q4_1 | Storage::Q5_1 | Storage::Q4K | Storage::Q5K => &[0, 2],
        Storage::Q6K => &[208],
        Storage::I8 | Storage::I16 | Storage::I8Groups | Storage::I4Groups => unreachable!("no file has blocks of it"),
    };
    for block in bytes.chunks_exact_mut(storage.block_bytes()) {
        for &at in halves {
            // Any sign and mantissa, exponents from -6 to 1.
            block[at + 1] = (block[at + 1] & 0x83) | (0x24 + (block[at + 1] & 0x1c));
        }
    }
    bytes
}

fn assert_decoded(storage: Storage, bytes: Vec<u8>) {
    let source = source(storage, bytes.clone());
    assert_eq!((source.outputs(), source.inputs(), source.storage()), (ROWS, COLUMNS, storage));
    let (numbers, block_bytes) = (storage.block_numbers(), storage.block_bytes());
    let mut row = vec![0.0; COLUMNS];
    for output in 0..ROWS {
        source.read_row(output, &mut row);
        for (input, value) in row.iter().enumerate() {
            let index = output * COLUMNS + input;
            let block = &bytes[index / numbers * block_bytes..][..block_bytes];
            let expected = expected(storage, block, index % numbers);
            // One rounding of a product and one of a sum, each relative to what was added.
            let tolerance = 2e-7 * (expected.abs() + 10_000.0 * f64::from(storage != Storage::F32));
            assert!(
                (f64::from(*value) - expected).abs() <= tolerance,
                "{storage:?} [{output}, {input}]: {value} {expected}"
            );
        }
        assert_groups(&source, output, &row);
    }
}

/// The groups of a row give its numbers again.
fn assert_groups(source: &TensorSource, output: usize, row: &[f32]) {
    let Some(layout) = source.groups() else { return };
    let (groups, blocks) = (COLUMNS / layout.size, layout.super_block.map_or(0, |size| COLUMNS / size));
    let mut quants = vec![0; COLUMNS];
    let (mut scales, mut offsets) = (vec![f32::NAN; groups], vec![f32::NAN; groups]);
    let (mut scale_factors, mut offset_factors) = (vec![f32::NAN; blocks], vec![f32::NAN; blocks]);
    source.read_groups(
        output,
        GroupRow {
            quants: &mut quants,
            scales: &mut scales,
            offsets: &mut offsets,
            scale_factors: &mut scale_factors,
            offset_factors: &mut offset_factors,
        },
    );
    let lowest = if layout.has_offsets { 0 } else { -(1_i32 << (layout.bits - 1)) };
    let possible = lowest..lowest + (1 << layout.bits);
    assert!(quants.iter().all(|quant| possible.contains(&i32::from(*quant))), "{layout:?}");
    for (input, value) in row.iter().enumerate() {
        let group = input / layout.size;
        let factor = |factors: &[f32]| layout.super_block.map_or(1.0, |size| factors[input / size]);
        let scale = factor(&scale_factors) * scales[group];
        let offset = factor(&offset_factors) * offsets[group];
        assert_eq!(scale * f32::from(quants[input]) + offset, *value, "{input}");
        if layout.super_block.is_some() {
            assert_eq!(scales[group].fract(), 0.0);
            assert!(scales[group].abs() <= 128.0 && (0.0..64.0).contains(&offsets[group]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn every_type_is_decoded_by_the_formulas_of_ggml(random in prop::collection::vec(any::<u8>(), 1009)) {
        for storage in Storage::ALL {
            assert_decoded(storage, blocks(storage, &random));
        }
    }
}

#[test]
fn extreme_bytes_are_decoded() {
    for storage in Storage::ALL {
        for byte in [0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0] {
            assert_decoded(storage, blocks(storage, &[byte]));
        }
    }
}

#[test]
fn weight_that_is_no_number_is_named_or_flagged() {
    let mut values = numbers("x", ROWS * COLUMNS);
    (values[COLUMNS + 3], values[3 * COLUMNS]) = (f32::NAN, f32::INFINITY);
    let plain = source(Storage::F32, plain_numbers("F32", &values));
    let mut blocks = blocks(Storage::Q4K, &[17]);
    blocks[144 * 3..][..2].copy_from_slice(&f16::INFINITY.to_le_bytes());
    let quantised = source(Storage::Q4K, blocks);
    let check = |source: &TensorSource, policy| {
        let mut check = WeightCheck::new(policy);
        let mut row = vec![0.0; COLUMNS];
        for output in 0..ROWS {
            source.read_row(output, &mut row);
            check.row(source, output, &row);
        }
        check.finish()
    };
    let error = check(&plain, NonFinitePolicy::Refuse).unwrap_err().to_string();
    assert!(error.contains("row 1 of tensor `blk.0.ffn_up.weight` has the weight NaN, which is not finite"), "{error}");
    let flagged = check(&plain, NonFinitePolicy::Flag).unwrap();
    assert_eq!((flagged.len(), flagged[0].row, flagged[0].rows, flagged[0].value.is_nan()), (1, 1, 2, true));
    let error = check(&quantised, NonFinitePolicy::Refuse).unwrap_err().to_string();
    assert!(error.starts_with("m.gguf is malformed: row 1 of tensor"), "{error}");
    let huge = source(Storage::F32, plain_numbers("F32", &vec![f32::MAX; ROWS * COLUMNS]));
    assert_eq!(check(&huge, NonFinitePolicy::Refuse).unwrap(), []);
}
