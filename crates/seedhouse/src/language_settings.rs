//! How language models are computed: options that the commands share which load some.

use clap::{Args, ValueEnum};
use seedhouse_core::{Error, Result};
use seedhouse_native::{ActivationPrecision, NativeOptions, Pinning, PlanOptions, PoolOptions, WeightPrecision};

/// More spinning threads than any processor has cores would only wait for each other.
const MOST_THREADS: usize = 1024;

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "How language models are computed")]
pub(crate) struct LanguageArguments {
    /// Threads that compute, shared by all models; one per core when left out
    #[arg(long, env = "SEEDHOUSE_THREADS", value_parser = threads)]
    threads: Option<usize>,

    /// The cores to run on, one for each thread, e.g. `0,2`; the first one is left to whoever asks for a step. Where the operating
    /// system likes when left out
    #[arg(long, value_name = "CORES", env = "SEEDHOUSE_PIN_THREADS", value_parser = core, value_delimiter = ',')]
    pin_threads: Vec<usize>,

    /// How weights are kept: exactly as the file has them, or rounded
    #[arg(long, value_enum, env = "SEEDHOUSE_WEIGHTS", default_value = "as-stored")]
    weights: Weights,

    /// How precisely activations meet the weights
    #[arg(long, value_enum, env = "SEEDHOUSE_ACTIVATIONS", default_value = "fast")]
    activations: Activations,

    /// Load a language model although weights of it are infinite or no numbers; the log names them
    #[arg(long, env = "SEEDHOUSE_ALLOW_NON_FINITE_WEIGHTS")]
    allow_non_finite_weights: bool,
}

impl LanguageArguments {
    /// Returns the settings of the runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are not as many cores as threads, or one core twice.
    pub(crate) fn options(&self) -> Result<NativeOptions> {
        let plans = PlanOptions {
            weights: self.weights.into(),
            activations: self.activations.into(),
            allow_non_finite: self.allow_non_finite_weights,
        };
        Ok(NativeOptions { pool: self.pool()?, plans, ..NativeOptions::default() })
    }

    fn pool(&self) -> Result<PoolOptions> {
        let default = PoolOptions::default();
        let cores = &self.pin_threads;
        if cores.is_empty() {
            return Ok(PoolOptions { threads: self.threads.unwrap_or(default.threads), ..default });
        }
        let given = || cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        if let Some(twice) = (1..cores.len()).find(|&place| cores[..place].contains(&cores[place])) {
            let rule = format!("names core {} twice, but each thread needs one of its own", cores[twice]);
            return Err(Error::invalid("--pin-threads", given(), rule));
        }
        if let Some(threads) = self.threads.filter(|&threads| threads != cores.len()) {
            let rule = format!("must name as many cores as there are threads, which are {threads}");
            return Err(Error::invalid("--pin-threads", given(), rule));
        }
        Ok(PoolOptions { threads: cores.len(), pinning: Pinning::Cores(cores.clone()), ..default })
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Weights {
    /// As the file has them
    #[default]
    AsStored,
    /// 32-bit floating point
    F32,
    /// 16-bit floating point with the range of 32 bits
    Bf16,
    /// 8-bit integers with a scale per output: quickest of 8 bits, and answers change
    Int8,
    /// 8-bit integers with a scale for each 32 inputs
    Int8Groups,
    /// 4-bit integers with a scale for each 32 inputs: answers change
    Int4,
}

impl From<Weights> for WeightPrecision {
    fn from(weights: Weights) -> WeightPrecision {
        match weights {
            Weights::AsStored => WeightPrecision::AsStored,
            Weights::F32 => WeightPrecision::F32,
            Weights::Bf16 => WeightPrecision::Bf16,
            Weights::Int8 => WeightPrecision::Int8,
            Weights::Int8Groups => WeightPrecision::Int8Groups,
            Weights::Int4 => WeightPrecision::Int4,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Activations {
    /// Rounded to what the instructions for the weights take, e.g. 8 bits
    #[default]
    Fast,
    /// 32-bit floating point: several times slower
    F32,
}

impl From<Activations> for ActivationPrecision {
    fn from(activations: Activations) -> ActivationPrecision {
        match activations {
            Activations::Fast => ActivationPrecision::Fast,
            Activations::F32 => ActivationPrecision::F32,
        }
    }
}

fn threads(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MOST_THREADS).contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from 1 to {MOST_THREADS}")),
    }
}

fn core(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(number) if number < MOST_THREADS => Ok(number),
        _ => Err(format!("must be numbers of cores from 0 to {}, with commas between them", MOST_THREADS - 1)),
    }
}
