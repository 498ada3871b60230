//! Each operation's gradients against differences, and some values by hand.

use super::*;
use crate::gradient_check::{TRAINING, check, end, learned_rows, pass, put_rows, settings};
use crate::numbers::{Activation, Then};
use crate::parameters::Start;

/// Checks what `of` makes of learned rows.
fn check_rows(what: &str, (rows, columns): (usize, usize), of: &dyn Fn(&mut Tape<'_>, Var) -> Var) {
    let mut parameters = Parameters::new(4);
    let id = learned_rows(&mut parameters, rows, columns);
    check(what, &mut parameters, &|tape| {
        let input = put_rows(tape, id);
        let output = of(tape, input);
        end(tape, output)
    });
}

#[test]
fn operations_without_weights_hand_gradients_back() {
    for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
        check_rows("activation", (5, 7), &|tape, input| tape.activate(input, activation));
    }
    check_rows("gate", (3, 10), &|tape, input| tape.gate(input));
    check_rows("a value that is used twice", (3, 4), &|tape, input| {
        let other = tape.activate(input, Activation::Silu);
        tape.add(other, input)
    });
    check_rows("dropout", (40, 50), &|tape, input| {
        let other = tape.activate(input, Activation::Silu);
        tape.dropout(other, 0.3);
        other
    });
    check_rows("first rows", (6, 4), &|tape, input| tape.first_rows(input, 2));
    let geometry = Geometry { images: 2, height: 4, width: 5 };
    check_rows("pixels doubled", (40, 3), &|tape, input| tape.double_pixels(input, geometry).0);
    check_rows("mean of pixels", (40, 3), &|tape, input| tape.average_pool(input, geometry));
    check_rows("join", (6, 4), &|tape, input| {
        let other = tape.activate(input, Activation::Silu);
        tape.join(input, other)
    });
    check_rows("a part of each image", (6, 4), &|tape, input| {
        let of_images = tape.first_rows(input, 2);
        tape.add_to_pixels(input, of_images)
    });
}

#[test]
fn attention_hands_gradients_back() {
    for (length, is_causal) in [(5, true), (5, false), (70, true), (70, false)] {
        for (heads, key_value_heads) in [(2, 2), (4, 2)] {
            let attention = Attention { length, heads, key_value_heads, head_width: 4, is_causal };
            check_rows("attention", (2 * length, attention.inputs()), &|tape, input| {
                let rotated = tape.activate(input, Activation::Silu);
                tape.rotate(rotated, &std::sync::Arc::new(Rotation::new(length, 4, 100.0)), attention);
                tape.attend(rotated, attention)
            });
        }
    }
}

#[test]
fn a_causal_row_sees_nothing_that_comes_later() {
    let attention = Attention { length: 80, heads: 1, key_value_heads: 1, head_width: 2, is_causal: true };
    let mut parameters = Parameters::new(4);
    let id = learned_rows(&mut parameters, 80, 6);
    let run = |parameters: &mut Parameters| {
        let mut arena = Arena::default();
        let mut tape = Tape::new(parameters, &mut arena, settings(Mode::Evaluation));
        let input = put_rows(&mut tape, id);
        let output = tape.attend(input, attention);
        tape.numbers(output).to_vec()
    };
    let before = run(&mut parameters);
    parameters.get_mut(id).values[6 * 70..].fill(3.0);
    let after = run(&mut parameters);
    assert_eq!(before[..140], after[..140]);
    assert_ne!(before[140..], after[140..]);
    // The first row sees only itself.
    assert_eq!(before[..2], parameters.get(id).values[4..6]);
}

#[test]
fn operations_with_weights_hand_gradients_back() {
    let mut parameters = Parameters::new(4);
    let rows = learned_rows(&mut parameters, 8, 6);
    let weight = parameters.matrix("weight", 5, 6, Start::Normal(0.5));
    let second = parameters.transposed_matrix("second", 6, 5, Start::Normal(0.5));
    let [gain, bias] = [parameters.row("gain", 5, 1.2), parameters.row("bias", 5, 0.1)];
    let rms = parameters.row("rms", 6, 0.8);
    check("linear, norms", &mut parameters, &|tape| {
        let input = put_rows(tape, rows);
        let normed = tape.rms_norm(input, rms, 1e-5);
        let inner = tape.linear(normed, weight, Some(bias));
        let inner = tape.layer_norm(inner, gain, bias, 1e-5);
        let output = tape.add_linear(input, inner, second, None);
        end(tape, output)
    });
}

