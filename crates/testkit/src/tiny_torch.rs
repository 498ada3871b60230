//! Small torch checkpoints in the legacy layout, made without torch.

use crate::pickle_writer::{PickleWriter, legacy_around};

/// Returns a legacy checkpoint of f32 tensors: name, shape and values in row-major order.
pub fn legacy_checkpoint(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let keys: Vec<String> = (0..tensors.len()).map(|number| (1000 + number).to_string()).collect();
    let mut writer = PickleWriter::new().global("collections", "OrderedDict").raw(b")R(");
    for ((name, shape, values), key) in tensors.iter().zip(&keys) {
        let shape: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        writer = writer.text(name).tensor(key, values.len() as i64, 0, &shape, &row_major_strides(&shape));
    }
    // As torch does, the dictionary gets an attribute `_metadata`.
    let metadata = writer.raw(b"u}").text("_metadata").global("collections", "OrderedDict").raw(b")Rsb");
    let storages: Vec<(&str, &[f32])> =
        keys.iter().zip(tensors).map(|(key, (_, _, values))| (key.as_str(), *values)).collect();
    legacy_around(&metadata.finish(), &storages)
}

/// Returns a legacy checkpoint whose object, were it executed, would call `module.name` with a text.
pub fn pickle_with_global(module: &str, name: &str) -> Vec<u8> {
    legacy_around(&PickleWriter::new().global(module, name).text("echo executed").raw(b"\x85R").finish(), &[])
}

/// Returns a checkpoint with the topology and the names of EfficientNet-Lite0, but widths of 2 to 36 instead of 16 to
/// 1280: about 200 KB. The same seed gives the same bytes.
pub fn tiny_efficientnet_checkpoint(seed: u64, num_classes: usize) -> Vec<u8> {
    let mut network = Network { seed, tensors: Vec::new() };
    let mut inputs = 4;
    network.convolution("_conv_stem", "_bn0", [inputs, 3, 3, 3]);
    // Repeats, kernel, expansion and width of each stage.
    let stages = [(1, 3, 1, 2), (2, 3, 6, 3), (2, 5, 6, 4), (3, 3, 6, 4), (3, 5, 6, 5), (4, 5, 6, 6), (1, 3, 6, 8)];
    let mut number = 0;
    for (repeats, kernel, expansion, outputs) in stages {
        for _ in 0..repeats {
            let expanded = inputs * expansion;
            let name = |part: &str| format!("_blocks.{number}.{part}");
            if expansion > 1 {
                network.convolution(&name("_expand_conv"), &name("_bn0"), [expanded, inputs, 1, 1]);
            }
            network.convolution(&name("_depthwise_conv"), &name("_bn1"), [expanded, 1, kernel, kernel]);
            network.convolution(&name("_project_conv"), &name("_bn2"), [outputs, expanded, 1, 1]);
            inputs = outputs;
            number += 1;
        }
    }
    network.convolution("_conv_head", "_bn1", [16, inputs, 1, 1]);
    network.tensor("_fc.weight", &[num_classes, 16], -1.0, 1.0);
    network.tensor("_fc.bias", &[num_classes], -0.5, 0.5);
    let tensors: Vec<(&str, &[usize], &[f32])> = network
        .tensors
        .iter()
        .map(|(name, shape, values)| (name.as_str(), shape.as_slice(), values.as_slice()))
        .collect();
    legacy_checkpoint(&tensors)
}

fn row_major_strides(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for index in (1..shape.len()).rev() {
        strides[index - 1] = strides[index] * shape[index];
    }
    strides
}

struct Network {
    seed: u64,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Network {
    fn convolution(&mut self, name: &str, norm: &str, shape: [usize; 4]) {
        let reach = (3.0 / (shape[1] * shape[2] * shape[3]) as f32).sqrt();
        self.tensor(&format!("{name}.weight"), &shape, -reach, reach);
        for (part, low, high) in
            [("weight", 0.8, 1.2), ("bias", 0.0, 0.6), ("running_mean", -0.1, 0.1), ("running_var", 0.2, 0.8)]
        {
            self.tensor(&format!("{norm}.{part}"), &shape[..1], low, high);
        }
    }

    fn tensor(&mut self, name: &str, shape: &[usize], low: f32, high: f32) {
        let count = shape.iter().product();
        let values = (0..count).map(|_| low + (high - low) * self.fraction()).collect();
        self.tensors.push((name.to_owned(), shape.to_vec(), values));
    }

    /// Returns the next number of SplitMix64 (Steele, Lea and Flood 2014), cut to 24 bits, as a fraction of one.
    fn fraction(&mut self) -> f32 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1_u32 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_alone_decides_the_bytes() {
        let bytes = tiny_efficientnet_checkpoint(1, 10);
        assert_eq!(bytes, tiny_efficientnet_checkpoint(1, 10));
        assert_ne!(bytes, tiny_efficientnet_checkpoint(2, 10));
        assert!(bytes.len() < 300_000, "{} bytes", bytes.len());
    }
}
