//! Drawing images with a diffusion model: from noise, step by step, to pictures.
//!
//! ```text
//! request ── plan     which timesteps, and what each of them does to images (DDPM, DDIM)
//!            noise    a source of noise for each sample
//!            guidance what is predicted with and without the class
//! drawing ── picture  from numbers to pixels and PNG files; several in a grid
//! ```
//!
//! A model draws for one request at a time; others wait in its queue. All samples of a request are computed together, and each is the same as if it were alone: its noise depends on the seed and on its
//! own number, and the numbers of an image are the same in every batch.

pub(crate) mod noise;
pub(crate) mod picture;
mod plan;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::Denoiser;
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use self::noise::Noise;
use self::picture::DrawnImage;
pub use self::plan::Sampler;
use self::plan::{Plan, Step};
use crate::batching::{Batcher, Joinable};
use crate::vision::labels::Labels;
use crate::{BatchSettings, BatchStatistics, Cancel, Patience};

/// The most samples of one request.
const MOST_SAMPLES: usize = 64;

/// The most pixels of all of them: as many as the largest image has.
const MOST_PIXELS: usize = 4096 * 4096;

/// Steps without a wish: more seldom make a difference that one sees.
const DEFAULT_STEPS: usize = 50;

const HIGHEST_GUIDANCE: f64 = 100.0;

/// What to draw.
#[derive(Debug, Clone)]
pub struct ImagineRequest {
    /// What is to be seen, of a model that was trained with classes; without it, anything.
    pub class: Option<ClassChoice>,
    /// How many images, from 1.
    pub samples: usize,
    /// How many timesteps are gone through, at most as many as the model was trained with; by default 50, or all where there are fewer.
    pub steps: Option<usize>,
    /// The same seed gives the same images.
    pub seed: u64,
    /// How one step leads to the next.
    pub sampler: Sampler,
    /// How much noise DDIM adds in each step, as a share of what DDPM adds; from 0, which adds none, to 1.
    pub eta: f64,
    /// How far predictions for the class are followed beyond those for no class: 1 takes them as they are. Without a class it has no
    /// effect.
    pub guidance_scale: f64,
    /// The side of images, where the caller believes to know it.
    pub image_size: Option<usize>,
    /// How long drawing may take, waiting included.
    pub timeout: Option<Duration>,
    /// Says that nobody waits for the images any more; looked at until drawing begins, as `on_step` is asked from then on.
    pub cancel: Cancel,
}

impl Default for ImagineRequest {
    fn default() -> ImagineRequest {
        ImagineRequest {
            class: None,
            samples: 1,
            steps: None,
            seed: 0,
            sampler: Sampler::Ddim,
            eta: 0.0,
            guidance_scale: 7.5,
            image_size: None,
            timeout: None,
            cancel: Cancel::default(),
        }
    }
}

/// A class of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassChoice {
    /// By its number.
    Id(usize),
    /// By its label.
    Name(String),
}

/// Images, and how they came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// As many as were asked for.
    pub images: Vec<DrawnImage>,
    /// The class that is to be seen.
    pub class: Option<usize>,
    /// How many timesteps were gone through.
    pub steps: usize,
    /// Whether the guidance scale had an effect.
    pub is_guided: bool,
    /// The part of the time in the queue of the model.
    pub queue_seconds: f64,
    /// Time for all steps.
    pub seconds: f64,
}

/// How far a drawing is.
#[derive(Debug, Clone, Copy)]
pub struct DrawingProgress<'d> {
    /// Steps that are done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// What the images will be, as far as can be told.
    expected: &'d [f32],
    sides: [usize; 2],
    /// Numbers of an image.
    length: usize,
}

impl DrawingProgress<'_> {
    /// Returns how many numbers all images have together.
    pub fn numbers(&self) -> usize {
        self.expected.len()
    }

    /// Returns what the images will be, as far as can be told now.
    pub fn previews(&self) -> Vec<DrawnImage> {
        picture::images(self.expected, self.sides, self.length)
    }
}

/// A diffusion model that is drawn with.
pub(crate) struct DiffusionPipeline {
    model_id: String,
    model: Arc<dyn Denoiser>,
    labels: Option<Labels>,
    queue: Batcher<Wish, Drawing>,
}

/// What stands in the queue for a request: its samples. Requests are not joined, since each has its own steps.
struct Wish {
    samples: usize,
}

impl Joinable for Wish {
    fn rows(&self) -> usize {
        self.samples
    }

    fn fits(&self, _other: &Wish) -> bool {
        false
    }
}

