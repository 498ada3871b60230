//! Measures how long a graph takes for one tensor; prints one JSON object. `bench/model-families` calls it.
//!
//!     graph_speed GRAPH 'x=[0.5, -1.0, 2.0, 3.0]' [--seconds 2]
//!
//! The input is one row of numbers.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use seedhouse_core::Digest;
use seedhouse_core::runtime::{LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, Tensor};
use seedhouse_onnx::OnnxRuntime;

const WARM_UP: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (graph, input, seconds) = match &arguments[..] {
        [graph, input] => (graph, input, 2.0),
        [graph, input, flag, seconds] if flag == "--seconds" => (graph, input, seconds.parse::<f64>()?),
        other => return Err(format!("unknown arguments {other:?}").into()),
    };
    let file = LocalFile { path: "model.onnx".parse()?, digest: Digest::of(graph), local: PathBuf::from(graph) };
    let loaded = OnnxRuntime::new().load(&LocalFiles(vec![file]), &LoadOptions::default())?;
    let LoadedModel::Tensor(network) = loaded else { return Err("it takes no tensors".into()) };
    let (name, row) = input.split_once('=').ok_or("the input is NAME=[1.0, 2.0]")?;
    let row: Vec<f32> = serde_json::from_str(row)?;
    let tensor = Tensor::new(vec![1, row.len()], row);
    let run = || network.run(&[(name, &tensor)]).map(drop);
    (0..WARM_UP).try_for_each(|_| run())?;
    let (mut times, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < Duration::from_secs_f64(seconds) {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("{}", serde_json::json!({"median_ms": times[times.len() / 2].as_secs_f64() * 1e3, "runs": times.len()}));
    Ok(())
}
