//! Measures how often a second a diffusion model predicts; prints one JSON object. `bench/model-families` calls it.
//!
//!     diffusion_speed MODEL [--batch 1] [--threads 2] [--weights as-stored] [--seconds 2]
//!
//! MODEL is a safetensors file that says all it needs. Images are arbitrary: arithmetic does not depend on them.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use seedhouse_core::Digest;
use seedhouse_core::runtime::{LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime};
use seedhouse_native::{NativeOptions, NativeRuntime, PlanOptions, PoolOptions, WeightPrecision};

const WARM_UP: usize = 2;
const LEAST_RUNS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let local = PathBuf::from(arguments.next().ok_or("the first argument is the model")?);
    let mut settings: HashMap<String, String> = HashMap::new();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} has no value"))?;
        settings.insert(name, value);
    }
    let weights = settings.get("--weights").map_or("as-stored", String::as_str);
    let weights = WeightPrecision::ALL.into_iter().find(|known| known.name() == weights);
    let threads = settings.get("--threads").map_or(Ok(2), |value| value.parse())?;
    let batch: usize = settings.get("--batch").map_or(Ok(1), |value| value.parse())?;
    let runtime = NativeRuntime::with(NativeOptions {
        pool: PoolOptions { threads, ..PoolOptions::default() },
        plans: PlanOptions { weights: weights.ok_or("--weights is not known")?, ..PlanOptions::default() },
        plans_folder: None,
    });
    let path = local.file_name().and_then(|name| name.to_str()).ok_or("a file has no name")?.parse()?;
    let files = LocalFiles(vec![LocalFile { path, digest: Digest::of("not looked at here"), local }]);
    let LoadedModel::Diffusion(model) = runtime.load(&files, &LoadOptions::default())? else {
        return Err("it is no diffusion model".into());
    };
    let length = batch * model.info().image_length();
    let images: Vec<f32> = (0..length).map(|index| (0.37 * index as f32).sin()).collect();
    let (timesteps, classes) = (vec![model.info().num_timesteps() / 2; batch], vec![None; batch]);
    let run = || model.predict(&images, &timesteps, &classes).map(drop);
    (0..WARM_UP).try_for_each(|_| run())?;
    let seconds = settings.get("--seconds").map_or(Ok(2.0), |value| value.parse::<f64>())?;
    let (mut runs, begun) = (0, Instant::now());
    while runs < LEAST_RUNS || begun.elapsed().as_secs_f64() < seconds {
        run()?;
        runs += 1;
    }
    println!("{}", serde_json::json!({"runs_per_second": runs as f64 / begun.elapsed().as_secs_f64()}));
    Ok(())
}
