//! How well a diffusion model tells noise from image: the loss that it was trained for (Ho et al. 2020, equation 14), from noise and
//! timesteps that depend on the seed and on the number of the image alone.

use seedhouse_core::runtime::{DenoiserInfo, Prediction};
use seedhouse_core::{Error, Progress, Result};

use crate::Slot;
use crate::diffusion::noise::Noise;

/// Images that are computed together.
const IMAGES_TOGETHER: usize = 16;

/// The fractional part of the golden ratio: its multiples spread evenly over timesteps.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Images, and what they show.
#[derive(Debug, Clone, Copy)]
pub struct DenoisingExamples<'e> {
    /// Rows and columns.
    pub sides: [usize; 2],
    /// Numbers of a pixel.
    pub channels: usize,
    /// Numbers from 0 to 255: pixels row by row, channels side by side.
    pub pixels: &'e [u8],
    /// The class of each image; those of a model without classes are not asked for.
    pub classes: &'e [usize],
    /// Begins the noise.
    pub seed: u64,
}

/// How well noise was told from image.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DenoisingScore {
    /// Images.
    pub images: u64,
    /// The sum of the mean squared errors of their numbers.
    pub squared_error: f64,
}

impl DenoisingScore {
    /// Returns the mean squared error of a number; `None` without images.
    pub fn loss(&self) -> Option<f64> {
        (self.images > 0).then(|| self.squared_error / self.images as f64)
    }
}

impl Slot {
    /// Scores predictions for noisy images. Counts images as progress.
    ///
    /// # Errors
    /// [`Error::WrongTask`] when this is not a diffusion model; [`Error::Invalid`] for images of another size, with both;
    /// [`Error::Cancelled`].
    pub fn score_denoising(&self, examples: &DenoisingExamples<'_>, progress: &dyn Progress) -> Result<DenoisingScore> {
        let model = self.denoiser()?;
        let info = model.info();
        check(info, examples)?;
        let (length, mut score) = (info.image_length(), DenoisingScore::default());
        let images = examples.pixels.chunks_exact(length).zip(examples.classes).enumerate();
        let images: Vec<(usize, (&[u8], &usize))> = images.collect();
        for together in images.chunks(IMAGES_TOGETHER) {
            progress.check()?;
            let (mut noisy, mut right, mut timesteps, mut classes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (number, (pixels, class)) in together {
                let timestep = timestep(*number, info.num_timesteps());
                let mut noise = vec![0.0; length];
                Noise::new(examples.seed, *number as u64).fill(&mut noise);
                add_noise(info, timestep, pixels, &noise, &mut noisy, &mut right);
                timesteps.push(timestep);
                classes.push(info.num_classes.map(|_| **class));
            }
            let predicted = model.predict(&noisy, &timesteps, &classes)?;
            let squared = predicted.iter().zip(&right).map(|(one, other)| f64::from(one - other).powi(2));
            score.squared_error += squared.sum::<f64>() / length as f64;
            score.images += together.len() as u64;
            progress.advance(together.len() as u64);
        }
        Ok(score)
    }
}

fn check(info: &DenoiserInfo, examples: &DenoisingExamples<'_>) -> Result<()> {
    let (wanted, found) = ((info.image_size, info.channels), (examples.sides, examples.channels));
    if wanted != found {
        let shown = |([height, width], channels): ([usize; 2], usize)| format!("{height} x {width} x {channels}");
        return Err(Error::invalid("dataset", shown(found), format!("must have images of {}", shown(wanted))));
    }
    let out_of_range = |class: &&usize| info.num_classes.is_some_and(|count| **class >= count);
    match examples.classes.iter().find(out_of_range) {
        Some(class) => Err(Error::invalid("class", class, "is none that the model was trained with")),
        None => Ok(()),
    }
}

fn timestep(number: usize, count: usize) -> usize {
    let place = (number as f64 + 0.5) * GOLDEN;
    (((place - place.floor()) * count as f64) as usize).min(count.saturating_sub(1))
}

/// Adds the noisy image, and what is to be predicted of it.
fn add_noise(
    info: &DenoiserInfo,
    timestep: usize,
    pixels: &[u8],
    noise: &[f32],
    noisy: &mut Vec<f32>,
    right: &mut Vec<f32>,
) {
    let share = info.signal_shares[timestep];
    let (of_image, of_noise) = (share.sqrt() as f32, (1.0 - share).sqrt() as f32);
    for (pixel, noise) in pixels.iter().zip(noise) {
        let image = f32::from(*pixel) / 127.5 - 1.0;
        noisy.push(of_image * image + of_noise * noise);
        right.push(match info.prediction {
            Prediction::Noise => *noise,
            Prediction::Image => image,
            Prediction::Velocity => of_image * noise - of_noise * image,
        });
    }
}
