//! The network as a graph: noisy images, timesteps and classes in, what is predicted out.

use seedhouse_core::runtime::TensorType;
use seedhouse_core::{Dimension, Error, Graph, GraphAttribute, Result};
use seedhouse_kernels::Nonlinearity;
use serde_json::{Map, Value as JsonValue};

use super::blocks::EPSILON;
use super::layout::{Block, Layout, Level, Resampling};
use super::settings::Settings;
use super::unet::{frequencies, write_sinusoids};
use super::{ARCHITECTURE, TITLE};
use crate::export::builder::{GraphBuilder, Value};
use crate::layers::{Square, Tensors, Weights};

/// Makes a graph of tensors.
///
/// # Errors
/// As loading them.
pub(crate) fn of_tensors(
    tensors: &Tensors<'_>,
    metadata: &Map<String, JsonValue>,
    mut graph: GraphBuilder<'_>,
) -> Result<Graph> {
    let weights = Weights { tensors, family: TITLE };
    let layout = Layout::read(&weights)?;
    weights.check(&layout.expected())?;
    let settings = Settings::read(tensors, metadata)?;
    layout.check_settings(&settings)?;
    graph.note("num_timesteps", settings.num_timesteps.to_string());
    graph.note("noise_schedule", "cosine");
    graph.note("prediction_type", settings.prediction.as_str());
    Drawing { layout: &layout, settings: &settings, weights: &weights, graph }.draw()
}

struct Drawing<'d, 'p> {
    layout: &'d Layout,
    settings: &'d Settings,
    weights: &'d Weights<'d>,
    graph: GraphBuilder<'p>,
}

impl Drawing<'_, '_> {
    fn draw(mut self) -> Result<Graph> {
        let layout = self.layout;
        let side = Dimension::Fixed(self.settings.image_size);
        let shape = [Dimension::Free("batch"), Dimension::Fixed(layout.image_channels), side.clone(), side];
        let images = self.graph.input("sample", TensorType::F32, &shape);
        let time = self.time()?;
        let mut map = self.convolution("input", &images, Square::new(3, 1, 1))?;
        let mut left = Vec::new();
        for level in &layout.down {
            for number in 0..level.blocks.len() {
                map = self.stage(level, number, map, &time)?;
                left.push(map.clone());
            }
            if level.resampling.is_some() {
                map = self.convolution(&format!("{}.downsample", level.name), &map, Square::new(3, 2, 1))?;
            }
        }
        let [first, last] = &layout.middle;
        map = self.block(first, &map, &time)?;
        if layout.has_middle_attention {
            map = self.attention("middle.attention", map, first.outputs)?;
        }
        map = self.block(last, &map, &time)?;
        for level in &layout.up {
            for number in 0..level.blocks.len() {
                let further = left.pop().ok_or_else(|| Error::Internal("the way up has more blocks".into()))?;
                let name = format!("{}.blocks.{number}/joined", level.name);
                map = self.graph.concat(&name, &[&map, &further], 1);
                map = self.stage(level, number, map, &time)?;
            }
            map = self.upsample(level, map)?;
        }
        let predicted = self.end(["output_norm", "output"], &map)?;
        self.graph.output("prediction", &predicted, &shape);
        Ok(self.graph.finish(ARCHITECTURE))
    }

    /// What blocks are told of timestep and class, after the last nonlinearity.
    fn time(&mut self) -> Result<Value> {
        let (layout, steps) = (self.layout, self.settings.num_timesteps);
        let timesteps = self.graph.input("timestep", TensorType::I64, &[Dimension::Free("batch")]);
        self.graph.reserve(steps.saturating_mul(layout.sinusoids))?;
        let mut table = vec![0.0; steps * layout.sinusoids];
        let frequencies = frequencies(layout.sinusoids / 2);
        for (timestep, row) in table.chunks_exact_mut(layout.sinusoids).enumerate() {
            write_sinusoids(&frequencies, timestep, row);
        }
        let table = self.graph.reserved("time_embedding.sinusoids", &[steps, layout.sinusoids], table);
        let rows = self.graph.gather("time_embedding/rows", &table, &timesteps, 0);
        let first = self.graph.linear(self.weights, "time_embedding.first", &rows)?;
        let first = self.graph.nonlinearity("time_embedding.first/silu", Nonlinearity::Silu, &first);
        let mut second = self.graph.linear(self.weights, "time_embedding.second", &first)?;
        if let Some(classes) = layout.num_classes {
            const NAME: &str = "class_embedding.weight";
            let asked = self.graph.input("class_label", TensorType::I64, &[Dimension::Free("batch")]);
            let shape = [classes + 1, layout.time_emb_dim];
            let table = self.graph.weight(NAME, &shape, self.weights.values(NAME)?)?;
            let of_class = self.graph.gather("class_embedding/rows", &table, &asked, 0);
            second = self.graph.node("time_and_class", "Add", &[&second, &of_class]);
        }
        Ok(self.graph.nonlinearity("time/silu", Nonlinearity::Silu, &second))
    }

