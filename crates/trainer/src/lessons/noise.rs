//! Diffusion models: networks that learn to tell the noise in an image (Ho et al. 2020), on the cosine schedule.

use seedhouse_core::dataset::{ImageDataset, SplitPart};
use seedhouse_core::runtime::cosine_shares;
use seedhouse_core::training::TrainTask;
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::pictures::check_images;
use super::{Batch, Classes, Lesson, Places, Prepared, check_classes, parameters_of};
use crate::hyper_parameters::HyperParameters;
use crate::networks::unet::{Sizes, Unet};
use crate::parallel;
use crate::random::{Purpose, Random};
use crate::start::{self, Weights};
use crate::tape::{Loss, Tape};

/// The share of images whose class is kept from the network, so that it can draw without one (Ho and Salimans 2022).
const WITHOUT_CLASS: f64 = 0.1;

/// What the shapes of a network do not say.
const NOTES: [&str; 6] =
    ["image_size", "num_timesteps", "num_groups", "num_heads", "noise_schedule", "prediction_type"];

struct Noise<'d> {
    data: &'d ImageDataset,
    /// Nothing where none are to be learned.
    classes: Option<Classes>,
    places: Places,
    network: Unet,
    /// The share of the image in the variance, for each timestep.
    shares: Vec<f64>,
    dropout: f32,
    augments: bool,
}

/// Reads the task.
pub(super) fn prepare<'d>(
    task: &TrainTask<'_>,
    data: &'d ImageDataset,
    start: Option<&Weights>,
) -> Result<Prepared<'d>> {
    let metadata = start::merged(task.metadata, start.map(noted).unwrap_or_default())?;
    let asked = HyperParameters(&metadata);
    check_images(asked, data)?;
    let places = Places::new(&data.parts);
    let wants_classes = asked.get("num_classes").is_some();
    let classes = wants_classes.then(|| classes(asked, data, start.is_some())).transpose()?;
    if let Some(Classes { names, labels }) = &classes {
        asked.agrees("num_classes", names.len(), "the dataset")?;
        check_classes(names, |place| labels[place as usize], &places)?;
    }
    match (asked.text("prediction_type")?, asked.text("noise_schedule")?) {
        (None | Some("epsilon"), None | Some("cosine")) => {}
        (None | Some("epsilon"), Some(other)) => {
            return Err(Error::invalid("metadata.noise_schedule", other, "must be `cosine`"));
        }
        (Some(other), _) => {
            return Err(Error::invalid("metadata.prediction_type", other, "must be `epsilon` for training"));
        }
    }
    let sizes = sizes(asked, data, classes.as_ref().map(|classes| classes.names.len()))?;
    let timesteps = asked.size_or("num_timesteps", 100_000, 1000)?;
    let mut parameters = parameters_of(task);
    let lesson = Noise {
        data,
        classes,
        places,
        network: Unet::new(sizes, &mut parameters),
        shares: cosine_shares(timesteps),
        dropout: task.settings.dropout as f32,
        augments: task.settings.augment,
    };
    Ok(Prepared { lesson: Box::new(lesson), parameters })
}

/// Returns the classes to be learned. Whoever measures a denoiser asks for classes by their places in the dataset, so those of the record
/// must be in the same order.
fn classes(asked: HyperParameters<'_>, data: &ImageDataset, has_start: bool) -> Result<Classes> {
    let classes = Classes::of_images(asked, data, has_start)?;
    if classes.names != data.classes {
        let rule = format!("the dataset has the classes {}, in this order", data.classes.join(", "));
        return Err(Error::invalid("metadata.labels", classes.names.join(", "), rule));
    }
    Ok(classes)
}

/// Returns what a version says of itself among the metadata of its weights, in the record's words.
fn noted(weights: &Weights) -> Vec<(&'static str, Value)> {
    let value = |text: &str| text.parse::<u64>().map_or_else(|_| text.into(), Value::from);
    NOTES.iter().filter_map(|name| Some((*name, value(weights.note(name)?)))).collect()
}

fn sizes(asked: HyperParameters<'_>, data: &ImageDataset, num_classes: Option<usize>) -> Result<Sizes> {
    let base_channels = asked.size_or("base_channels", 1024, 32)?;
    let num_groups = asked.size_or("num_groups", 4096, 8)?;
    asked.divides("num_groups", num_groups, base_channels, "`base_channels`")?;
    if !base_channels.is_multiple_of(2) {
        return Err(Error::invalid("metadata.base_channels", base_channels, "must be even: half of them are sines"));
    }
    let multipliers = match asked.sizes("channel_multipliers", 64, 12)? {
        Some(multipliers) => multipliers,
        // Three levels, or as many as the sides can be halved for.
        None => [1, 2, 2].into_iter().take(1 + data.height.trailing_zeros().min(2) as usize).collect(),
    };
    let halvings = 1_usize << (multipliers.len() - 1);
    if !data.height.is_multiple_of(halvings) {
        let found = format!("{multipliers:?}");
        let rule = format!("images of {} pixels cannot be halved {} times", data.height, multipliers.len() - 1);
        return Err(Error::invalid("metadata.channel_multipliers", found, rule));
    }
    let levels: Vec<usize> = multipliers.iter().map(|multiplier| base_channels * multiplier).collect();
    let num_heads = asked.size("num_heads", 4096)?;
    let last = levels.last().copied().unwrap_or(base_channels);
    if let Some(heads) = num_heads {
        asked.divides("num_heads", heads, last, "the channels of the last level")?;
    } else if !last.is_multiple_of((last / 64).max(1)) {
        let rule = format!("must be said where 64 does not divide the channels of the last level, which are {last}");
        return Err(Error::invalid("metadata.num_heads", "missing", rule));
    }
    Ok(Sizes {
        image_size: data.height,
        image_channels: data.channels,
        base_channels,
        time_emb_dim: asked.size_or("time_emb_dim", 65_536, 4 * base_channels)?,
        num_classes,
        num_groups,
        num_heads,
        levels,
        blocks: asked.size_or("num_res_blocks", 16, 2)?,
        has_level_attention: asked.flag("attention")?.unwrap_or(true),
    })
}

