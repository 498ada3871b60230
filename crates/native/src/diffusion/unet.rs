//! The network, ready to compute with.

use seedhouse_core::Result;
use seedhouse_kernels::{RowView, Step, rows};

use super::blocks::{Attention, Block, Buffers, End};
use super::layout::{self, Layout, Resampling};
use super::settings::Settings;
use crate::layers::{Compile, Convolution, Linear, Map, Square, Upsampling, Weights};

/// The slowest sinusoid of a timestep has this period, times 2 pi.
const LONGEST_PERIOD: f64 = 10_000.0;

/// A compiled U-Net.
pub(super) struct Unet {
    time: TimeEmbedding,
    input: Convolution,
    down: Vec<Level<Convolution>>,
    middle: Middle,
    up: Vec<Level<Upsampling>>,
    end: End,
    /// Where the part of each block begins in what is made of the time embedding, in the order of computation.
    starts: Vec<usize>,
}

struct Level<R> {
    stages: Vec<Stage>,
    resampling: Option<R>,
}

/// A block, and the attention after it.
struct Stage {
    block: Block,
    attention: Option<Attention>,
}

struct Middle {
    stage: Stage,
    last: Block,
}

/// Intermediate results, kept from call to call.
#[derive(Debug, Default)]
pub(super) struct UnetBuffers {
    /// What goes in, and in the end what comes out.
    pub(super) images: Map,
    within: Buffers,
    /// What blocks of the way down leave for the way up.
    left: Vec<Map>,
    hidden: Map,
    joined: Map,
    time: [Vec<f32>; 3],
}

impl UnetBuffers {
    /// Returns the bytes that they have grown to.
    pub(super) fn bytes(&self) -> usize {
        let maps: usize = self.left.iter().chain([&self.images, &self.hidden, &self.joined]).map(Map::bytes).sum();
        maps + self.within.bytes() + self.time.iter().map(|numbers| size_of_val(&numbers[..])).sum::<usize>()
    }
}

impl Unet {
    /// Reads the weights, which were held against the layout.
    ///
    /// # Errors
    /// [`seedhouse_core::Error::Malformed`] for values that are not finite.
    pub(super) fn build(
        layout: &Layout,
        settings: &Settings,
        weights: &Weights<'_>,
        compile: &Compile,
    ) -> Result<Unet> {
        let read = Reader { settings, weights, compile };
        // What is small and decides much is not rounded: the time, the first and the last convolution.
        let exact = compile.exact();
        let down = |level: &layout::Level| {
            let square = Square::new(3, 2, 1);
            let name = format!("{}.downsample", level.name);
            let downsample = || Convolution::read(weights, compile, &name, square);
            Ok(Level { stages: read.stages(level)?, resampling: level.resampling.map(|_| downsample()).transpose()? })
        };
        let up = |level: &layout::Level| {
            let name = |kind: &str| format!("{}.{kind}", level.name);
            let resampling = match level.resampling {
                Some(Resampling::Nearest(_)) => Some(Upsampling::nearest(weights, compile, &name("upsample"))?),
                Some(Resampling::Transposed(_)) => Some(Upsampling::transposed(weights, compile, &name("transposed"))?),
                Some(Resampling::Down) | None => None,
            };
            Ok(Level { stages: read.stages(level)?, resampling })
        };
        let [first, last] = &layout.middle;
        let starts = layout.blocks().scan(0, |end, block| {
            let start = *end;
            *end += block.outputs;
            Some(start)
        });
        Ok(Unet {
            time: TimeEmbedding::read(layout, weights, &exact)?,
            input: Convolution::read(weights, &exact, "input", Square::new(3, 1, 1))?,
            down: layout.down.iter().map(down).collect::<Result<_>>()?,
            middle: Middle {
                stage: read.stage(first, layout.has_middle_attention.then_some("middle.attention"))?,
                last: read.block(last)?,
            },
            up: layout.up.iter().map(up).collect::<Result<_>>()?,
            end: End::read(weights, &exact, settings, ["output_norm", "output"])?,
            starts: starts.collect(),
        })
    }

