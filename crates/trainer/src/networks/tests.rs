//! Every tensor of every family gets a gradient, and it is what differences say.

use std::sync::Arc;

use super::cnn::Cnn;
use super::decoder::{Decoder, Kind};
use super::table_network::TableNetwork;
use super::unet::Unet;
use super::vit::Vit;
use super::{cnn, decoder, unet, vit};
use crate::gradient_check::{check, check_within, end};
use crate::numbers::Activation;
use crate::parameters::{Kind as ParameterKind, Parameters};
use crate::random::{Purpose, Random};
use crate::tape::Tape;

/// Makes weights as large as they are in a trained network, and moves gains and biases away from where gradients are special.
fn stir(parameters: &mut Parameters, deviation: f32) {
    for (place, parameter) in parameters.list.iter_mut().enumerate() {
        if parameter.kind == ParameterKind::Statistic {
            continue;
        }
        let mut noise = vec![0.0; parameter.values.len()];
        Random::new(11, Purpose::Noise, [place as u64, 0]).fill_normal(&mut noise, deviation);
        parameter.values.iter_mut().zip(&noise).for_each(|(value, noise)| *value += noise);
    }
}

fn random(length: usize) -> Vec<f32> {
    let mut numbers = vec![0.0; length];
    Random::new(3, Purpose::Noise, [0, 0]).fill_normal(&mut numbers, 1.0);
    numbers
}

fn put(tape: &mut Tape<'_>, numbers: &[f32], columns: usize) -> crate::tape::Var {
    let mut buffer = tape.buffer(numbers.len());
    buffer.copy_from_slice(numbers);
    tape.input(buffer, columns)
}

#[test]
fn every_tensor_of_the_decoders_learns() {
    let kinds = [(Kind::Llama, 1, true), (Kind::Llama, 2, false), (Kind::Gpt2, 2, true), (Kind::PostNorm, 2, false)];
    for (kind, key_value_heads, is_tied) in kinds {
        for dropout in [0.0, 0.1] {
            let sizes = decoder::Sizes {
                kind,
                vocab_size: 11,
                length: 6,
                width: 8,
                heads: 2,
                key_value_heads,
                layers: 2,
                inner: 12,
                is_tied,
                rotary_base: 100.0,
                epsilon: 1e-5,
            };
            let mut parameters = Parameters::new(2);
            let network = Decoder::new(sizes, &mut parameters);
            stir(&mut parameters, 0.2);
            // A norm bends the loss the more, the shorter a row is, and dropout shortens rows of eight numbers a lot.
            parameters.list[0].values.iter_mut().for_each(|number| *number *= 3.0);
            let tokens: Arc<[u32]> = Arc::from([1, 2, 3, 4, 5, 6, 0, 7, 8, 9, 10, 2]);
            let labels = [2, 3, 4, 5, 6, 0, 7, 8, 9, 10, 2, 1];
            check(&format!("{kind:?}"), &mut parameters, &|tape| {
                let hidden = network.run(tape, Arc::clone(&tokens), 6, dropout);
                tape.classify(hidden, network.output(), &labels, 0.1)
            });
        }
    }
}

#[test]
fn every_tensor_of_the_vision_transformer_learns() {
    let sizes = vit::Sizes {
        image_size: 8,
        image_channels: 3,
        patch_size: 4,
        num_classes: 3,
        width: 8,
        heads: 2,
        layers: 2,
        inner: 12,
    };
    let mut parameters = Parameters::new(2);
    let network = Vit::new(sizes, &mut parameters);
    stir(&mut parameters, 0.2);
    let images = random(2 * 8 * 8 * 3);
    let mut patches = vec![0.0; images.len()];
    images
        .chunks_exact(192)
        .zip(patches.chunks_exact_mut(192))
        .for_each(|(image, patches)| network.cut(image, patches));
    check("vit", &mut parameters, &|tape| {
        let patches = put(tape, &patches, 48);
        let features = network.run(tape, patches, 2, 0.0);
        tape.classify(features, network.classifier(), &[2, 0], 0.0)
    });
}

#[test]
fn every_tensor_of_the_convolutional_network_learns() {
    let mut parameters = Parameters::new(2);
    let network = Cnn::new(cnn::Sizes { image_size: 8, channels: vec![2, 3, 4], num_classes: 3 }, &mut parameters);
    // Beyond the corners of ReLU, which differences would cross.
    parameters.list.iter_mut().filter(|parameter| parameter.tensors[0].name.starts_with("bn")).for_each(|parameter| {
        if parameter.tensors[0].name.ends_with("bias") {
            parameter.values.fill(3.0);
        }
    });
    let images = random(5 * 64 * 2);
    // Within a step, another of four pixels becomes the greatest here and there.
    check_within(0.03, "cnn", &mut parameters, &|tape| {
        let pixels = put(tape, &images, 2);
        let features = network.run(tape, pixels, 5, 0.0);
        tape.classify(features, network.classifier(), &[2, 0, 1, 1, 2], 0.0)
    });
}

#[test]
fn every_tensor_of_the_unet_learns() {
    let sizes = unet::Sizes {
        image_size: 4,
        image_channels: 1,
        base_channels: 4,
        time_emb_dim: 6,
        num_classes: Some(2),
        num_groups: 2,
        num_heads: Some(2),
        levels: vec![4, 8],
        blocks: 2,
        has_level_attention: true,
    };
    let mut parameters = Parameters::new(2);
    let network = Unet::new(sizes, &mut parameters);
    stir(&mut parameters, 0.1);
    let images = random(3 * 16);
    check("unet", &mut parameters, &|tape| {
        let images = put(tape, &images, 1);
        let predicted = network.run(tape, images, &[3, 40, 700], &[0, 1, 2], 0.0);
        end(tape, predicted)
    });
}

#[test]
fn every_tensor_of_the_table_network_learns() {
    let mut parameters = Parameters::new(2);
    let network = TableNetwork::new(&[5, 6, 4, 3], Activation::Silu, &mut parameters);
    stir(&mut parameters, 0.1);
    let rows = random(7 * 5);
    check("table", &mut parameters, &|tape| {
        let rows = put(tape, &rows, 5);
        let hidden = network.run(tape, rows, 0.0);
        let output = tape.linear(hidden, network.last().weight, network.last().bias);
        end(tape, output)
    });
}
