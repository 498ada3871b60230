//! Measures how quickly a language model reads and writes; prints one JSON object per round. `bench/language-models` calls it.
//!
//!     language_speed MODEL [--threads 2] [--weights as-stored] [--prefill 512] [--decode 128] [--streams 1] [--rounds 1] [--plans FOLDER]
//!
//! MODEL is a GGUF file or a folder of the Hugging Face libraries. Tokens are arbitrary: arithmetic does not depend on them.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use seedhouse_core::Digest;
use seedhouse_core::runtime::{
    LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, SequenceId, StepPart, TextExecutor, Wanted,
};
use seedhouse_native::{NativeOptions, NativeRuntime, PlanOptions, PoolOptions, WeightPrecision};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = PathBuf::from(arguments.next().ok_or("the first argument is the model")?);
    let mut settings: HashMap<String, String> = HashMap::new();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} has no value"))?;
        settings.insert(name, value);
    }
    let number = |name: &str, default: usize| -> Result<usize, Box<dyn Error>> {
        Ok(settings.get(name).map_or(Ok(default), |value| value.parse())?)
    };
    let weights = match settings.get("--weights").map_or("as-stored", String::as_str) {
        "as-is" => WeightPrecision::AsStored,
        name => {
            let known = WeightPrecision::ALL.into_iter().find(|known| known.name() == name);
            known.ok_or_else(|| format!("--weights {name} is not known"))?
        }
    };
    let runtime = NativeRuntime::with(NativeOptions {
        pool: PoolOptions { threads: number("--threads", 2)?, ..PoolOptions::default() },
        plans: PlanOptions { weights, ..PlanOptions::default() },
        plans_folder: settings.get("--plans").map(PathBuf::from),
    });
    let begun = Instant::now();
    let LoadedModel::Text(text) = runtime.load(&files(&model)?, &LoadOptions::default())? else {
        return Err("it is no language model".into());
    };
    let load_seconds = begun.elapsed().as_secs_f64();
    let (prefill, decode) = (number("--prefill", 512)?, number("--decode", 128)?);
    let vocab_size = text.info().vocab_size as u32;
    for _ in 0..number("--rounds", 1)? {
        let mut executor = text.executor()?;
        let streams = (0..number("--streams", 1)?).map(|_| executor.open()).collect::<Result<Vec<_>, _>>()?;
        let prompt: Vec<u32> = (0..prefill as u32).map(|token| (token * 7 + 1) % vocab_size).collect();
        let prefill_seconds = timed(|| step(&mut *executor, &streams, &prompt))?;
        let decode_seconds = timed(|| (0..decode).try_for_each(|_| step(&mut *executor, &streams, &[5 % vocab_size])))?;
        println!(
            "{}",
            serde_json::json!({
                "load_seconds": load_seconds,
                "prefill_tokens_per_second": (prefill * streams.len()) as f64 / prefill_seconds,
                "decode_tokens_per_second": (decode * streams.len()) as f64 / decode_seconds,
            })
        );
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> seedhouse_core::Result<()>) -> seedhouse_core::Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Advances every stream by the same tokens.
fn step(executor: &mut dyn TextExecutor, streams: &[SequenceId], tokens: &[u32]) -> seedhouse_core::Result<()> {
    let part = |&sequence: &SequenceId| StepPart { sequence, tokens, wanted: Wanted::Last };
    let parts: Vec<StepPart<'_>> = streams.iter().map(part).collect();
    executor.step(&parts).map(drop)
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
