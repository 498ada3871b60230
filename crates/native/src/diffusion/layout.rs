//! The U-Net of the system that Seedhouse took over, by its tensors. Its records name `image_size`, `image_channels`, `base_channels`,
//! `time_emb_dim` and `num_timesteps`.
//!
//! No file with its weights was kept, so the tensor names are ours, those that a torch module would have. `L` is a level from 0, each
//! with half the sides of the one before; `B` is a block of it from 0.
//!
//! ```text
//! time_embedding.first.weight, .bias     [time_emb_dim, width], [time_emb_dim]
//! time_embedding.second.weight, .bias    [time_emb_dim, time_emb_dim], [time_emb_dim]
//! class_embedding.weight                 [num_classes + 1, time_emb_dim]     of a model that was trained with classes
//! input.weight, .bias                    [base_channels, image_channels, 3, 3], [base_channels]
//! down.L.blocks.B                        a block
//! down.L.attention.B                     attention, after each block of a level or after none
//! down.L.downsample.weight, .bias        [channels, channels, 3, 3], [channels]     of all levels but the last
//! middle.0, middle.attention, middle.1   block, attention (may be left out), block
//! up.L.blocks.B                          as many blocks as `down.L` has
//! up.L.attention.B                       attention, after each block of a level or after none
//! up.L.upsample.weight, .bias            [outputs, channels, 3, 3], [outputs]     of all levels but the first
//! up.L.transposed.weight, .bias          [channels, outputs, 4, 4], [outputs]     instead of `upsample`
//! output_norm.weight, .bias              [channels]
//! output.weight, .bias                   [image_channels, channels, 3, 3], [image_channels]
//! ```
//!
//! A block, and attention over all pixels of an image:
//!
//! ```text
//! norm1.weight, .bias                    [inputs]
//! conv1.weight, .bias                    [outputs, inputs, 3, 3], [outputs]
//! time.weight, .bias                     [outputs, time_emb_dim], [outputs]
//! norm2.weight, .bias                    [outputs]
//! conv2.weight, .bias                    [outputs, outputs, 3, 3], [outputs]
//! shortcut.weight, .bias                 [outputs, inputs, 1, 1], [outputs]     where inputs and outputs differ
//!
//! norm.weight, .bias                     [channels]
//! query, key, value, output .weight, .bias    [channels, channels], [channels]
//! ```
//!
//! The network:
//!
//! ```text
//! time     second(silu(first([cos(t f), sin(t f)])))  with f = 10000^(-i / (width / 2)), + the row of the class; the last row is no class
//! block    shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + time(silu(time embedding)))))
//! attention    x + output(softmax(query key^T / sqrt(head)) value)  of norm(x)
//! down     from level 0 on: blocks, each of which leaves what it gives for the way up, then `downsample` with stride 2 and padding 1
//! up       from the last level on: blocks, each of which takes what is there and behind it, as further channels, what a block of the same
//!          level left, the last one first; then pixels are doubled and convolved by `upsample` with padding 1, or `transposed` with
//!          stride 2 and padding 1
//! end      output(silu(output_norm(x)))
//! ```
//!
//! Norms are group norms that add 1e-5 to the variance.

use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use super::settings::Settings;
use crate::layers::{Expected, Part, Weights};

/// Images of 4096 pixels are halved twelve times at most.
const MOST_LEVELS: usize = 12;

/// More blocks than a level of any network has.
const MOST_BLOCKS: usize = 64;

/// Bytes of activations that one image may need: those of images of 1024 pixels and 64 channels.
const MOST_ACTIVATION_BYTES: usize = 4 << 30;

/// Sizes of a U-Net.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) image_channels: usize,
    pub(super) base_channels: usize,
    pub(super) time_emb_dim: usize,
    /// Numbers of the sinusoids of a timestep.
    pub(super) sinusoids: usize,
    pub(super) num_classes: Option<usize>,
    pub(super) down: Vec<Level>,
    pub(super) middle: [Block; 2],
    pub(super) has_middle_attention: bool,
    /// In the order of computation: the last level first.
    pub(super) up: Vec<Level>,
    /// Channels that come out of the last level.
    pub(super) last_channels: usize,
}

