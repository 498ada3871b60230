//! Classes of images.

use seedhouse_core::dataset::{ImageDataset, SplitPart};
use seedhouse_core::training::TrainTask;
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::{Batch, Classes, Lesson, Places, Prepared, check_classes, parameters_of};
use crate::hyper_parameters::HyperParameters;
use crate::networks::cnn::{self, Cnn};
use crate::networks::vit::{self, Vit};
use crate::parallel;
use crate::random::{Purpose, Random};
use crate::tape::{Loss, Tape};

/// Images are moved by at most so many pixels where the settings ask for it.
const MOST_SHIFT: usize = 2;

enum Network {
    Vit(Vit),
    Cnn(Cnn),
}

struct Pictures<'d> {
    data: &'d ImageDataset,
    classes: Classes,
    places: Places,
    network: Network,
    /// Of each channel, from 0 to 255.
    mean: Vec<f32>,
    deviation: Vec<f32>,
    dropout: f32,
    smoothing: f32,
    augments: bool,
}

/// Reads the task.
pub(super) fn prepare<'d>(task: &TrainTask<'_>, data: &'d ImageDataset) -> Result<Prepared<'d>> {
    let asked = HyperParameters(task.metadata);
    check_images(asked, data)?;
    let places = Places::new(&data.parts);
    let classes = Classes::of_images(asked, data, task.start.is_some())?;
    check_classes(&classes.names, |place| classes.labels[place as usize], &places)?;
    asked.agrees("num_classes", data.classes.len(), "the dataset")?;
    let mut parameters = parameters_of(task);
    let network = match asked.text("model_type")?.unwrap_or("cnn") {
        "vit" => Network::Vit(Vit::new(vit_sizes(asked, data)?, &mut parameters)),
        "cnn" => Network::Cnn(Cnn::new(cnn_sizes(asked, data)?, &mut parameters)),
        other => return Err(Error::invalid("metadata.model_type", other, "must be `vit` or `cnn`")),
    };
    let (mean, deviation) = match said_scaling(asked, data.channels)? {
        Some(said) => said,
        None if task.start.is_some() => {
            let rule = "`mean` and `std` of the version to begin with must be said";
            return Err(Error::invalid("metadata.preprocess", "missing", rule));
        }
        None => statistics(data, &places.train),
    };
    let settings = task.settings;
    let lesson = Pictures {
        data,
        classes,
        places,
        network,
        mean,
        deviation,
        dropout: settings.dropout as f32,
        smoothing: settings.label_smoothing as f32,
        augments: settings.augment,
    };
    Ok(Prepared { lesson: Box::new(lesson), parameters })
}

/// Holds images against what the record says of them.
pub(super) fn check_images(asked: HyperParameters<'_>, data: &ImageDataset) -> Result<()> {
    if data.height != data.width {
        let found = format!("{} x {}", data.width, data.height);
        return Err(Error::invalid(
            "images",
            found,
            "must be as high as wide: the networks that are trained take squares",
        ));
    }
    asked.agrees("image_size", data.height, "each image of the dataset")?;
    asked.agrees("image_channels", data.channels, "each image of the dataset")?;
    let length = data.height * data.width * data.channels;
    if length == 0 || data.pixels.len() != data.labels.len() * length || data.parts.len() != data.labels.len() {
        let found = format!("{} numbers, {} labels, {} parts", data.pixels.len(), data.labels.len(), data.parts.len());
        return Err(Error::invalid("images", found, format!("must have {length} numbers, a label and a part each")));
    }
    Ok(())
}

fn vit_sizes(asked: HyperParameters<'_>, data: &ImageDataset) -> Result<vit::Sizes> {
    let image_size = data.height;
    // Patches of about a seventh of a side, as there are 14 in the paper's images of 224 pixels.
    let usual = (1..=image_size)
        .filter(|side| image_size.is_multiple_of(*side))
        .min_by_key(|side| (image_size / side).abs_diff(7));
    let patch_size = asked.size_or("patch_size", image_size, usual.unwrap_or(1))?;
    asked.divides("patch_size", patch_size, image_size, "the size of the images")?;
    let width = asked.size_or("base_channels", 4096, 64)?;
    let heads = asked.size_or("num_heads", 256, (width / 32).max(1))?;
    asked.divides("num_heads", heads, width, "`base_channels`")?;
    Ok(vit::Sizes {
        image_size,
        image_channels: data.channels,
        patch_size,
        num_classes: data.classes.len(),
        width,
        heads,
        layers: asked.size_or("num_layers", 64, 4)?,
        inner: asked.size_or("d_ff", 16_384, 4 * width)?,
    })
}