#[test]
fn embeddings_and_class_tokens_hand_gradients_back() {
    let mut parameters = Parameters::new(4);
    let table = parameters.matrix("table", 5, 4, Start::Normal(1.0));
    let positions = parameters.table("positions", &[3, 4], Start::Normal(1.0));
    let places = parameters.table("places", &[1, 4, 4], Start::Normal(1.0));
    let token = parameters.table("token", &[1, 1, 4], Start::Normal(1.0));
    check("embedding", &mut parameters, &|tape| {
        let input = tape.embed(std::sync::Arc::from([0, 4, 4, 1, 2, 3]), table, Some(positions), 3);
        let with_token = tape.with_class_token(input, token, places, 2);
        end(tape, with_token)
    });
}

#[test]
fn convolutions_hand_gradients_back() {
    for (side, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 1, 0), (2, 2, 0), (5, 1, 2)] {
        let mut parameters = Parameters::new(4);
        let geometry = Geometry { images: 3, height: 5, width: 6 };
        let rows = learned_rows(&mut parameters, 90, 2);
        let weight = parameters.convolution("weight", [3, 2, side], Start::Normal(0.5));
        let bias = parameters.row("bias", 3, 0.1);
        check("convolution", &mut parameters, &|tape| {
            let input = put_rows(tape, rows);
            let window = Convolution { side, stride, padding };
            let (output, _) = tape.convolve(input, geometry, window, weight, Some(bias));
            end(tape, output)
        });
    }
}

#[test]
fn a_convolution_is_that_of_loops() {
    let (side, stride, padding) = (3, 2, 1);
    let mut parameters = Parameters::new(4);
    let geometry = Geometry { images: 2, height: 5, width: 7 };
    let rows = learned_rows(&mut parameters, 70, 2);
    let weight = parameters.convolution("weight", [3, 2, side], Start::Normal(0.5));
    let mut arena = Arena::default();
    let mut tape = Tape::new(&mut parameters, &mut arena, settings(Mode::Evaluation));
    let input = put_rows(&mut tape, rows);
    let (output, to) = tape.convolve(input, geometry, Convolution { side, stride, padding }, weight, None);
    assert_eq!((to.height, to.width), (3, 4));
    let found = tape.numbers(output).to_vec();
    let pixels = tape.numbers(input).to_vec();
    drop(tape);
    // Weights as a file has them: output, input, row, column.
    let values = parameters.list.iter().map(|parameter| &parameter.values[..]);
    let kernel = parameters.tensors(values).remove(1).1;
    for (place, found) in found.iter().enumerate() {
        let (image, y, x, channel) = (place / 36, place / 12 % 3, place / 3 % 4, place % 3);
        let mut sum = 0.0;
        for (row, column, input) in (0..18).map(|place| (place / 6, place / 2 % 3, place % 2)) {
            let (from_y, from_x) = (y * stride + row, x * stride + column);
            if (padding..5 + padding).contains(&from_y) && (padding..7 + padding).contains(&from_x) {
                let pixel = (image * 5 + from_y - padding) * 7 + from_x - padding;
                sum += pixels[pixel * 2 + input] * kernel[(channel * 2 + input) * 9 + row * 3 + column];
            }
        }
        assert!((sum - found).abs() < 1e-5, "{place}: {found} is not {sum}");
    }
}

#[test]
fn norms_of_channels_and_pooling_hand_gradients_back() {
    for then in [Then::Nothing, Then::Silu] {
        let mut parameters = Parameters::new(4);
        let rows = learned_rows(&mut parameters, 24, 4);
        let norm = [parameters.row("gain", 4, 1.3), parameters.row("bias", 4, 0.2)];
        check("group norm", &mut parameters, &|tape| {
            let input = put_rows(tape, rows);
            let geometry = Geometry { images: 2, height: 3, width: 4 };
            let output = tape.group_norm(input, geometry, norm, (2, 1e-5), then);
            end(tape, output)
        });
    }
    let mut parameters = Parameters::new(4);
    let rows = learned_rows(&mut parameters, 40, 3);
    let weight = parameters.matrix("weight", 2, 3, Start::Normal(1.0));
    let norm = batch_norm(&mut parameters, 3);
    parameters.get_mut(norm.gain).values.fill(1.3);
    // Far from the corner of ReLU, so that differences do not cross it.
    parameters.get_mut(norm.bias).values.fill(6.0);
    check("batch norm", &mut parameters, &|tape| {
        let input = put_rows(tape, rows);
        let output = tape.batch_norm_relu(input, norm);
        let output = tape.linear(output, weight, None);
        end(tape, output)
    });
    let mut parameters = Parameters::new(4);
    let rows = learned_rows(&mut parameters, 40, 3);
    // Numbers that are far apart, so that differences do not change which is the greatest.
    let values = &mut parameters.get_mut(rows).values;
    values.iter_mut().enumerate().for_each(|(place, value)| *value = ((place * 37) % 120) as f32 * 0.1);
    check("greatest of four", &mut parameters, &|tape| {
        let input = put_rows(tape, rows);
        let (output, _) = tape.max_pool(input, Geometry { images: 2, height: 4, width: 5 });
        end(tape, output)
    });
}