impl DiffusionPipeline {
    /// Reads the names of classes that the metadata declares.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a declaration breaks a rule, [`Error::Contradiction`] when there are more or fewer classes.
    pub(crate) fn new(
        model_id: &str,
        model: Arc<dyn Denoiser>,
        metadata: &Map<String, Value>,
        batching: BatchSettings,
    ) -> Result<Self> {
        let labels = Labels::of_metadata(metadata)?;
        if let Some(labels) = &labels {
            labels.check_count(model.info().num_classes.unwrap_or(0))?;
        }
        let queue = Batcher::new(model_id, batching.one_by_one());
        Ok(DiffusionPipeline { model_id: model_id.to_owned(), model, labels, queue })
    }

    pub(crate) fn class_names(&self) -> Option<&[String]> {
        self.labels.as_ref().map(Labels::all)
    }

    /// Returns what its queue has done so far.
    pub(crate) fn batch_statistics(&self) -> BatchStatistics {
        self.queue.statistics()
    }

    /// Returns what predicts.
    pub(crate) fn model(&self) -> &dyn Denoiser {
        self.model.as_ref()
    }

    /// Draws one image in one step.
    pub(crate) fn warm_up(&self) -> Result<()> {
        let request = ImagineRequest { steps: Some(1), ..ImagineRequest::default() };
        self.draw(&request, &mut |_| ControlFlow::Continue(())).map(drop)
    }