impl Lesson for Noise<'_> {
    fn examples(&self, part: SplitPart) -> usize {
        self.places.of(part).len()
    }

    fn loss(&self, tape: &mut Tape<'_>, batch: &Batch<'_>) -> Loss {
        let &ImageDataset { height, width, channels, .. } = self.data;
        let length = height * width * channels;
        let count = batch.places.len();
        let is_training = tape.is_training();
        // On the validation part an image has the same noise in every measurement, so that measurements can be compared.
        let random = |image: usize| match is_training {
            true => {
                let [step, pass] = batch.random_places;
                Random::new(batch.seed, Purpose::Noise, [step, pass, image as u64])
            }
            false => Random::new(batch.seed, Purpose::ValidationNoise, [u64::from(batch.places[image]), 0]),
        };
        let mut timesteps = Vec::with_capacity(count);
        let mut classes = Vec::with_capacity(count);
        let mut rows = Vec::with_capacity(count);
        for (image, place) in batch.places.iter().enumerate() {
            let place = self.places.of(batch.part)[*place as usize] as usize;
            let mut random = random(image);
            timesteps.push(random.below(self.shares.len()));
            let is_without = random.share() < WITHOUT_CLASS && is_training;
            // The number of classes stands for none.
            classes.extend(self.classes.as_ref().map(|Classes { names, labels }| match is_without {
                true => names.len() as u32,
                false => labels[place],
            }));
            let is_mirrored = self.augments && is_training && random.below(2) == 1;
            rows.push((place, is_mirrored, random));
        }
        let (mut noisy, mut noise) = (tape.buffer(count * length), tape.buffer(count * length));
        parallel::each_piece(&mut noise, length, |image, noise| rows[image].2.clone().fill_normal(noise, 1.0));
        let of_noise = &noise;
        parallel::each_piece(&mut noisy, length, |image, noisy| {
            let (place, is_mirrored, _) = rows[image];
            let share = self.shares[timesteps[image]];
            let (signal, rest) = (share.sqrt() as f32, (1.0 - share).sqrt() as f32);
            let pixels = &self.data.pixels[place * length..][..length];
            let noise = &of_noise[image * length..][..length];
            for (place, (to, noise)) in noisy.iter_mut().zip(noise).enumerate() {
                let (row, column, channel) = (place / (width * channels), place / channels % width, place % channels);
                let column = if is_mirrored { width - 1 - column } else { column };
                let number = f32::from(pixels[(row * width + column) * channels + channel]) / 127.5 - 1.0;
                *to = number.mul_add(signal, noise * rest);
            }
        });
        let images = tape.input(noisy, channels);
        let predicted = self.network.run(tape, images, &timesteps, &classes, self.dropout);
        let loss = tape.squared_error(predicted, &noise);
        tape.give(noise);
        // An image is what is counted, not a pixel.
        Loss { sum: loss.mean() * count as f64, count, correct: None }
    }

    fn notes(&self) -> Vec<(String, String)> {
        let sizes = &self.network.sizes;
        let mut notes = vec![
            ("format".to_owned(), "pt".to_owned()),
            ("image_size".to_owned(), sizes.image_size.to_string()),
            ("num_timesteps".to_owned(), self.shares.len().to_string()),
            ("num_groups".to_owned(), sizes.num_groups.to_string()),
            ("noise_schedule".to_owned(), "cosine".to_owned()),
            ("prediction_type".to_owned(), "epsilon".to_owned()),
        ];
        notes.extend(sizes.num_heads.map(|heads| ("num_heads".to_owned(), heads.to_string())));
        notes
    }

    fn metadata(&self) -> Map<String, Value> {
        let sizes = &self.network.sizes;
        let multipliers: Vec<usize> = sizes.levels.iter().map(|level| level / sizes.base_channels).collect();
        let mut metadata = Map::from_iter([
            ("image_size".to_owned(), sizes.image_size.into()),
            ("image_channels".to_owned(), sizes.image_channels.into()),
            ("base_channels".to_owned(), sizes.base_channels.into()),
            ("time_emb_dim".to_owned(), sizes.time_emb_dim.into()),
            ("num_timesteps".to_owned(), self.shares.len().into()),
            ("num_groups".to_owned(), sizes.num_groups.into()),
            ("noise_schedule".to_owned(), "cosine".into()),
            ("prediction_type".to_owned(), "epsilon".into()),
            ("channel_multipliers".to_owned(), json!(multipliers)),
            ("num_res_blocks".to_owned(), sizes.blocks.into()),
            ("attention".to_owned(), sizes.has_level_attention.into()),
        ]);
        if let Some(heads) = sizes.num_heads {
            metadata.insert("num_heads".into(), heads.into());
        }
        if let Some(Classes { names, .. }) = &self.classes {
            metadata.insert("num_classes".into(), names.len().into());
            metadata.insert("labels".into(), json!(names));
        }
        metadata
    }
}