    /// Returns the bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        let stages = |stages: &[Stage]| stages.iter().map(Stage::bytes).sum::<usize>();
        let down = self
            .down
            .iter()
            .map(|level| stages(&level.stages) + level.resampling.as_ref().map_or(0, Convolution::bytes));
        let up =
            self.up.iter().map(|level| stages(&level.stages) + level.resampling.as_ref().map_or(0, Upsampling::bytes));
        let middle = self.middle.stage.bytes() + self.middle.last.bytes();
        self.time.bytes() + self.input.bytes() + down.chain(up).sum::<usize>() + middle + self.end.bytes()
    }

    /// Replaces the images in the buffers by what is predicted of them.
    pub(super) fn run(
        &self,
        step: &mut Step<'_>,
        buffers: &mut UnetBuffers,
        timesteps: &[usize],
        classes: &[Option<usize>],
    ) {
        let UnetBuffers { images, within, left, hidden, joined, time: embeddings } = buffers;
        self.time.run(step, within, timesteps, classes, embeddings);
        let (parts, width) = (&embeddings[2], self.time.blocks.outputs());
        let time = |block: usize| RowView::new(&parts[self.starts[block]..], width);
        self.input.apply(step, &mut within.convolution, images, hidden);
        let (mut block, mut count) = (0, 0);
        for level in &self.down {
            for (number, stage) in level.stages.iter().enumerate() {
                if left.len() == count {
                    left.push(Map::default());
                }
                let (before, after) = left.split_at_mut(count);
                let target = &mut after[0];
                match before.last() {
                    Some(before) if number > 0 => stage.block.apply(step, within, before, time(block), target),
                    _ => stage.block.consume(step, within, hidden, time(block), target),
                }
                stage.attend(step, within, target);
                (block, count) = (block + 1, count + 1);
            }
            if let Some(downsample) = &level.resampling {
                downsample.apply(step, &mut within.convolution, &left[count - 1], hidden);
            }
        }
        self.middle.stage.block.apply(step, within, &left[count - 1], time(block), hidden);
        self.middle.stage.attend(step, within, hidden);
        self.middle.last.consume(step, within, hidden, time(block + 1), joined);
        std::mem::swap(hidden, joined);
        block += 2;
        for level in &self.up {
            for stage in &level.stages {
                count -= 1;
                joined.join(step, [hidden, &left[count]]);
                stage.block.consume(step, within, joined, time(block), hidden);
                stage.attend(step, within, hidden);
                block += 1;
            }
            if let Some(upsampling) = &level.resampling {
                upsampling.apply(step, &mut within.convolution, hidden, joined);
                std::mem::swap(hidden, joined);
            }
        }
        self.end.apply(step, within, hidden, None, images);
    }
}

impl Stage {
    fn attend(&self, step: &mut Step<'_>, buffers: &mut Buffers, map: &mut Map) {
        if let Some(attention) = &self.attention {
            attention.change(step, buffers, map);
        }
    }

    fn bytes(&self) -> usize {
        self.block.bytes() + self.attention.as_ref().map_or(0, Attention::bytes)
    }
}

/// Reads parts of a network.
struct Reader<'r> {
    settings: &'r Settings,
    weights: &'r Weights<'r>,
    compile: &'r Compile,
}

impl Reader<'_> {
    fn stages(&self, level: &layout::Level) -> Result<Vec<Stage>> {
        let stage = |(number, block): (usize, &layout::Block)| {
            let attention = format!("{}.attention.{number}", level.name);
            self.stage(block, level.has_attention.then_some(&attention))
        };
        level.blocks.iter().enumerate().map(stage).collect()
    }

    fn stage(&self, block: &layout::Block, attention: Option<&str>) -> Result<Stage> {
        let read = |name: &str| Attention::read(self.weights, self.compile, self.settings, name, block.outputs);
        Ok(Stage { block: self.block(block)?, attention: attention.map(read).transpose()? })
    }

    fn block(&self, block: &layout::Block) -> Result<Block> {
        Block::read(self.weights, self.compile, self.settings, block)
    }
}

