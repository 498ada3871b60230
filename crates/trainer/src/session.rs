//! The loop: batches, updates, measurements, checkpoints.

use std::time::{Duration, Instant};

use seedhouse_core::dataset::SplitPart;
use seedhouse_core::training::{TrainReport, TrainSettings, TrainWatch};
use seedhouse_core::{Error, ProgressUnit, Result};

use crate::arena::Arena;
use crate::checkpoint::{Checkpoints, Progress, State};
use crate::lessons::{Batch, Lesson};
use crate::optimizer::{Optimizer, rate};
use crate::parameters::Parameters;
use crate::random::{Purpose, Random};
use crate::tape::{Loss, Mode, Settings, Tape};

/// How long training runs where neither epochs nor steps are said.
const USUAL_EPOCHS: u32 = 10;

/// Time between two reports.
const BETWEEN_REPORTS: Duration = Duration::from_millis(400);

/// How many updates there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) total_steps: u64,
    pub(crate) steps_per_epoch: u64,
    pub(crate) evaluate_every: u64,
}

impl Plan {
    /// Counts updates.
    ///
    /// # Errors
    /// [`Error::Invalid`] when an update needs more examples than there are.
    pub(crate) fn new(settings: &TrainSettings, examples: usize) -> Result<Plan> {
        let update = settings.batch_size as usize * settings.gradient_accumulation_steps as usize;
        if examples < update {
            let rule = format!(
                "times `gradient_accumulation_steps` must be at most {examples}, the examples of the training part"
            );
            return Err(Error::invalid(
                "batch_size",
                format!("{} (x {})", settings.batch_size, settings.gradient_accumulation_steps),
                rule,
            ));
        }
        let steps_per_epoch = (examples / update) as u64;
        let of_epochs = |epochs: u32| u64::from(epochs) * steps_per_epoch;
        let total_steps = match (settings.epochs, settings.steps) {
            (None, None) => of_epochs(USUAL_EPOCHS),
            (Some(epochs), None) => of_epochs(epochs),
            (None, Some(steps)) => steps,
            (Some(epochs), Some(steps)) => of_epochs(epochs).min(steps),
        };
        if total_steps == 0 {
            return Err(Error::invalid("steps", 0, "there must be at least one update"));
        }
        Ok(Plan {
            total_steps,
            steps_per_epoch,
            evaluate_every: settings.evaluate_every.unwrap_or(steps_per_epoch).max(1),
        })
    }
}

/// Training of one task.
pub(crate) struct Session<'s> {
    pub(crate) lesson: &'s dyn Lesson,
    pub(crate) settings: &'s TrainSettings,
    pub(crate) plan: Plan,
    pub(crate) threads: usize,
    pub(crate) watch: &'s dyn TrainWatch,
    pub(crate) checkpoints: &'s Checkpoints,
    pub(crate) parameters: Parameters,
    pub(crate) optimizer: Optimizer,
    pub(crate) state: State,
    /// The weights that are kept; nothing while nothing was measured.
    pub(crate) best: Vec<Vec<f32>>,
    pub(crate) arena: Arena,
}

/// What is known between two reports.
struct Pace {
    since: Instant,
    examples: usize,
    loss: Loss,
    /// The last report's speed, for when there is nothing newer.
    speed: f64,
}

impl Pace {
    fn new(speed: f64) -> Pace {
        Pace { since: Instant::now(), examples: 0, loss: Loss::default(), speed }
    }
}