#[test]
fn relu_stops_gradients_below_zero() {
    let mut parameters = Parameters::new(4);
    let rows = learned_rows(&mut parameters, 1, 4);
    parameters.get_mut(rows).values.copy_from_slice(&[-1.0, 2.0, -3.0, 4.0]);
    pass(&mut parameters, &|tape| {
        let input = put_rows(tape, rows);
        let output = tape.activate(input, Activation::Relu);
        tape.squared_error(output, &[1.0; 4])
    });
    assert_eq!(parameters.get(rows).gradient, [0.0, 0.5, 0.0, 1.5]);
}

#[test]
fn passes_beyond_the_255th_left_out_the_same_numbers() {
    let masks: Vec<Vec<f32>> = [0, 1, 256, 1 << 40]
        .map(|part| {
            let mut parameters = Parameters::new(4);
            let mut arena = Arena::default();
            let mode = Mode::Training { seed: 1, step: 2, part };
            let mut tape = Tape::new(&mut parameters, &mut arena, settings(mode));
            let value = tape.input(vec![1.0; 3000], 1);
            tape.dropout(value, 0.5);
            tape.numbers(value).to_vec()
        })
        .to_vec();
    for (place, mask) in masks.iter().enumerate() {
        assert!(masks[..place].iter().all(|other| other != mask), "{place}");
    }
}

#[test]
fn masks_of_relu_were_never_closed() {
    let mut parameters = Parameters::new(4);
    let rows = learned_rows(&mut parameters, 6, 4);
    // Half of the numbers are below zero, and all of them farther from it than differences go.
    let values = &mut parameters.get_mut(rows).values;
    values.iter_mut().enumerate().for_each(|(place, value)| *value = ((place * 5) % 8) as f32 - 3.5);
    check("relu", &mut parameters, &|tape| {
        let input = put_rows(tape, rows);
        let output = tape.activate(input, Activation::Relu);
        end(tape, output)
    });
    let mut parameters = Parameters::new(4);
    let rows = learned_rows(&mut parameters, 40, 3);
    // Near 1 and -1 in turn, so that what is normed is as well.
    let values = &mut parameters.get_mut(rows).values;
    values.iter_mut().enumerate().for_each(|(place, value)| {
        *value = *value * 0.1 + if place / 3 % 2 == 0 { 1.0 } else { -1.0 };
    });
    let norm = batch_norm(&mut parameters, 3);
    parameters.get_mut(norm.gain).values.fill(1.3);
    parameters.get_mut(norm.bias).values.fill(0.2);
    check("batch norm", &mut parameters, &|tape| {
        let input = put_rows(tape, rows);
        let output = tape.batch_norm_relu(input, norm);
        let closed = tape.numbers(output).iter().filter(|number| **number == 0.0).count();
        assert_eq!(closed, 60);
        end(tape, output)
    });
}

fn batch_norm(parameters: &mut Parameters, channels: usize) -> BatchNorm {
    BatchNorm {
        gain: parameters.row("gain", channels, 1.0),
        bias: parameters.row("bias", channels, 0.0),
        running_mean: parameters.statistic("mean", channels, 0.0),
        running_variance: parameters.statistic("variance", channels, 1.0),
        epsilon: 1e-5,
    }
}

