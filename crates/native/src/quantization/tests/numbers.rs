//! Integers and scales: rounded to nearest, stored, read back and multiplied as they stand in the file.

use half::f16;
use seedhouse_kernels::{ActivationForm, Activations, Epilogue, Pool, multiply};

use super::super::layout::{Layout, MOST_SCALE, Quantized};
use super::super::rounding::{self, Losses};
use super::*;
use crate::torch::checkpoint::DataType;

const INTEGERS: [QuantizationType; 4] =
    [QuantizationType::Int8, QuantizationType::Int8Groups, QuantizationType::Int4, QuantizationType::Int16];

/// Quantises a matrix as a file holds it.
fn stored(layout: &Layout, weights: &[f32]) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = vec![0; layout.stored_bytes()];
    let (mut row, mut scales, mut of_row) = (vec![0; layout.inputs()], Vec::new(), vec![0.0; layout.groups()]);
    for (output, weights) in weights.chunks_exact(layout.inputs()).enumerate() {
        rounding::integers(layout, weights, &mut row, &mut of_row).unwrap();
        layout.put_integers(&mut bytes, output, &row);
        for scale in &of_row {
            match layout.has_groups() {
                true => scales.extend(f16::from_f32(*scale).to_le_bytes()),
                false => scales.extend(scale.to_le_bytes()),
            }
        }
    }
    (bytes, scales)
}

#[test]
fn integers_read_back_whatever_the_shape_and_the_dimension_of_the_outputs() {
    for kind in INTEGERS {
        let shapes: &[&[usize]] = match kind {
            QuantizationType::Int8Groups | QuantizationType::Int4 => &[&[5, 33], &[1, 1], &[32, 64], &[7, 3]],
            _ => &[&[5, 33], &[3, 2, 3, 3], &[4, 5, 6], &[1, 1]],
        };
        for (shape, axis) in shapes.iter().flat_map(|shape| [(shape, 0), (shape, 1)]) {
            let layout = Layout::new(kind, shape.to_vec(), axis).unwrap();
            let mut bytes = vec![0; layout.stored_bytes()];
            let number = |output: usize, input: usize| ((output * 31 + input * 7) % 15) as i16 - 8;
            for output in 0..layout.outputs() {
                let row: Vec<i16> = (0..layout.inputs()).map(|input| number(output, input)).collect();
                layout.put_integers(&mut bytes, output, &row);
            }
            let mut row = vec![0; layout.inputs()];
            for output in 0..layout.outputs() {
                layout.read_integers(&bytes, output, &mut row);
                let expected: Vec<i16> = (0..layout.inputs()).map(|input| number(output, input)).collect();
                assert_eq!(row, expected, "{kind} {shape:?} {axis}");
            }
            assert_eq!(
                bytes.len(),
                layout.stored_shape().iter().product::<usize>() * if kind == QuantizationType::Int16 { 2 } else { 1 }
            );
        }
    }
}

#[test]
fn layouts_that_are_none_are_refused() {
    let cases: [(QuantizationType, &[usize], usize); 9] = [
        (QuantizationType::Int8, &[4], 0),
        (QuantizationType::Int8, &[4, 0], 0),
        (QuantizationType::Int8, &[4, 4], 2),
        (QuantizationType::Int8, &[1, 2, 3, 4, 5], 0),
        (QuantizationType::Int4, &[4, 4, 3, 3], 0),
        (QuantizationType::Int8Groups, &[4, 4, 3, 3], 0),
        (QuantizationType::Int16, &[usize::MAX, 2], 0),
        (QuantizationType::Int16, &[usize::MAX / 4, 2], 0),
        (QuantizationType::Float16, &[4, 4], 0),
    ];
    for (kind, shape, axis) in cases {
        assert!(Layout::new(kind, shape.to_vec(), axis).is_err(), "{kind} {shape:?} {axis}");
    }
}

#[test]
fn greatest_magnitude_maps_to_the_greatest_integer_and_zeros_stay_zeros() {
    let mut weights = wave(64);
    weights[5] = -3.0;
    weights[32..].fill(0.0);
    for (kind, greatest) in [
        (QuantizationType::Int8, -127),
        (QuantizationType::Int16, -32767),
        (QuantizationType::Int8Groups, -127),
        (QuantizationType::Int4, -8),
    ] {
        let layout = Layout::new(kind, vec![1, 64], 0).unwrap();
        let (mut row, mut scales) = (vec![9; 64], vec![0.0; layout.groups()]);
        rounding::integers(&layout, &weights, &mut row, &mut scales).unwrap();
        assert_eq!(row[5], greatest, "{kind}");
        assert!(row[32..].iter().all(|integer| *integer == 0), "{kind}");
        assert!(scales.iter().all(|scale| *scale != 0.0 && scale.is_finite()), "{kind} {scales:?}");
        let per = weights.len() / scales.len();
        for ((integer, weight), place) in row.iter().zip(&weights).zip(0..) {
            let scale: f32 = scales[place / per];
            let off = (f32::from(*integer) * scale - weight).abs();
            // Half a step; with 4 bits the positive end lacks a step.
            let most = if kind == QuantizationType::Int4 { 1.01 } else { 0.51 };
            assert!(off <= scale.abs() * most, "{kind} {place}: {off}");
        }
    }
    let layout = Layout::new(QuantizationType::Int8, vec![1, 4], 0).unwrap();
    let (mut row, mut scales) = (vec![9; 4], vec![0.0]);
    rounding::integers(&layout, &[0.0, 1e-45, -1e-45, 0.0], &mut row, &mut scales).unwrap();
    assert_eq!((row, scales), (vec![0; 4], vec![1.0]));
}

