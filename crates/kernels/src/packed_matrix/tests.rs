use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::weight_format::{GroupScales, SUPER_BLOCK};
use crate::{Pool, PoolOptions};

fn weight(output: usize, input: usize) -> f32 {
    ((output * 613 + input * 7919) % 1009) as f32 * 0.002 - 1.0
}

fn pack(format: WeightFormat, outputs: usize, inputs: usize) -> PackedMatrix {
    PackedMatrix::pack_f32(format, outputs, inputs, &mut |output, row| {
        row.iter_mut().enumerate().for_each(|(input, to)| *to = weight(output, input));
    })
}

/// Returns how far a weight of magnitude 1.1 may be off.
fn allowed(format: WeightFormat) -> f32 {
    match format {
        WeightFormat::F32 => 0.0,
        WeightFormat::F16 => 0.0005,
        WeightFormat::Bf16 => 0.004,
        WeightFormat::Int16 => 0.6 / 32767.0,
        WeightFormat::Int8 => 0.52 / 127.0,
        // A factored scale is itself off by half of one part in 127.
        WeightFormat::Int8Groups(scales) if scales.has_factor() => 0.012,
        WeightFormat::Int8Groups(_) => 0.005,
        WeightFormat::Int4Groups(scales) if scales.has_factor() => 0.15,
        WeightFormat::Int4Groups(_) => 0.14,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn rows_read_back_within_the_rounding_of_the_format(outputs in 1_usize..70, inputs in 1_usize..700) {
        for format in WeightFormat::ALL {
            let matrix = pack(format, outputs, inputs);
            prop_assert_eq!(matrix.bytes().len(), PackedMatrix::packed_len(format, outputs, inputs));
            let mut row = vec![0.0; inputs];
            for output in 0..outputs {
                matrix.read_row(output, &mut row);
                for (input, found) in row.iter().enumerate() {
                    let expected = weight(output, input);
                    prop_assert!((found - expected).abs() <= allowed(format), "{:?} {} {}", format, found, expected);
                }
            }
        }
    }
}

#[test]
fn threads_pack_the_bytes_that_one_thread_packs() {
    let pool = Pool::new(&PoolOptions { threads: 3, ..PoolOptions::default() }).unwrap();
    for (outputs, inputs) in [(1, 1), (0, 5), (31, 300), (129, 257), (700, 64)] {
        for format in WeightFormat::ALL {
            let fill = |output: usize, row: &mut [f32]| {
                row.iter_mut().enumerate().for_each(|(input, to)| *to = weight(output, input));
            };
            let packed = pool.step(|step| PackedMatrix::pack_f32_with(step, format, outputs, inputs, &fill));
            let expected = pack(format, outputs, inputs);
            assert_eq!(packed.bytes(), expected.bytes(), "{format:?} {outputs} x {inputs}");
        }
    }
}

#[test]
fn integers_and_scales_of_a_file_are_kept_exactly() {
    let (outputs, inputs) = (37, 2 * SUPER_BLOCK + 64);
    let scale_at = |kind: GroupScales, output: usize, index: usize| {
        if kind.has_factor() { ((output + index * 5) % 100) as f32 - 30.0 } else { (index % 9) as f32 * 0.125 - 0.5 }
    };
    for kind in GroupScales::ALL {
        for format in [WeightFormat::Int8Groups(kind), WeightFormat::Int4Groups(kind)] {
            let lowest: i32 = match format {
                WeightFormat::Int4Groups(kind) if kind.has_offset() => 0,
                WeightFormat::Int4Groups(_) => -8,
                _ => -128,
            };
            let steps = if matches!(format, WeightFormat::Int4Groups(_)) { 16 } else { 256 };
            let quant = |output: usize, input: usize| lowest + ((output * 3 + input * 5) % steps) as i32;
            let matrix = PackedMatrix::pack_groups(format, outputs, inputs, &mut |output, row| {
                assert_eq!(row.scales.len(), inputs.div_ceil(kind.inputs_per_scale()));
                row.quants.iter_mut().enumerate().for_each(|(input, to)| *to = quant(output, input) as i8);
                row.scales.iter_mut().enumerate().for_each(|(index, to)| *to = scale_at(kind, output, index));
                row.offsets.iter_mut().enumerate().for_each(|(index, to)| *to = scale_at(kind, output, index + 3));
                row.scale_factors.iter_mut().enumerate().for_each(|(index, to)| *to = index as f32 + 0.5);
                row.offset_factors.iter_mut().enumerate().for_each(|(index, to)| *to = -0.25 - index as f32);
            });
            let mut row = vec![0.0; inputs];
            for output in 0..outputs {
                matrix.read_row(output, &mut row);
                for (input, found) in row.iter().enumerate() {
                    let (index, block) = (input / kind.inputs_per_scale(), (input / SUPER_BLOCK) as f32);
                    let factor = |factor: f32| if kind.has_factor() { factor } else { 1.0 };
                    let mut expected =
                        factor(block + 0.5) * scale_at(kind, output, index) * quant(output, input) as f32;
                    if kind.has_offset() {
                        expected += factor(-0.25 - block) * scale_at(kind, output, index + 3);
                    }
                    assert_eq!(*found, expected, "{format:?} {output} {input}");
                }
            }
        }
    }
}

/// Bytes on a cache line.
struct Line(AlignedBytes);

impl AsRef<[u8]> for Line {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

fn shared(bytes: &[u8]) -> SharedBytes {
    let mut line = AlignedBytes::zeroed(bytes.len() + 64);
    line.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
    SharedBytes::new(Arc::new(Line(line)))
}

#[test]
fn bytes_of_a_matrix_are_the_matrix() {
    for format in WeightFormat::ALL {
        let matrix = pack(format, 50, 300);
        let length = matrix.bytes().len();
        let bytes = shared(matrix.bytes()).part(0..length).unwrap();
        let again = PackedMatrix::from_bytes(format, 50, 300, bytes).unwrap();
        let (mut expected, mut found) = (vec![0.0; 300], vec![0.0; 300]);
        for output in 0..50 {
            matrix.read_row(output, &mut expected);
            again.read_row(output, &mut found);
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn bytes_that_do_not_fit_are_refused() {
    let length = PackedMatrix::packed_len(WeightFormat::Int8, 32, 64);
    let bytes = shared(&vec![0; length]);
    let refused = |range| PackedMatrix::from_bytes(WeightFormat::Int8, 32, 64, bytes.part(range).unwrap()).unwrap_err();
    assert!(
        matches!(refused(0..length - 1), PackError::Length { expected, found, .. } if expected == length && found == length - 1)
    );
    assert_eq!(refused(4..length + 4), PackError::Alignment { alignment: 64, remainder: 4 });
    let endless = PackedMatrix::from_bytes(WeightFormat::F32, usize::MAX, usize::MAX, bytes).unwrap_err();
    assert!(endless.to_string().contains(&usize::MAX.to_string()), "{endless}");
}

#[test]
fn matrix_without_outputs_or_inputs_has_no_weights() {
    for format in WeightFormat::ALL {
        assert_eq!(pack(format, 0, 100).bytes().len(), 0);
        pack(format, 5, 0).read_row(4, &mut []);
    }
}

#[test]
fn integers_with_a_scale_per_output_are_packed_as_they_are() {
    let pool = Pool::new(&PoolOptions { threads: 3, ..PoolOptions::default() }).unwrap();
    for (format, most) in [(WeightFormat::Int8, 127_i16), (WeightFormat::Int16, 32_767)] {
        for (outputs, inputs) in [(1, 1), (31, 5), (70, 130)] {
            let integer = |output: usize, input: usize| ((output * 613 + input * 7919) % 255) as i16 - 127;
            let scale = |output: usize| 0.001 * (output + 1) as f32;
            let fill = |output: usize, row: &mut [i16]| {
                row.iter_mut().enumerate().for_each(|(input, to)| *to = integer(output, input));
                row[0] = most;
                scale(output)
            };
            let matrix = PackedMatrix::pack_integers(format, outputs, inputs, &mut |output, row| fill(output, row));
            let mut row = vec![0.0; inputs];
            for output in 0..outputs {
                matrix.read_row(output, &mut row);
                assert_eq!(row[0], f32::from(most) * scale(output));
                for (input, found) in row.iter().enumerate().skip(1) {
                    assert_eq!(*found, f32::from(integer(output, input)) * scale(output));
                }
            }
            let by_threads = pool.step(|step| PackedMatrix::pack_integers_with(step, format, outputs, inputs, &fill));
            assert_eq!(by_threads.bytes(), matrix.bytes());
        }
    }
}

#[test]
#[should_panic(expected = "has no integers with a scale per output")]
fn integers_of_a_format_that_has_groups_are_refused() {
    PackedMatrix::pack_integers(WeightFormat::Int8Groups(GroupScales::Scale), 1, 32, &mut |_, _| 1.0);
}
