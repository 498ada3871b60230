//! Measures how often a second a sentence encoder computes the vectors of some sequences; prints one JSON object.
//! `bench/model-families` calls it.
//!
//!     embedding_speed MODEL TOKENS.json [--threads 2] [--weights as-stored] [--seconds 2]
//!
//! MODEL is a folder of sentence-transformers, TOKENS.json a list of lists of token ids.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use seedhouse_core::Digest;
use seedhouse_core::runtime::{LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime};
use seedhouse_native::{NativeOptions, NativeRuntime, PlanOptions, PoolOptions, WeightPrecision};

const WARM_UP: usize = 2;
const LEAST_RUNS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = PathBuf::from(arguments.next().ok_or("the first argument is the model")?);
    let tokens = arguments.next().ok_or("the second argument is a file with lists of token ids")?;
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
    let LoadedModel::Embedding(encoder) = runtime.load(&files(&model)?, &LoadOptions::default())? else {
        return Err("it is no sentence encoder".into());
    };
    let sequences: Vec<Vec<u32>> = serde_json::from_slice(&std::fs::read(tokens)?)?;
    let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    let run = || encoder.embed(&sequences).map(drop);
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

/// Files of a folder and of the folders in it. Digests name files in a registry and are not looked at here.
fn files(folder: &Path) -> Result<LocalFiles, Box<dyn Error>> {
    let (mut left, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(path) = left.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                left.push(entry?.path());
            }
            continue;
        }
        let name = path.strip_prefix(folder)?.to_str().ok_or("a file has no name")?;
        found.push(LocalFile { path: name.parse()?, digest: Digest::of(name), local: path });
    }
    Ok(LocalFiles(found))
}
