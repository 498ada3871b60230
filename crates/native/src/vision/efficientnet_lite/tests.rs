//! The whole network against its definition, and checkpoints that are not one.

use std::collections::BTreeMap;

use std::sync::Arc;

use seedhouse_core::runtime::{LoadedModel, Tensor, TensorModel};
use seedhouse_testkit::tiny_torch::{legacy_checkpoint, tiny_efficientnet_checkpoint};
use serde_json::Map as JsonMap;

use super::*;
use crate::text_models::TextModels;
use crate::torch::checkpoint::Checkpoint;

type TensorList = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tiny_tensors() -> TensorList {
    let bytes = tiny_efficientnet_checkpoint(7, 5);
    let checkpoint = Checkpoint::read("tiny.pth", &bytes).unwrap();
    let tensors = checkpoint.tensors().iter();
    tensors.map(|(name, tensor)| ((*name).to_owned(), (tensor.shape.clone(), tensor.to_f32().unwrap()))).collect()
}

fn load(tensors: &TensorList) -> Result<Arc<dyn TensorModel>> {
    let list: Vec<(&str, &[usize], &[f32])> =
        tensors.iter().map(|(name, (shape, values))| (name.as_str(), shape.as_slice(), values.as_slice())).collect();
    let bytes = legacy_checkpoint(&list);
    let tensors = Tensors::of_checkpoint(Checkpoint::read("tiny.pth", &bytes)?);
    match crate::vision::load(&tensors, &JsonMap::new(), &TextModels::default())? {
        LoadedModel::Tensor(model) => Ok(model),
        _ => panic!("an image classifier is no language model"),
    }
}

fn image(count: usize, height: usize, width: usize) -> Tensor {
    let size = count * 3 * height * width;
    Tensor::new(vec![count, 3, height, width], (0..size).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>())
}

/// The network as the paper describes it: f64, no folding, no fast path.
struct Definition<'t> {
    tensors: &'t TensorList,
}

#[derive(Clone)]
struct Map64 {
    channels: usize,
    height: usize,
    width: usize,
    data: Vec<f64>,
}

impl Definition<'_> {
    fn value(&self, name: &str, index: usize) -> f64 {
        f64::from(self.tensors[name].1[index])
    }

    fn layer(&self, input: &Map64, name: &str, norm: &str, stride: usize, relu6: bool) -> Map64 {
        let (shape, weights) = &self.tensors[&format!("{name}.weight")];
        let [outputs, group, kernel, _] = shape[..] else { panic!("{shape:?}") };
        let (height, width) = (input.height.div_ceil(stride), input.width.div_ceil(stride));
        let before = |size: usize, outputs: usize| ((outputs - 1) * stride + kernel).saturating_sub(size) / 2;
        let (top, left) = (before(input.height, height), before(input.width, width));
        let mut data = Vec::new();
        for (output, y, x) in positions(outputs, height, width) {
            let mut sum = 0.0;
            for (channel, ky, kx) in positions(group, kernel, kernel) {
                let source = if group == 1 && input.channels == outputs { output } else { channel };
                let (row, column) = ((y * stride + ky).wrapping_sub(top), (x * stride + kx).wrapping_sub(left));
                if row < input.height && column < input.width {
                    let weight = weights[((output * group + channel) * kernel + ky) * kernel + kx];
                    sum += f64::from(weight) * input.data[(source * input.height + row) * input.width + column];
                }
            }
            let part = |part: &str| self.value(&format!("{norm}.{part}"), output);
            let normal = (sum - part("running_mean")) / (part("running_var") + 1e-3).sqrt();
            let result = normal * part("weight") + part("bias");
            data.push(if relu6 { result.clamp(0.0, 6.0) } else { result });
        }
        Map64 { channels: outputs, height, width, data }
    }

    fn logits(&self, image: Map64) -> Vec<f64> {
        let strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1];
        let mut map = self.layer(&image, "_conv_stem", "_bn0", 2, true);
        for (number, stride) in strides.into_iter().enumerate() {
            let name = |part: &str| format!("_blocks.{number}.{part}");
            let input = map.clone();
            if number > 0 {
                map = self.layer(&map, &name("_expand_conv"), &name("_bn0"), 1, true);
            }
            map = self.layer(&map, &name("_depthwise_conv"), &name("_bn1"), stride, true);
            map = self.layer(&map, &name("_project_conv"), &name("_bn2"), 1, false);
            if stride == 1 && input.channels == map.channels {
                map.data.iter_mut().zip(&input.data).for_each(|(sum, value)| *sum += value);
            }
        }
        let map = self.layer(&map, "_conv_head", "_bn1", 1, true);
        let size = map.height * map.width;
        let features: Vec<f64> = map.data.chunks(size).map(|plane| plane.iter().sum::<f64>() / size as f64).collect();
        let class = |class: usize| {
            let terms = features.iter().enumerate();
            let sum: f64 = terms.map(|(i, value)| value * self.value("_fc.weight", class * features.len() + i)).sum();
            sum + self.value("_fc.bias", class)
        };
        (0..self.tensors["_fc.bias"].1.len()).map(class).collect()
    }
}