/// A level, on the way down or up.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) name: String,
    pub(super) blocks: Vec<Block>,
    pub(super) has_attention: bool,
    pub(super) resampling: Option<Resampling>,
}

/// How sides change after a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resampling {
    Down,
    /// Doubled pixels, so many outputs.
    Nearest(usize),
    /// A transposed convolution, so many outputs.
    Transposed(usize),
}

/// A residual block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) name: String,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Layout {
    /// Reads the sizes.
    ///
    /// # Errors
    /// [`Error::Malformed`] for tensors that are missing or no such network.
    pub(super) fn read(weights: &Weights<'_>) -> Result<Layout> {
        let [base_channels, image_channels, ..] = weights.sizes::<4>("input.weight")?;
        let name = "time_embedding.first.weight";
        let shape @ [time_emb_dim, sinusoids] = weights.sizes(name)?;
        if sinusoids % 2 != 0 {
            return Err(weights.wrong_shape(name, &shape, "as many cosines as sines"));
        }
        let num_classes = Layout::num_classes(weights)?;
        let (mut channels, mut left) = (base_channels, Vec::new());
        weights.sizes::<4>("down.0.blocks.0.conv1.weight")?;
        let mut down = Vec::new();
        while down.len() < MOST_LEVELS && weights.tensors.has(&format!("down.{}.blocks.0.conv1.weight", down.len())) {
            let level = Level::down(weights, down.len(), &mut channels, &mut left)?;
            down.push(level);
        }
        if let Some(last) = down.last_mut() {
            last.resampling = None;
        }
        let first = Block::read(weights, "middle.0".to_owned(), channels)?;
        let second = Block::read(weights, "middle.1".to_owned(), first.outputs)?;
        channels = second.outputs;
        let mut up = Vec::new();
        for (number, level) in down.iter().enumerate().rev() {
            up.push(Level::up(weights, number, level.blocks.len(), &mut channels, &mut left)?);
        }
        Ok(Layout {
            image_channels,
            base_channels,
            time_emb_dim,
            sinusoids,
            num_classes,
            down,
            middle: [first, second],
            has_middle_attention: weights.tensors.has("middle.attention.norm.weight"),
            up,
            last_channels: channels,
        })
    }

    fn num_classes(weights: &Weights<'_>) -> Result<Option<usize>> {
        const NAME: &str = "class_embedding.weight";
        if !weights.tensors.has(NAME) {
            return Ok(None);
        }
        match weights.sizes::<2>(NAME)? {
            shape @ [1, _] => Err(weights.wrong_shape(NAME, &shape, "a row for each class and one for no class")),
            [rows, _] => Ok(Some(rows - 1)),
        }
    }

    /// Returns what the shapes say, in the record's names.
    pub(super) fn hyper_parameters(&self) -> Map<String, Value> {
        let mut found = Map::from_iter([
            ("image_channels".to_owned(), self.image_channels.into()),
            ("base_channels".to_owned(), self.base_channels.into()),
            ("time_emb_dim".to_owned(), self.time_emb_dim.into()),
        ]);
        found.extend(self.num_classes.map(|classes| ("num_classes".to_owned(), classes.into())));
        found
    }

    /// Returns the tensors that it has.
    pub(super) fn expected(&self) -> Expected {
        let mut expected = Expected::default();
        expected.exact_layer("time_embedding.first", &[self.time_emb_dim, self.sinusoids]);
        expected.exact_layer("time_embedding.second", &[self.time_emb_dim, self.time_emb_dim]);
        if let Some(classes) = self.num_classes {
            expected.tensor("class_embedding.weight", &[classes + 1, self.time_emb_dim]);
        }
        expected.exact_layer("input", &[self.base_channels, self.image_channels, 3, 3]);
        for level in self.down.iter().chain(&self.up) {
            self.expect_level(level, &mut expected);
        }
        self.middle.iter().for_each(|block| self.expect_block(block, &mut expected));
        if self.has_middle_attention {
            expect_attention("middle.attention", self.middle[0].outputs, &mut expected);
        }
        expected.layer("output_norm", &[self.last_channels]);
        expected.exact_layer("output", &[self.image_channels, self.last_channels, 3, 3]);
        expected
    }

    fn expect_level(&self, level: &Level, expected: &mut Expected) {
        let name = &level.name;
        for (number, block) in level.blocks.iter().enumerate() {
            self.expect_block(block, expected);
            if level.has_attention {
                expect_attention(&format!("{name}.attention.{number}"), block.outputs, expected);
            }
        }
        let channels = level.channels();
        match level.resampling {
            None => {}
            Some(Resampling::Down) => expected.layer(&format!("{name}.downsample"), &[channels, channels, 3, 3]),
            Some(Resampling::Nearest(outputs)) => {
                expected.add(format!("{name}.upsample.weight"), &[outputs, channels, 3, 3], Part::Doubling);
                expected.tensor(format!("{name}.upsample.bias"), &[outputs]);
            }
            Some(Resampling::Transposed(outputs)) => {
                expected.add(format!("{name}.transposed.weight"), &[channels, outputs, 4, 4], Part::Transposed);
                expected.tensor(format!("{name}.transposed.bias"), &[outputs]);
            }
        }
    }

    fn expect_block(&self, block: &Block, expected: &mut Expected) {
        let Block { name, inputs, outputs } = block;
        expected.layer(&format!("{name}.norm1"), &[*inputs]);
        expected.layer(&format!("{name}.conv1"), &[*outputs, *inputs, 3, 3]);
        expected.exact_layer(&format!("{name}.time"), &[*outputs, self.time_emb_dim]);
        expected.layer(&format!("{name}.norm2"), &[*outputs]);
        expected.layer(&format!("{name}.conv2"), &[*outputs, *outputs, 3, 3]);
        if inputs != outputs {
            expected.layer(&format!("{name}.shortcut"), &[*outputs, *inputs, 1, 1]);
        }
    }

    /// Returns every block, in the order of computation.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Block> {
        let down = self.down.iter().flat_map(|level| &level.blocks);
        let up = self.up.iter().flat_map(|level| &level.blocks);
        down.chain(&self.middle).chain(up)
    }

    /// Returns the channels of each attention.
    fn attentions(&self) -> impl Iterator<Item = usize> {
        let levels = self.down.iter().chain(&self.up).filter(|level| level.has_attention);
        let of_levels = levels.flat_map(|level| level.blocks.iter().map(|block| block.outputs));
        of_levels.chain(self.has_middle_attention.then_some(self.middle[0].outputs))
    }

    /// Holds what the shapes do not say against them.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the setting that does not fit, [`Error::TooLarge`] for images that need too much memory.
    pub(super) fn check_settings(&self, settings: &Settings) -> Result<()> {
        let Settings { image_size, num_groups, .. } = settings;
        let halvings = 1 << (self.down.len() - 1);
        if !image_size.is_multiple_of(halvings) {
            let rule = format!("must be a multiple of {halvings}, for the network halves it");
            return Err(Error::invalid("metadata.image_size", image_size, rule));
        }
        let bytes = self.activation_bytes(*image_size);
        if bytes > MOST_ACTIVATION_BYTES {
            return Err(Error::TooLarge {
                what: format!("what an image of {image_size} x {image_size} needs between layers"),
                size: format!("{bytes} bytes"),
                limit: format!("{MOST_ACTIVATION_BYTES} bytes"),
            });
        }
        let norms = self.blocks().flat_map(|block| [block.inputs, block.outputs]).chain([self.last_channels]);
        for channels in norms.chain(self.attentions()) {
            if !channels.is_multiple_of(*num_groups) {
                let rule = format!("must divide the {channels} channels of a norm");
                return Err(Error::invalid("metadata.num_groups", num_groups, rule));
            }
        }
        for channels in self.attentions() {
            let heads = settings.heads(channels);
            if !channels.is_multiple_of(heads) {
                let rule = format!("must divide the {channels} channels of attention");
                return Err(Error::invalid("metadata.num_heads", heads, rule));
            }
        }
        Ok(())
    }

    /// Returns about how many bytes of activations an image has at once, which is what is left for the way up and some maps of the
    /// widest kind.
    pub(super) fn activation_bytes(&self, image_size: usize) -> usize {
        let map =
            |level: usize, channels: usize| (image_size >> level).pow(2).saturating_mul(channels).saturating_mul(4);
        let levels = self.down.iter().enumerate();
        let left: usize =
            levels.flat_map(|(number, level)| level.blocks.iter().map(move |block| map(number, block.outputs))).sum();
        let up = self.up.iter().rev().enumerate();
        let widest =
            up.flat_map(|(number, level)| level.blocks.iter().map(move |block| map(number, block.inputs))).max();
        left.saturating_add(4 * widest.unwrap_or(0))
    }
}