fn cnn_sizes(asked: HyperParameters<'_>, data: &ImageDataset) -> Result<cnn::Sizes> {
    let most = (data.height.ilog2() as usize).clamp(1, 12);
    if data.height < 4 {
        return Err(Error::invalid("images", data.height, "must have sides of at least 4 pixels for this network"));
    }
    let layers = asked.size_or("num_layers", most, 3.min(most))?;
    if layers < 2 {
        return Err(Error::invalid(
            "metadata.num_layers",
            layers,
            format!("must be from 2 to {most} for images of this size"),
        ));
    }
    let base = asked.size_or("base_channels", 1024, 32)?;
    let outputs = (0..layers).map(|layer| base << layer.min(4));
    let channels = std::iter::once(data.channels).chain(outputs).collect();
    Ok(cnn::Sizes { image_size: data.height, channels, num_classes: data.classes.len() })
}

/// Returns the mean and the deviation of each channel that the record says, if it does.
fn said_scaling(asked: HyperParameters<'_>, channels: usize) -> Result<Option<(Vec<f32>, Vec<f32>)>> {
    let Some(declared) = asked.get("preprocess") else { return Ok(None) };
    let numbers = |name: &str, what: &str, least: f32| {
        let found = declared.get(name).unwrap_or(&Value::Null);
        let number = |number: &Value| {
            number.as_f64().map(|number| number as f32).filter(|number| number.is_finite() && *number >= least)
        };
        let numbers = found.as_array().and_then(|all| all.iter().map(number).collect::<Option<Vec<f32>>>());
        let rule = || format!("must be {what}, one for each channel of the images, which are {channels}");
        let invalid = || Error::invalid(format!("metadata.preprocess.{name}"), found, rule());
        numbers.filter(|numbers| numbers.len() == channels).ok_or_else(invalid)
    };
    Ok(Some((numbers("mean", "numbers", f32::MIN)?, numbers("std", "numbers above 0", f32::MIN_POSITIVE)?)))
}

/// Returns the mean and the deviation of each channel in the training part.
fn statistics(data: &ImageDataset, places: &[u32]) -> (Vec<f32>, Vec<f32>) {
    let length = data.height * data.width * data.channels;
    let (mut sums, mut squares) = (vec![0_u64; data.channels], vec![0_u64; data.channels]);
    for place in places {
        let image = &data.pixels[*place as usize * length..][..length];
        for pixel in image.chunks_exact(data.channels) {
            for (channel, number) in pixel.iter().enumerate() {
                sums[channel] += u64::from(*number);
                squares[channel] += u64::from(*number) * u64::from(*number);
            }
        }
    }
    let count = (places.len() * data.height * data.width).max(1) as f64;
    let mean: Vec<f64> = sums.iter().map(|sum| *sum as f64 / count).collect();
    let deviations =
        squares.iter().zip(&mean).map(|(square, mean)| (*square as f64 / count - mean * mean).max(0.0).sqrt());
    // Rounded, so that the record has the very numbers; images of one colour are only moved.
    let rounded = |number: f64| (number * 1000.0).round() / 1000.0;
    let deviation = deviations.map(|deviation| if deviation < 0.5 { 1.0 } else { rounded(deviation) as f32 }).collect();
    (mean.iter().map(|mean| rounded(*mean) as f32).collect(), deviation)
}