fn positions(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

#[test]
fn logits_are_those_of_the_definition() {
    let tensors = tiny_tensors();
    let network = load(&tensors).unwrap();
    for (height, width) in [(32, 32), (64, 64), (45, 70)] {
        let image = image(1, height, width);
        let found = network.run(&[("image", &image)]).unwrap();
        assert_eq!(found[0].shape, [1, 5]);
        let data = image.f32s().unwrap().iter().map(|value| f64::from(*value)).collect();
        let expected = Definition { tensors: &tensors }.logits(Map64 { channels: 3, height, width, data });
        let spread = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        assert!(spread > 0.1, "the tiny network must say something: {expected:?}");
        for (found, expected) in found[0].f32s().unwrap().iter().zip(&expected) {
            // Sums of at most 900 products in f32, through 50 layers of values below 6.
            assert!((f64::from(*found) - expected).abs() < 1e-4, "{height}x{width}: {found} instead of {expected}");
        }
    }
}

#[test]
fn batch_is_one_by_one() {
    let network = load(&tiny_tensors()).unwrap();
    let batch = image(3, 40, 33);
    let together = network.run(&[("image", &batch)]).unwrap().remove(0);
    assert_eq!(together.shape, [3, 5]);
    let alone: Vec<f32> = batch
        .f32s()
        .unwrap()
        .chunks(batch.data.len() / 3)
        .flat_map(|data| {
            let one = Tensor::new(vec![1, 3, 40, 33], data.to_vec());
            network.run(&[("image", &one)]).unwrap()[0].f32s().unwrap().to_vec()
        })
        .collect();
    assert_eq!(together.f32s().unwrap(), alone);
    assert_ne!(together.f32s().unwrap()[..5], together.f32s().unwrap()[5..10]);
}

#[test]
fn wrong_inputs_are_refused_with_both_values() {
    let network = load(&tiny_tensors()).unwrap();
    let good = image(1, 32, 32);
    let shaped = |shape: &[usize]| Tensor::new(shape.to_vec(), good.data.clone());
    let cases = [
        ("image", shaped(&[1, 4, 32, 32]), "`[1, 4, 32, 32]`, but the shape must be [?, 3, ?, ?]"),
        ("image", shaped(&[3, 32, 32]), "`[3, 32, 32]`, but"),
        ("image", image(0, 32, 32), "n at least 1"),
        ("image", image(1, 31, 32), "both sides at least 32"),
        ("image", shaped(&[1, 3, 32, 33]), "`3072 values`, but the shape [1, 3, 32, 33] does not"),
        ("image", shaped(&[1, 3, usize::MAX, 32]), "does not have as many"),
        ("picture", good.clone(), "`picture` is `given`, but the model takes `image`"),
    ];
    for (name, tensor, expected) in cases {
        let error = network.run(&[(name, &tensor)]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
    }
    for (inputs, expected) in [(&[][..], "missing"), (&[("image", &good), ("image", &good)], "given twice")] {
        assert!(network.run(inputs).unwrap_err().to_string().contains(expected));
    }
}

#[test]
fn checkpoint_that_is_not_the_network_is_refused_by_the_name_of_the_tensor() {
    type Change = fn(&mut TensorList);
    let cases: [(Change, &str); 11] = [
        (
            |t| drop(t.remove("_blocks.3._project_conv.weight")),
            "tensor `_blocks.3._project_conv.weight` of EfficientNet-Lite0 is missing",
        ),
        (|t| drop(t.remove("_bn1.running_var")), "tensor `_bn1.running_var` of EfficientNet-Lite0 is missing"),
        (
            |t| drop(t.insert("_fc.scale".into(), (vec![1], vec![1.0]))),
            "1 tensors are not part of EfficientNet-Lite0, the first being `_fc.scale`",
        ),
        (
            |t| t.get_mut("_fc.weight").unwrap().0 = vec![16, 5],
            "`_fc.weight` has the shape [16, 5], but EfficientNet-Lite0 has [16, 16] there",
        ),
        (
            |t| t.get_mut("_fc.weight").unwrap().0 = vec![80],
            "has the shape [80], but EfficientNet-Lite0 has 2 dimensions there",
        ),
        (
            |t| *t.get_mut("_fc.bias").unwrap() = (vec![4], vec![0.0; 4]),
            "`_fc.bias` has the shape [4], but EfficientNet-Lite0 has [5] there",
        ),
        (
            |t| *t.get_mut("_fc.weight").unwrap() = (vec![0, 16], vec![]),
            "[0, 16], but EfficientNet-Lite0 has no dimension of 0 there",
        ),
        (
            |t| t.get_mut("_blocks.3._depthwise_conv.weight").unwrap().0 = vec![18, 1, 25, 1],
            "[18, 1, 25, 1], but EfficientNet-Lite0 has [18, 1, 5, 5] there",
        ),
        (
            |t| t.get_mut("_conv_head.weight").unwrap().1[3] = f32::NAN,
            "value 3 of tensor `_conv_head.weight` is NaN, not finite",
        ),
        (
            |t| t.get_mut("_fc.bias").unwrap().1[1] = f32::NEG_INFINITY,
            "value 1 of tensor `_fc.bias` is -inf, not finite",
        ),
        (|t| t.get_mut("_bn0.running_var").unwrap().1[0] = -0.5, "`_bn0.running_var` has the negative variance -0.5"),
    ];
    for (change, expected) in cases {
        let mut tensors = tiny_tensors();
        change(&mut tensors);
        let Err(error) = load(&tensors) else { panic!("loaded, expected: {expected}") };
        assert!(error.to_string().contains(expected), "{error}\nexpected: {expected}");
    }
    let mut tensors = tiny_tensors();
    tensors.get_mut("_bn0.weight").unwrap().1[0] = f32::MAX;
    tensors.get_mut("_bn0.running_var").unwrap().1[0] = 0.0;
    let Err(error) = load(&tensors) else { panic!("loaded an overflow") };
    assert!(error.to_string().contains("`_conv_stem.weight` normalised by `_bn0` is beyond what f32 holds"), "{error}");
}

#[test]
fn counters_of_batches_are_ignored() {
    let mut tensors = tiny_tensors();
    tensors.insert("_blocks.2._bn1.num_batches_tracked".into(), (vec![], vec![3.0]));
    load(&tensors).unwrap();
    tensors.insert("_fc.num_batches_tracked".into(), (vec![], vec![3.0]));
    let Err(error) = load(&tensors) else { panic!("loaded a stray counter") };
    assert!(error.to_string().contains("`_fc.num_batches_tracked`"), "{error}");
}

#[test]
fn squeeze_and_excitation_belongs_to_another_family() {
    let bytes = tiny_efficientnet_checkpoint(1, 2);
    assert!(recognises(&Tensors::of_checkpoint(Checkpoint::read("tiny.pth", &bytes).unwrap())));
    let mut tensors = tiny_tensors();
    tensors.insert("_blocks.0._se_reduce.weight".into(), (vec![1], vec![0.0]));
    let list: Vec<(&str, &[usize], &[f32])> =
        tensors.iter().map(|(name, (shape, values))| (name.as_str(), shape.as_slice(), values.as_slice())).collect();
    let bytes = legacy_checkpoint(&list);
    assert!(!recognises(&Tensors::of_checkpoint(Checkpoint::read("tiny.pth", &bytes).unwrap())));
}
