//! The port of diffusion models: noisy images in, what the noise is out.

use crate::Result;

/// A diffusion model over pixels. How images are drawn with it is the engine's: schedules of steps, samplers, noise.
pub trait Denoiser: Send + Sync {
    /// Returns what the engine must know to draw with the model.
    fn info(&self) -> &DenoiserInfo;

    /// Predicts for several images at once: for each its numbers (pixels row by row, the channels of a pixel side by side), how noisy
    /// it is (a timestep below [`num_timesteps`](DenoiserInfo::num_timesteps), 0 the least noisy), and the class it is to show.
    /// `None` is no class, the only choice for a model without classes.
    ///
    /// The numbers of an image are the same in every batch.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) naming what does not fit, with both values.
    fn predict(&self, images: &[f32], timesteps: &[usize], classes: &[Option<usize>]) -> Result<Vec<f32>>;

    /// Returns the bytes that the model holds between calls. Cheap: it is asked often.
    fn memory_bytes(&self) -> u64;
}

/// What the engine must know about a diffusion model.
#[derive(Debug, Clone, PartialEq)]
pub struct DenoiserInfo {
    /// Numbers of a pixel: 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// Rows of an image, and pixels of a row.
    pub image_size: [usize; 2],
    /// For each timestep the share of the image in the variance of what is seen, the rest being noise: above 0, below 1, and falling.
    pub signal_shares: Vec<f64>,
    /// How many classes the model was trained with; `None` for one without.
    pub num_classes: Option<usize>,
    /// What is predicted.
    pub prediction: Prediction,
}

impl DenoiserInfo {
    /// Returns how many timesteps the model was trained with.
    pub fn num_timesteps(&self) -> usize {
        self.signal_shares.len()
    }

    /// Returns how many numbers an image has.
    pub fn image_length(&self) -> usize {
        self.image_size[0] * self.image_size[1] * self.channels
    }
}

/// What a model predicts of a noisy image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction {
    /// The noise in it (Ho et al. 2020).
    Noise,
    /// The image without noise.
    Image,
    /// `sqrt(share) * noise - sqrt(1 - share) * image` (Salimans and Ho 2022).
    Velocity,
}

impl Prediction {
    /// Every kind.
    pub const ALL: [Prediction; 3] = [Prediction::Noise, Prediction::Image, Prediction::Velocity];

    /// Returns the name in records, which is that of diffusers' `prediction_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Prediction::Noise => "epsilon",
            Prediction::Image => "sample",
            Prediction::Velocity => "v_prediction",
        }
    }
}