    /// Draws images when its turn has come, telling `on_step` after each step how far it is; breaking off cancels.
    ///
    /// # Errors
    /// Those of a request that does not fit the model; [`Error::Exhausted`] at once when too many wait, [`Error::DeadlineExceeded`] and
    /// [`Error::Cancelled`] while it waits and between steps.
    pub(crate) fn draw(
        &self,
        request: &ImagineRequest,
        on_step: &mut dyn FnMut(DrawingProgress<'_>) -> ControlFlow<()>,
    ) -> Result<Drawing> {
        let asked = Instant::now();
        let (plan, class) = (self.plan(request)?, self.class(request)?);
        let patience = Patience::new(request.timeout, request.cancel.clone());
        let on_step = RefCell::new(on_step);
        // Whoever leads computes its own item alone, in its own thread.
        let drawn = self.queue.compute(Wish { samples: request.samples }, &patience, &|_| {
            self.draw_now(request, &plan, class, asked, &mut **on_step.borrow_mut()).map(|drawing| vec![drawing])
        })?;
        Ok(Drawing { queue_seconds: drawn.queued.as_secs_f64(), ..drawn.output })
    }

    fn draw_now(
        &self,
        request: &ImagineRequest,
        plan: &Plan,
        class: Option<usize>,
        asked: Instant,
        on_step: &mut dyn FnMut(DrawingProgress<'_>) -> ControlFlow<()>,
    ) -> Result<Drawing> {
        let started = Instant::now();
        let guidance = class.map(|class| Guidance { class, scale: request.guidance_scale });
        let info = self.model.info();
        let length = info.image_length();
        let mut noises: Vec<Noise> =
            (0..request.samples).map(|sample| Noise::new(request.seed, sample as u64)).collect();
        let mut noise = |images: &mut [f32]| {
            noises.iter_mut().zip(images.chunks_exact_mut(length)).for_each(|(noise, image)| noise.fill(image));
        };
        let mut images = vec![0.0; request.samples * length];
        let is_late = || match request.timeout.filter(|timeout| asked.elapsed() >= *timeout) {
            None => Ok(()),
            Some(timeout) => {
                let what = format!("drawing with `{}`", self.model_id);
                Err(Error::DeadlineExceeded { what, seconds: timeout.as_secs_f64() })
            }
        };
        self.run(plan, guidance, &mut images, &mut noise, &mut |progress| {
            if on_step(progress).is_break() {
                return Err(Error::Cancelled);
            }
            if progress.step < progress.steps { is_late() } else { Ok(()) }
        })?;
        Ok(Drawing {
            images: picture::images(&images, info.image_size, length),
            class,
            steps: plan.steps.len(),
            is_guided: guidance.is_some_and(Guidance::needs_both),
            queue_seconds: 0.0,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Goes through all steps. `noise` gives what images begin with, then what steps add.
    fn run(
        &self,
        plan: &Plan,
        guidance: Option<Guidance>,
        images: &mut [f32],
        noise: &mut dyn FnMut(&mut [f32]),
        on_step: &mut dyn FnMut(DrawingProgress<'_>) -> Result<()>,
    ) -> Result<()> {
        let (info, steps) = (self.model.info(), plan.steps.len());
        noise(images);
        let mut added = vec![0.0; images.len()];
        for (number, step) in plan.steps.iter().enumerate() {
            let mut predicted = self.predict(images, step, guidance)?;
            if step.adds_noise() {
                noise(&mut added);
            }
            // What was predicted is not needed again, and becomes what the images will be.
            step.apply(info.prediction, images, &mut predicted, &added);
            on_step(DrawingProgress {
                step: number + 1,
                steps,
                expected: &predicted,
                sides: info.image_size,
                length: info.image_length(),
            })?;
        }
        Ok(())
    }

    /// Holds the request against the model.
    fn plan(&self, request: &ImagineRequest) -> Result<Plan> {
        let info = self.model.info();
        let pixels = info.image_size[0] * info.image_size[1];
        let most = (MOST_PIXELS / pixels.max(1)).clamp(1, MOST_SAMPLES);
        if !(1..=most).contains(&request.samples) {
            let rule = format!("must be from 1 to {most} for images of this size");
            return Err(Error::invalid("num_samples", request.samples, rule));
        }
        if let Some(size) = request.image_size.filter(|size| info.image_size != [*size; 2]) {
            let [height, width] = info.image_size;
            let rule = format!("must be left out or what `{}` draws, {height} x {width}", self.model_id);
            return Err(Error::invalid("image_size", size, rule));
        }
        let scale = request.guidance_scale;
        if !(0.0..=HIGHEST_GUIDANCE).contains(&scale) {
            let rule = format!("must be a number from 0 to {HIGHEST_GUIDANCE}");
            return Err(Error::invalid("guidance_scale", scale, rule));
        }
        let steps = request.steps.unwrap_or_else(|| info.num_timesteps().min(DEFAULT_STEPS));
        Plan::new(&info.signal_shares, steps, request.sampler, request.eta)
    }

    fn class(&self, request: &ImagineRequest) -> Result<Option<usize>> {
        let Some(choice) = &request.class else { return Ok(None) };
        let count = self.model.info().num_classes;
        let invalid = |value: &str, rule: String| Error::invalid("class", value, rule);
        let Some(count) = count else {
            let value = match choice {
                ClassChoice::Id(id) => id.to_string(),
                ClassChoice::Name(name) => name.clone(),
            };
            return Err(invalid(&value, format!("must be left out: `{}` was trained without classes", self.model_id)));
        };
        match choice {
            ClassChoice::Id(id) if *id < count => Ok(Some(*id)),
            ClassChoice::Id(id) => {
                Err(invalid(&id.to_string(), format!("must be below {count}, the number of classes")))
            }
            ClassChoice::Name(name) => {
                let found = self.labels.as_ref().and_then(|labels| labels.find(name));
                // A number on a command line is a number where no class has it as its name.
                let found = found.or_else(|| name.parse().ok().filter(|id| *id < count));
                found.map(Some).ok_or_else(|| {
                    invalid(
                        name,
                        format!("must be a label of the model, or a number below {count}, the number of classes"),
                    )
                })
            }
        }
    }

    /// Returns what is predicted of all images at a step, guided towards the class.
    fn predict(&self, images: &[f32], step: &Step, guidance: Option<Guidance>) -> Result<Vec<f32>> {
        let count = images.len() / self.model.info().image_length();
        let both = guidance.filter(|guidance| guidance.needs_both());
        let class = guidance.filter(|guidance| guidance.scale != 0.0).map(|guidance| guidance.class);
        let mut classes = vec![class; count];
        let mut predicted = match both {
            None => self.model.predict(images, &vec![step.timestep; count], &classes)?,
            Some(_) => {
                classes.resize(2 * count, None);
                let twice = [images, images].concat();
                self.model.predict(&twice, &vec![step.timestep; 2 * count], &classes)?
            }
        };
        let expected = classes.len() * self.model.info().image_length();
        if predicted.len() != expected {
            let found = predicted.len();
            return Err(Error::Internal(format!(
                "`{}` predicted {found} numbers instead of {expected}",
                self.model_id
            )));
        }
        if let Some(number) = predicted.iter().find(|number| !number.is_finite()) {
            let timestep = step.timestep;
            return Err(Error::Internal(format!("`{}` predicted {number} at timestep {timestep}", self.model_id)));
        }
        if let Some(Guidance { scale, .. }) = both {
            let (with, without) = predicted.split_at_mut(images.len());
            for (with, without) in with.iter_mut().zip(without) {
                let (of_class, of_none) = (f64::from(*with), f64::from(*without));
                *with = (of_none + scale * (of_class - of_none)) as f32;
            }
            predicted.truncate(images.len());
        }
        Ok(predicted)
    }
}

/// A class, and how far its predictions are followed (Ho and Salimans 2022).
#[derive(Debug, Clone, Copy)]
struct Guidance {
    class: usize,
    scale: f64,
}

impl Guidance {
    /// At 1 what is predicted without the class cancels out, at 0 what is predicted with it.
    fn needs_both(self) -> bool {
        self.scale != 1.0 && self.scale != 0.0
    }
}

#[cfg(test)]
mod tests;