#[test]
fn what_is_measured_is_normed_by_running_statistics() {
    let mut parameters = Parameters::new(4);
    let rows = learned_rows(&mut parameters, 3, 1);
    parameters.get_mut(rows).values.copy_from_slice(&[1.0, 5.0, -7.0]);
    let norm = batch_norm(&mut parameters, 1);
    parameters.get_mut(norm.gain).values[0] = 3.0;
    parameters.get_mut(norm.bias).values[0] = 0.5;
    parameters.get_mut(norm.running_mean).values[0] = 1.0;
    parameters.get_mut(norm.running_variance).values[0] = 4.0 - norm.epsilon;
    let mut arena = Arena::default();
    let mut tape = Tape::new(&mut parameters, &mut arena, settings(Mode::Evaluation));
    let input = put_rows(&mut tape, rows);
    let output = tape.batch_norm_relu(input, norm);
    // (x - 1) / 2 * 3 + 0.5, and not below 0.
    assert!(tape.numbers(output).iter().zip([0.5, 6.5, 0.0]).all(|(found, expected)| (found - expected).abs() < 1e-5));
    drop(tape);
    assert_eq!(parameters.get(norm.running_mean).values, [1.0], "measuring counts nothing");
}

#[test]
fn classes_cost_what_they_should() {
    for smoothing in [0.0, 0.2] {
        let mut parameters = Parameters::new(4);
        let rows = learned_rows(&mut parameters, 7, 4);
        let weight = parameters.matrix("weight", 5, 4, Start::Normal(1.0));
        let bias = parameters.row("bias", 5, 0.1);
        let classifier = Classifier { weight, bias: Some(bias) };
        let labels = [0, 1, 2, 3, 4, 0, 2];
        check("cross-entropy", &mut parameters, &|tape| {
            let input = put_rows(tape, rows);
            tape.classify(input, classifier, &labels, smoothing)
        });
        let mut arena = Arena::default();
        let mut tape = Tape::new(&mut parameters, &mut arena, settings(Mode::Evaluation));
        let input = put_rows(&mut tape, rows);
        let logits = tape.logits(input, classifier);
        let loss = tape.classify(input, classifier, &labels, smoothing);
        let (mut expected, mut correct) = (0.0, 0);
        for (row, label) in logits.chunks_exact(5).zip(labels) {
            let sum = row.iter().map(|logit| f64::from(*logit).exp()).sum::<f64>().ln();
            for (class, logit) in row.iter().enumerate() {
                let wanted =
                    f64::from(smoothing) / 5.0 + if class == label as usize { 1.0 - f64::from(smoothing) } else { 0.0 };
                expected -= wanted * (f64::from(*logit) - sum);
            }
            correct += usize::from(row.iter().all(|logit| *logit <= row[label as usize]));
        }
        assert!((loss.sum - expected).abs() < 1e-5, "{} is not {expected}", loss.sum);
        assert_eq!((loss.count, loss.correct), (7, Some(correct)));
    }
}

#[test]
fn running_statistics_follow_the_batches() {
    let mut parameters = Parameters::new(4);
    let rows = learned_rows(&mut parameters, 4, 1);
    parameters.get_mut(rows).values.copy_from_slice(&[1.0, 2.0, 3.0, 6.0]);
    let norm = batch_norm(&mut parameters, 1);
    let mut arena = Arena::default();
    let mut tape = Tape::new(&mut parameters, &mut arena, settings(TRAINING));
    let input = put_rows(&mut tape, rows);
    tape.batch_norm_relu(input, norm);
    drop(tape);
    // The mean is 3, the variance of the sample 14 / 3.
    let found = [parameters.get(norm.running_mean).values[0], parameters.get(norm.running_variance).values[0]];
    assert!((found[0] - 0.3).abs() < 1e-6 && (found[1] - (0.9 + 0.1 * 14.0 / 3.0)).abs() < 1e-6, "{found:?}");
}

#[test]
fn rounded_operands_change_products_a_little() {
    let mut parameters = Parameters::new(4);
    let rows = learned_rows(&mut parameters, 8, 64);
    let weight = parameters.matrix("weight", 8, 64, Start::Normal(1.0));
    let mut run = |precision| {
        let mut arena = Arena::default();
        let settings = Settings { precision, ..settings(Mode::Evaluation) };
        let mut tape = Tape::new(&mut parameters, &mut arena, settings);
        let input = put_rows(&mut tape, rows);
        let output = tape.linear(input, weight, None);
        tape.numbers(output).to_vec()
    };
    let (plain, rounded) = (run(TrainPrecision::F32), run(TrainPrecision::Bf16));
    assert_ne!(plain, rounded);
    // Each operand loses at most 2^-9 of itself; sums of 64 products of size one have a deviation of 8.
    assert!(plain.iter().zip(&rounded).all(|(a, b)| (a - b).abs() < 0.2));
}
