//! The network as a denoiser: what is asked is checked, batches are cut so that memory stays bounded.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use seedhouse_core::runtime::{Denoiser, DenoiserInfo, cosine_shares};
use seedhouse_core::{Error, Result};
use seedhouse_kernels::Pool;

use super::layout::Layout;
use super::settings::Settings;
use super::unet::{Unet, UnetBuffers};

/// Bytes of activations that images computed together may have: about what stays in the last cache.
const TOGETHER_BYTES: usize = 32 << 20;

/// A U-Net that computes on the threads of a pool.
pub(super) struct DiffusionModel {
    network: Unet,
    info: DenoiserInfo,
    /// How many images are computed together.
    together: usize,
    pool: Arc<Pool>,
    // One step runs at a time, so one set of buffers does.
    buffers: Mutex<UnetBuffers>,
    /// What they have grown to, for whoever must not wait for a step.
    buffer_bytes: AtomicUsize,
}

impl DiffusionModel {
    pub(super) fn new(network: Unet, layout: &Layout, settings: &Settings, pool: Arc<Pool>) -> DiffusionModel {
        let info = DenoiserInfo {
            channels: layout.image_channels,
            image_size: [settings.image_size; 2],
            signal_shares: cosine_shares(settings.num_timesteps),
            num_classes: layout.num_classes,
            prediction: settings.prediction,
        };
        let together = (TOGETHER_BYTES / layout.activation_bytes(settings.image_size).max(1)).max(1);
        DiffusionModel { network, info, together, pool, buffers: Mutex::default(), buffer_bytes: AtomicUsize::new(0) }
    }

    fn check(&self, images: &[f32], timesteps: &[usize], classes: &[Option<usize>]) -> Result<()> {
        let (count, length) = (timesteps.len(), self.info.image_length());
        if images.len() != count * length || classes.len() != count {
            let found = format!("{} numbers and {} classes", images.len(), classes.len());
            let rule =
                format!("must be {count} images of {length} numbers, and as many classes, for {count} timesteps");
            return Err(Error::invalid("images", found, rule));
        }
        let timestep_count = self.info.num_timesteps();
        if let Some(timestep) = timesteps.iter().find(|timestep| **timestep >= timestep_count) {
            let rule = format!("must be below {timestep_count}, the timesteps of the model");
            return Err(Error::invalid("timesteps", timestep, rule));
        }
        let class_count = self.info.num_classes.unwrap_or(0);
        match classes.iter().flatten().find(|class| **class >= class_count) {
            Some(class) => {
                let rule = format!("must be below {class_count}, the classes of the model");
                Err(Error::invalid("classes", class, rule))
            }
            None => Ok(()),
        }
    }
}

impl Denoiser for DiffusionModel {
    fn info(&self) -> &DenoiserInfo {
        &self.info
    }

    fn predict(&self, images: &[f32], timesteps: &[usize], classes: &[Option<usize>]) -> Result<Vec<f32>> {
        self.check(images, timesteps, classes)?;
        let length = self.info.image_length();
        let mut predicted = vec![0.0; images.len()];
        let parts = images.chunks(self.together * length).zip(predicted.chunks_mut(self.together * length));
        let asked = timesteps.chunks(self.together).zip(classes.chunks(self.together));
        for ((images, predicted), (timesteps, classes)) in parts.zip(asked) {
            // Others may compute between two parts.
            self.pool.step(|step| {
                let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
                buffers.images.reset(timesteps.len(), self.info.image_size, self.info.channels);
                buffers.images.numbers_mut().copy_from_slice(images);
                self.network.run(step, &mut buffers, timesteps, classes);
                predicted.copy_from_slice(buffers.images.numbers());
                self.buffer_bytes.store(buffers.bytes(), Ordering::Relaxed);
            });
        }
        Ok(predicted)
    }

    fn memory_bytes(&self) -> u64 {
        (self.network.bytes() + self.buffer_bytes.load(Ordering::Relaxed)) as u64
    }
}