impl Level {
    /// Reads a level of the way down. `left` gets the channels of what its blocks leave.
    fn down(weights: &Weights<'_>, number: usize, channels: &mut usize, left: &mut Vec<usize>) -> Result<Level> {
        let name = format!("down.{number}");
        let mut blocks = Vec::new();
        while blocks.len() < MOST_BLOCKS && weights.tensors.has(&format!("{name}.blocks.{}.conv1.weight", blocks.len()))
        {
            let block = Block::read(weights, format!("{name}.blocks.{}", blocks.len()), *channels)?;
            *channels = block.outputs;
            left.push(block.outputs);
            blocks.push(block);
        }
        Ok(Level { has_attention: has_attention(weights, &name), name, blocks, resampling: Some(Resampling::Down) })
    }

    /// Reads a level of the way up with so many blocks.
    fn up(
        weights: &Weights<'_>,
        number: usize,
        count: usize,
        channels: &mut usize,
        left: &mut Vec<usize>,
    ) -> Result<Level> {
        let name = format!("up.{number}");
        let mut blocks = Vec::with_capacity(count);
        for number in 0..count {
            let inputs = left.pop().map_or(*channels, |further| further + *channels);
            let block = Block::read(weights, format!("{name}.blocks.{number}"), inputs)?;
            *channels = block.outputs;
            blocks.push(block);
        }
        let mut resampling = None;
        if number > 0 {
            let transposed = format!("{name}.transposed.weight");
            resampling = Some(match weights.tensors.has(&transposed) {
                true => Resampling::Transposed(weights.sizes::<4>(&transposed)?[1]),
                false => Resampling::Nearest(weights.sizes::<4>(&format!("{name}.upsample.weight"))?[0]),
            });
        }
        if let Some(Resampling::Transposed(outputs) | Resampling::Nearest(outputs)) = resampling {
            *channels = outputs;
        }
        Ok(Level { has_attention: has_attention(weights, &name), name, blocks, resampling })
    }

    /// Returns the channels that its last block gives.
    fn channels(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.outputs)
    }
}

impl Block {
    /// Reads how many outputs a block has.
    fn read(weights: &Weights<'_>, name: String, inputs: usize) -> Result<Block> {
        let [outputs, ..] = weights.sizes::<4>(&format!("{name}.conv1.weight"))?;
        Ok(Block { name, inputs, outputs })
    }
}

fn has_attention(weights: &Weights<'_>, level: &str) -> bool {
    weights.tensors.has(&format!("{level}.attention.0.norm.weight"))
}

fn expect_attention(name: &str, channels: usize, expected: &mut Expected) {
    expected.layer(&format!("{name}.norm"), &[channels]);
    for part in ["query", "key", "value", "output"] {
        expected.layer(&format!("{name}.{part}"), &[channels, channels]);
    }
}