/// Returns how fast so many sinusoids of a timestep turn.
pub(super) fn frequencies(count: usize) -> Vec<f64> {
    (0..count).map(|index| (-LONGEST_PERIOD.ln() * index as f64 / count as f64).exp()).collect()
}

/// Writes the cosines of a timestep, and its sines behind them.
pub(super) fn write_sinusoids(frequencies: &[f64], timestep: usize, into: &mut [f32]) {
    let (cosines, sines) = into.split_at_mut(frequencies.len());
    for (frequency, (cosine, sine)) in frequencies.iter().zip(cosines.iter_mut().zip(sines)) {
        let (of_sine, of_cosine) = (timestep as f64 * frequency).sin_cos();
        (*cosine, *sine) = (of_cosine as f32, of_sine as f32);
    }
}

/// What blocks are told of the timestep and the class.
struct TimeEmbedding {
    frequencies: Vec<f64>,
    first: Linear,
    second: Linear,
    /// A row for each class, the last for no class; empty in a model without classes.
    classes: Vec<f32>,
    /// The parts of all blocks, one under the other.
    blocks: Linear,
}

impl TimeEmbedding {
    fn read(layout: &Layout, weights: &Weights<'_>, compile: &Compile) -> Result<TimeEmbedding> {
        let blocks: Vec<String> = layout.blocks().map(|block| format!("{}.time", block.name)).collect();
        Ok(TimeEmbedding {
            frequencies: frequencies(layout.sinusoids / 2),
            first: Linear::read(weights, compile, &["time_embedding.first".to_owned()])?,
            second: Linear::read(weights, compile, &["time_embedding.second".to_owned()])?,
            classes: match layout.num_classes {
                Some(_) => weights.values("class_embedding.weight")?,
                None => Vec::new(),
            },
            blocks: Linear::read(weights, compile, &blocks)?,
        })
    }

    fn bytes(&self) -> usize {
        let matrices = [&self.first, &self.second, &self.blocks].map(Linear::bytes);
        matrices.iter().sum::<usize>() + size_of_val(&self.classes[..]) + size_of_val(&self.frequencies[..])
    }

    /// Writes the parts of all blocks to the third place, a row for each image.
    fn run(
        &self,
        step: &mut Step<'_>,
        buffers: &mut Buffers,
        timesteps: &[usize],
        classes: &[Option<usize>],
        [first, second, blocks]: &mut [Vec<f32>; 3],
    ) {
        let (level, count, activations) = (step.level(), timesteps.len(), &mut buffers.activations);
        for (numbers, layer) in [(&mut *first, &self.first), (&mut *second, &self.second), (&mut *blocks, &self.blocks)]
        {
            numbers.resize(count * layer.outputs(), 0.0);
        }
        let sinusoids = |row: usize, into: &mut [f32]| write_sinusoids(&self.frequencies, timesteps[row], into);
        self.first.apply(step, activations, count, &sinusoids, (&mut first[..], false));
        let width = self.first.outputs();
        let active = |row: usize, into: &mut [f32]| rows::silu(level, &first[row * width..][..width], into);
        self.second.apply(step, activations, count, &active, (&mut second[..], false));
        for (embedding, class) in second.chunks_exact_mut(width).zip(classes) {
            let none = (self.classes.len() / width).saturating_sub(1);
            if let Some(row) = self.classes.get(class.unwrap_or(none) * width..).and_then(|rest| rest.get(..width)) {
                rows::add_assign(level, row, embedding);
            }
        }
        let active = |row: usize, into: &mut [f32]| rows::silu(level, &second[row * width..][..width], into);
        self.blocks.apply(step, activations, count, &active, (&mut blocks[..], false));
    }
}