#[test]
fn group_that_no_half_precision_scale_reaches_is_refused() {
    for kind in [QuantizationType::Int8Groups, QuantizationType::Int4] {
        let layout = Layout::new(kind, vec![1, 2], 0).unwrap();
        let most = rounding::integers(&layout, &[1e30, 1.0], &mut [0; 2], &mut [0.0]);
        assert_eq!(most, Err(1e30), "{kind}");
    }
}

#[test]
fn scale_that_the_reader_refuses_is_not_written() {
    for (kind, integer) in [(QuantizationType::Int8, 127.0), (QuantizationType::Int16, 32_767.0)] {
        let layout = Layout::new(kind, vec![1, 2], 0).unwrap();
        let mut scales = [0.0];
        let (within, beyond) = (MOST_SCALE * 0.99 * integer, (MOST_SCALE * 1.01 * integer).min(f32::MAX));
        for (weight, expected) in [(within, Ok(())), (beyond, Err(beyond))] {
            let outcome = rounding::integers(&layout, &[weight, 1.0], &mut [0; 2], &mut scales);
            assert_eq!(outcome, expected, "{kind}");
            assert_eq!(layout.is_scale(scales[0]), outcome.is_ok(), "{kind} {}", scales[0]);
        }
    }
}

#[test]
fn half_precision_refuses_what_it_does_not_hold_and_counts_what_it_loses() {
    let mut bytes = Vec::new();
    assert_eq!(rounding::halves(DataType::F16, &[1.0, 65520.0], &mut bytes), Err(1));
    assert_eq!(rounding::halves(DataType::Bf16, &[f32::MAX], &mut bytes), Err(0));
    bytes.clear();
    let losses = rounding::halves(DataType::F16, &[1.0, 65504.0, 1e-9, -1e-6, 0.0], &mut bytes);
    assert_eq!(losses, Ok(Losses { zeros: 1, subnormals: 1 }));
    assert_eq!(bytes.len(), 10);
    assert_eq!(rounding::halves(DataType::Bf16, &[1e-30], &mut Vec::new()), Ok(Losses::default()));
}

#[test]
fn product_of_a_packed_matrix_is_that_of_the_integers_and_scales_in_the_file() {
    let pool = Pool::new(&PoolOptions { threads: 2, ..PoolOptions::default() }).unwrap();
    for kind in INTEGERS {
        for (outputs, inputs) in [(5, 7), (64, 96), (33, 130)] {
            let layout = Layout::new(kind, vec![outputs, inputs], 0).unwrap();
            let weights = wave(outputs * inputs);
            let (integers, scales) = stored(&layout, &weights);
            let quantized = Quantized { layout: layout.clone(), integers: &integers, scales: &scales };
            let matrix = Quantized::pack(&[&quantized, &quantized]);
            // What is packed are the integers and the scales, to the bit.
            let (mut found, mut expected) = (vec![0.0; inputs], vec![0.0; inputs]);
            for output in 0..2 * outputs {
                matrix.read_row(output, &mut found);
                layout.read_weights((&integers, &scales), output % outputs, &mut expected);
                assert_eq!(found, expected, "{kind} {outputs} x {inputs}, output {output}");
            }
            let input = wave(inputs);
            let mut product = vec![0.0; 2 * outputs];
            pool.step(|step| {
                let mut activations = Activations::default();
                activations.fill(step, ActivationForm::F32, 1, inputs, &|_, row| row.copy_from_slice(&input));
                multiply(step, &matrix, &activations, &mut product, Epilogue { bias: None, add: false });
            });
            for (output, found) in product.iter().enumerate() {
                layout.read_weights((&integers, &scales), output % outputs, &mut expected);
                let exact: f64 = expected.iter().zip(&input).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                assert!((f64::from(*found) - exact).abs() < 1e-4, "{kind}: {found} instead of {exact}");
            }
        }
    }
}

#[test]
fn weights_of_another_dimension_of_outputs_are_those_of_the_shape() {
    let layout = Layout::new(QuantizationType::Int8, vec![2, 3, 2, 2], 1).unwrap();
    let by_output: Vec<f32> = (0..24).map(|number| number as f32).collect();
    let (integers, scales) = stored(&layout, &by_output);
    let found = Quantized { layout, integers: &integers, scales: &scales }.to_f32();
    for (input, output, place) in (0..2).flat_map(|i| (0..3).flat_map(move |o| (0..4).map(move |p| (i, o, p)))) {
        let expected = by_output[(output * 2 + input) * 4 + place];
        assert!((found[(input * 3 + output) * 4 + place] - expected).abs() < 0.1);
    }
}