impl Pictures<'_> {
    /// Writes an image as the network takes it, channels side by side; shifted and mirrored at random in training, if asked for.
    fn write(&self, place: u32, random: Option<Random>, output: &mut [f32]) {
        let &ImageDataset { height, width, channels, .. } = self.data;
        let length = height * width * channels;
        let image = &self.data.pixels[place as usize * length..][..length];
        let normal = |number: u8, channel: usize| (f32::from(number) - self.mean[channel]) / self.deviation[channel];
        let Some(mut random) = random else {
            let numbers = image.iter().enumerate();
            output.iter_mut().zip(numbers).for_each(|(to, (place, number))| *to = normal(*number, place % channels));
            return;
        };
        let [down, right] = [(); 2].map(|()| random.below(2 * MOST_SHIFT + 1));
        let is_mirrored = random.below(2) == 1;
        for (place, to) in output.iter_mut().enumerate() {
            let (channel, pixel) = (place % channels, place / channels);
            let column = if is_mirrored { width - 1 - pixel % width } else { pixel % width };
            let from_row = (pixel / width + down).checked_sub(MOST_SHIFT).filter(|row| *row < height);
            let from_column = (column + right).checked_sub(MOST_SHIFT).filter(|column| *column < width);
            // What comes in from beside the image is black.
            let number =
                from_row.zip(from_column).map_or(0, |(row, column)| image[(row * width + column) * channels + channel]);
            *to = normal(number, channel);
        }
    }
}

impl Lesson for Pictures<'_> {
    fn examples(&self, part: SplitPart) -> usize {
        self.places.of(part).len()
    }

    fn loss(&self, tape: &mut Tape<'_>, batch: &Batch<'_>) -> Loss {
        let &ImageDataset { height, width, channels, .. } = self.data;
        let length = height * width * channels;
        let count = batch.places.len();
        let places: Vec<u32> = batch.places.iter().map(|place| self.places.of(batch.part)[*place as usize]).collect();
        let augments = self.augments && tape.is_training();
        let random = |image: usize| {
            augments.then(|| {
                let [step, pass] = batch.random_places;
                Random::new(batch.seed, Purpose::Augmentation, [step, pass, image as u64])
            })
        };
        let mut numbers = tape.buffer(count * length);
        parallel::each_piece(&mut numbers, length, |image, output| match &self.network {
            Network::Cnn(_) => self.write(places[image], random(image), output),
            Network::Vit(vit) => {
                let mut whole = vec![0.0; length];
                self.write(places[image], random(image), &mut whole);
                vit.cut(&whole, output);
            }
        });
        let labels: Vec<u32> = places.iter().map(|place| self.classes.labels[*place as usize]).collect();
        let (features, classifier) = match &self.network {
            Network::Cnn(cnn) => {
                let pixels = tape.input(numbers, channels);
                (cnn.run(tape, pixels, count, self.dropout), cnn.classifier())
            }
            Network::Vit(vit) => {
                let patches = tape.input(numbers, vit.sizes.patch_length());
                (vit.run(tape, patches, count, self.dropout), vit.classifier())
            }
        };
        // What is measured is measured plainly.
        let smoothing = if tape.is_training() { self.smoothing } else { 0.0 };
        tape.classify(features, classifier, &labels, smoothing)
    }

    fn metadata(&self) -> Map<String, Value> {
        let size = self.data.height;
        let mut metadata = Map::from_iter([
            ("image_size".to_owned(), size.into()),
            ("image_channels".to_owned(), self.data.channels.into()),
            ("num_classes".to_owned(), self.classes.names.len().into()),
            ("labels".to_owned(), json!(self.classes.names)),
        ]);
        match &self.network {
            Network::Vit(vit) => {
                metadata.insert("model_type".into(), "vit".into());
                metadata.insert("base_channels".into(), vit.sizes.width.into());
                metadata.insert("num_layers".into(), vit.sizes.layers.into());
                metadata.insert("num_heads".into(), vit.sizes.heads.into());
                metadata.insert("patch_size".into(), vit.sizes.patch_size.into());
                metadata.insert("d_ff".into(), vit.sizes.inner.into());
            }
            Network::Cnn(cnn) => {
                metadata.insert("model_type".into(), "cnn".into());
                metadata.insert("base_channels".into(), cnn.sizes.channels[1].into());
                metadata.insert("num_layers".into(), (cnn.sizes.channels.len() - 1).into());
            }
        }
        let short = |numbers: &[f32]| -> Value {
            // The shortest text that means the same f32: 72.94, not 72.94000244140625.
            numbers.iter().map(|number| number.to_string().parse::<f64>().unwrap_or(f64::from(*number))).collect()
        };
        let preprocess = json!({
            "size": [size, size],
            "filter": "bilinear",
            "mean": short(&self.mean),
            "std": short(&self.deviation),
        });
        metadata.insert("preprocess".into(), preprocess);
        metadata
    }
}
