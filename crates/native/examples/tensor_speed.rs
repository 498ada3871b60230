//! Measures how often a second a network computes tensors; prints one JSON object. `bench/model-families` calls it.
//!
//!     tensor_speed MODEL NAME=1x3x224x224 [--threads 2] [--weights as-stored] [--seconds 2]
//!
//! MODEL is a file or a folder of the Hugging Face libraries. Numbers are arbitrary: arithmetic does not depend on them.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use seedhouse_core::Digest;
use seedhouse_core::runtime::{LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, Tensor};
use seedhouse_native::{NativeOptions, NativeRuntime, PlanOptions, PoolOptions, WeightPrecision};

const WARM_UP: usize = 2;
const LEAST_RUNS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = PathBuf::from(arguments.next().ok_or("the first argument is the model")?);
    let input = arguments.next().ok_or("the second argument is the input, as NAME=1x3x224x224")?;
    let mut settings: HashMap<String, String> = HashMap::new();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} has no value"))?;
        settings.insert(name, value);
    }
    let weights = settings.get("--weights").map_or("as-stored", String::as_str);
    let weights = WeightPrecision::ALL.into_iter().find(|known| known.name() == weights);
    let threads = settings.get("--threads").map_or(Ok(2), |value| value.parse())?;
    let runtime = NativeRuntime::with(NativeOptions {
        pool: PoolOptions { threads, ..PoolOptions::default() },
        plans: PlanOptions { weights: weights.ok_or("--weights is not known")?, ..PlanOptions::default() },
        plans_folder: None,
    });
    let LoadedModel::Tensor(network) = runtime.load(&files(&model)?, &LoadOptions::default())? else {
        return Err("it takes no tensors".into());
    };
    let (name, shape) = input.split_once('=').ok_or("the input is NAME=1x3x224x224")?;
    let shape = shape.split('x').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let numbers: Vec<f32> = (0..shape.iter().product::<usize>()).map(|index| (0.37 * index as f32).sin()).collect();
    let tensor = Tensor::new(shape, numbers);
    let run = || network.run(&[(name, &tensor)]).map(drop);
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

/// A folder's files, or the one file. Digests name files in a registry and are not looked at here.
fn files(model: &Path) -> Result<LocalFiles, Box<dyn Error>> {
    let paths: Vec<PathBuf> = match model.is_dir() {
        true => std::fs::read_dir(model)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?,
        false => vec![model.to_owned()],
    };
    let local = |path: PathBuf| -> Result<LocalFile, Box<dyn Error>> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or("a file has no name")?;
        Ok(LocalFile { path: name.parse()?, digest: Digest::of(name), local: path })
    };
    Ok(LocalFiles(paths.into_iter().filter(|path| path.is_file()).map(local).collect::<Result<_, _>>()?))
}