    fn convolution(&mut self, name: &str, input: &str, square: Square) -> Result<Value> {
        self.graph.convolution(self.weights, name, input, square)
    }

    /// A block of a level, and the attention after it.
    fn stage(&mut self, level: &Level, number: usize, map: Value, time: &str) -> Result<Value> {
        let block = &level.blocks[number];
        let map = self.block(block, &map, time)?;
        match level.has_attention {
            true => self.attention(&format!("{}.attention.{number}", level.name), map, block.outputs),
            false => Ok(map),
        }
    }

    fn block(&mut self, Block { name, inputs, outputs }: &Block, map: &str, time: &str) -> Result<Value> {
        let part = |part: &str| format!("{name}.{part}");
        let inner = self.end([&part("norm1"), &part("conv1")], map)?;
        let told = self.graph.linear(self.weights, &part("time"), time)?;
        let told = self.graph.reshape(&part("time/pixel"), &told, &[0, *outputs as i64, 1, 1]);
        let inner = self.graph.node(&part("time/sum"), "Add", &[&inner, &told]);
        let inner = self.end([&part("norm2"), &part("conv2")], &inner)?;
        let through = match inputs == outputs {
            true => map.to_owned(),
            false => self.convolution(&part("shortcut"), map, Square::new(1, 1, 0))?,
        };
        Ok(self.graph.node(&part("sum"), "Add", &[&inner, &through]))
    }

    /// A norm, SiLU and a convolution.
    fn end(&mut self, [norm, convolution]: [&str; 2], map: &str) -> Result<Value> {
        let normed = self.group_norm(norm, map)?;
        let active = self.graph.nonlinearity(&format!("{norm}/silu"), Nonlinearity::Silu, &normed);
        self.convolution(convolution, &active, Square::new(3, 1, 1))
    }

    fn group_norm(&mut self, name: &str, map: &str) -> Result<Value> {
        self.graph.group_norm(self.weights, name, map, (self.settings.num_groups, EPSILON))
    }

    /// Adds to each pixel what it finds in the others.
    fn attention(&mut self, name: &str, map: Value, channels: usize) -> Result<Value> {
        let part = |part: &str| format!("{name}.{part}");
        let shape = self.graph.node(&part("shape"), "Shape", &[&map]);
        let normed = self.group_norm(&part("norm"), &map)?;
        let flat = self.graph.reshape(&part("flat"), &normed, &[0, channels as i64, -1]);
        let pixels = self.graph.transpose(&part("pixels"), &flat, &[0, 2, 1]);
        let query = self.graph.linear(self.weights, &part("query"), &pixels)?;
        let key = self.graph.linear(self.weights, &part("key"), &pixels)?;
        let value = self.graph.linear(self.weights, &part("value"), &pixels)?;
        let heads = self.settings.heads(channels);
        let attended = self.graph.mutual_attention(name, [&query, &key, &value], heads, channels / heads, None);
        let output = self.graph.linear(self.weights, &part("output"), &attended)?;
        let planes = self.graph.transpose(&part("planes"), &output, &[0, 2, 1]);
        let planes = self.graph.node(&part("images"), "Reshape", &[&planes, &shape]);
        Ok(self.graph.node(&part("sum"), "Add", &[&map, &planes]))
    }

    fn upsample(&mut self, level: &Level, map: Value) -> Result<Value> {
        match level.resampling {
            None | Some(Resampling::Down) => Ok(map),
            Some(Resampling::Nearest(_)) => {
                let name = format!("{}.upsample", level.name);
                let scales = self.graph.weight(&format!("{name}/scales"), &[4], vec![1.0, 1.0, 2.0, 2.0])?;
                let settings = vec![
                    ("mode", GraphAttribute::Text("nearest")),
                    ("coordinate_transformation_mode", GraphAttribute::Text("asymmetric")),
                    ("nearest_mode", GraphAttribute::Text("floor")),
                ];
                let doubled =
                    self.graph.node_with(&format!("{name}/doubled"), "Resize", &[&map, "", &scales], settings);
                self.convolution(&name, &doubled, Square::new(3, 1, 1))
            }
            Some(Resampling::Transposed(_)) => self.transposed(&format!("{}.transposed", level.name), &map),
        }
    }

    fn transposed(&mut self, name: &str, map: &str) -> Result<Value> {
        let weight = format!("{name}.weight");
        let sizes = self.weights.sizes::<4>(&weight)?;
        let weight = self.graph.weight(&weight, &sizes, self.weights.values(&weight)?)?;
        let bias = format!("{name}.bias");
        let bias = self.graph.weight(&bias, &sizes[1..2], self.weights.values(&bias)?)?;
        let settings = crate::export::builder::window(Square::new(4, 2, 1));
        Ok(self.graph.node_with(name, "ConvTranspose", &[map, &weight, &bias], settings))
    }
}