impl Session<'_> {
    /// Trains to the end, or until nothing improves. Returns the last report and whether it ended early.
    ///
    /// # Errors
    /// As [`Trainer::train`](seedhouse_core::training::Trainer::train).
    pub(crate) fn run(&mut self) -> Result<(TrainReport, bool)> {
        self.watch.stage("training", Some(self.plan.total_steps), ProgressUnit::Items);
        self.watch.advance(self.state.step);
        let mut order = (u64::MAX, Vec::new());
        let mut pace = Pace::new(0.0);
        let mut saved = self.state.step;
        // What was ended while it measured measures again.
        let mut ends_early = match self.is_due() {
            true => self.measure_or_save()?,
            false => self.is_over(),
        };
        while self.state.step < self.plan.total_steps && !ends_early {
            if self.watch.is_cancelled() {
                self.save()?;
                return Err(Error::Cancelled);
            }
            let loss = self.step(&mut order)?;
            pace.loss.add(loss);
            pace.examples += self.examples_of_update();
            self.state.since.add(loss);
            self.watch.advance(1);
            let step = self.state.step;
            if self.is_time() {
                // A report that stays speaks of all updates since the last one, whenever others were made in between, so that it is the
                // same after an interruption.
                let loss = std::mem::take(&mut self.state.since);
                self.state.report = self.report(&mut pace, loss);
                if self.is_due() {
                    ends_early = self.measure_or_save()?;
                    pace.since = Instant::now();
                }
                self.watch.measured(&self.state.report);
            } else if pace.since.elapsed() > BETWEEN_REPORTS {
                let loss = pace.loss;
                self.watch.measured(&self.report(&mut pace, loss));
            }
            if step - saved >= self.settings.checkpoint_every {
                self.save()?;
                saved = step;
            }
        }
        Ok((self.state.report.clone(), ends_early && self.state.step < self.plan.total_steps))
    }

    /// Returns whether a span between two measurements has just ended.
    fn is_time(&self) -> bool {
        let step = self.state.step;
        step > 0 && (step == self.plan.total_steps || step.is_multiple_of(self.plan.evaluate_every))
    }

    /// Returns whether the weights are to be measured now, and were not yet.
    fn is_due(&self) -> bool {
        let was_measured = self.state.history.last().is_some_and(|last| last.step == self.state.step);
        self.is_time() && !was_measured && self.lesson.examples(SplitPart::Validation) > 0
    }

    /// Measures; when the work is cancelled meanwhile, writes a checkpoint from which it is done again.
    fn measure_or_save(&mut self) -> Result<bool> {
        let measured = self.measure();
        if matches!(measured, Err(Error::Cancelled)) {
            self.save()?;
        }
        measured
    }

    fn examples_of_update(&self) -> usize {
        self.settings.batch_size as usize * self.settings.gradient_accumulation_steps as usize
    }

    fn is_over(&self) -> bool {
        let unimproved = self.state.unimproved;
        self.settings.early_stopping_patience.is_some_and(|patience| unimproved > 0 && unimproved >= patience)
    }

    /// Makes one update.
    fn step(&mut self, order: &mut (u64, Vec<u32>)) -> Result<Loss> {
        let step = self.state.step;
        let epoch = step / self.plan.steps_per_epoch;
        if order.0 != epoch {
            let mut random = Random::new(self.settings.seed, Purpose::Order, [epoch, 0]);
            *order = (epoch, random.order(self.lesson.examples(SplitPart::Train)));
        }
        let passes = u64::from(self.settings.gradient_accumulation_steps);
        let batch_size = self.settings.batch_size as usize;
        let first = (step % self.plan.steps_per_epoch) as usize * self.examples_of_update();
        self.parameters.forget_gradients();
        let mut loss = Loss::default();
        for pass in 0..passes {
            let places = &order.1[first + pass as usize * batch_size..][..batch_size];
            let batch =
                Batch { part: SplitPart::Train, places, epoch, seed: self.settings.seed, random_places: [step, pass] };
            let settings = Settings {
                mode: Mode::Training { seed: self.settings.seed, step, part: pass },
                threads: self.threads,
                precision: self.settings.precision,
                gradient_scale: 1.0 / passes as f32,
            };
            let mut tape = Tape::new(&mut self.parameters, &mut self.arena, settings);
            let of_pass = self.lesson.loss(&mut tape, &batch);
            if !of_pass.sum.is_finite() {
                return Err(Error::Diverged { step: step + 1, loss: of_pass.mean() });
            }
            tape.backward();
            loss.add(of_pass);
        }
        let norm = self.optimizer.update(&mut self.parameters, self.settings, step + 1, self.plan.total_steps);
        if !norm.is_finite() {
            return Err(Error::Diverged { step: step + 1, loss: norm });
        }
        self.state.step += 1;
        Ok(loss)
    }

    fn report(&self, pace: &mut Pace, loss: Loss) -> TrainReport {
        let last = self.state.history.last();
        let seconds = pace.since.elapsed().as_secs_f64();
        let speed = if pace.examples > 0 { pace.examples as f64 / seconds.max(1e-9) } else { pace.speed };
        *pace = Pace::new(speed);
        TrainReport {
            step: self.state.step,
            total_steps: self.plan.total_steps,
            epoch: self.state.step / self.plan.steps_per_epoch,
            loss: loss.mean(),
            learning_rate: rate(self.settings, self.state.step, self.plan.total_steps),
            examples_per_second: speed,
            validation_loss: last.and_then(|last| last.validation_loss),
            validation_accuracy: last.and_then(|last| last.validation_accuracy),
        }
    }

    /// Measures on the validation part, keeps the weights where they are the best so far, and returns whether training should end.
    fn measure(&mut self) -> Result<bool> {
        let loss = self.validate()?;
        self.state.report.validation_loss = Some(loss.mean());
        self.state.report.validation_accuracy = loss.correct.map(|correct| correct as f64 / loss.count.max(1) as f64);
        self.state.history.push(self.state.report.clone());
        if !loss.sum.is_finite() {
            return Err(Error::Diverged { step: self.state.step, loss: loss.mean() });
        }
        if self.state.best_loss.is_none_or(|best| loss.mean() < best) {
            self.state.best_loss = Some(loss.mean());
            self.state.best_step = self.state.step;
            self.state.unimproved = 0;
            self.best = self.kept_weights();
        } else {
            self.state.unimproved += 1;
        }
        Ok(self.is_over())
    }

    /// Returns the weights that a model would be made of now: the averages, where there are any.
    pub(crate) fn kept_weights(&self) -> Vec<Vec<f32>> {
        match self.optimizer.averages.is_empty() {
            true => self.parameters.list.iter().map(|parameter| parameter.values.clone()).collect(),
            false => self.optimizer.averages.clone(),
        }
    }

    /// Exchanges the weights and their averages, where there are any.
    fn exchange(&mut self) {
        let averages = self.optimizer.averages.iter_mut();
        self.parameters
            .list
            .iter_mut()
            .zip(averages)
            .for_each(|(parameter, average)| std::mem::swap(&mut parameter.values, average));
    }

    fn validate(&mut self) -> Result<Loss> {
        self.exchange();
        let loss = self.validate_with_these();
        self.exchange();
        loss
    }

    fn validate_with_these(&mut self) -> Result<Loss> {
        let places: Vec<u32> = (0..self.lesson.examples(SplitPart::Validation) as u32).collect();
        let mut loss = Loss::default();
        for places in places.chunks(self.settings.batch_size as usize) {
            self.watch.check()?;
            let batch = Batch {
                part: SplitPart::Validation,
                places,
                epoch: 0,
                seed: self.settings.seed,
                random_places: [0, 0],
            };
            let settings = Settings {
                mode: Mode::Evaluation,
                threads: self.threads,
                precision: self.settings.precision,
                gradient_scale: 1.0,
            };
            let mut tape = Tape::new(&mut self.parameters, &mut self.arena, settings);
            loss.add(self.lesson.loss(&mut tape, &batch));
        }
        Ok(loss)
    }

    fn save(&self) -> Result<()> {
        let Session { state, parameters, optimizer, best, .. } = self;
        self.checkpoints.write(&Progress { state, parameters, optimizer, best })?;
        self.watch.milestone();
        Ok(())
    }
}
