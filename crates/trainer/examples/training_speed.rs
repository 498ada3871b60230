//! Milliseconds of a training step, with everything that belongs to it: batch, forward, backward, clipping, update.
//!
//!     cargo run --release -p seedhouse-trainer --example training_speed -- gpt [--steps 30] [--threads 2] [--bf16]
//!
//! Networks: `gpt` (width 256, 4 layers, 4 heads, context 128, batch 16, vocabulary 4096), `llama` (the same sizes), `cnn` and `vit`
//! (28 x 28 pixels, batch 64), `unet` (28 x 28 pixels, 32 channels at first, batch 32). Examples are made up. Prints the median and the
//! least of the steps as JSON; the first ones are a warm-up and do not count.

use std::error::Error;
use std::sync::Mutex;
use std::time::Instant;

use seedhouse_core::dataset::{Dataset, ImageDataset, SplitPart, TextDataset};
use seedhouse_core::training::{TrainPrecision, TrainReport, TrainSettings, TrainTask, TrainWatch, Trainer};
use seedhouse_core::{ModelType, Progress, ProgressUnit};
use seedhouse_trainer::NativeTrainer;
use serde_json::{Value, json};

/// Steps that do not count.
const WARM_UP: usize = 3;

/// Notes when each update was made.
#[derive(Default)]
struct Watch(Mutex<Vec<Instant>>);

impl Progress for Watch {
    fn stage(&self, _name: &str, _total: Option<u64>, _unit: ProgressUnit) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    fn advance(&self, _amount: u64) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(Instant::now());
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

impl TrainWatch for Watch {
    fn measured(&self, _report: &TrainReport) {}
}

/// Numbers that look like nothing in particular.
fn scattered(place: usize) -> usize {
    (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24) % 65_521
}

fn text() -> Dataset {
    let words: Vec<String> = (0..6000).map(|word| format!("{:x}", scattered(word) * 7919)).collect();
    let line = |line: usize| {
        let word = |place: usize| words[scattered(line * 1000 + place) % words.len()].as_str();
        (0..300).map(word).collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<String> = (0..400).map(line).collect();
    let parts = vec![SplitPart::Train; texts.len()];
    Dataset::Text(TextDataset { texts, parts })
}

fn images(count: usize) -> Dataset {
    let pixels = (0..count * 28 * 28).map(|place| (scattered(place) % 256) as u8).collect();
    let labels = (0..count).map(|place| (place % 10) as u32).collect();
    let classes = (0..10).map(|class| class.to_string()).collect();
    let parts = vec![SplitPart::Train; count];
    Dataset::Images(ImageDataset { height: 28, width: 28, channels: 1, pixels, labels, classes, parts })
}

fn task(name: &str) -> Result<(ModelType, Value, Dataset, u32), Box<dyn Error>> {
    let language = |architecture: &str| {
        json!({
            "architecture": architecture, "vocab_size": 4096, "max_seq_len": 128, "d_model": 256, "num_heads": 4, "num_layers": 4,
            "d_ff": if architecture == "llama" { 704 } else { 1024 }, "tie_word_embeddings": false,
        })
    };
    Ok(match name {
        "gpt" => (ModelType::Transformer, language("gpt2"), text(), 16),
        "llama" => (ModelType::Transformer, language("llama"), text(), 16),
        "cnn" => {
            (ModelType::Vision, json!({"model_type": "cnn", "base_channels": 32, "num_layers": 3}), images(1024), 64)
        }
        "vit" => {
            let sizes =
                json!({"model_type": "vit", "base_channels": 64, "num_layers": 4, "num_heads": 2, "patch_size": 4});
            (ModelType::Vision, sizes, images(1024), 64)
        }
        "unet" => (ModelType::Diffusion, json!({"base_channels": 32, "num_classes": 10}), images(512), 32),
        other => return Err(format!("`{other}` is none of gpt, llama, cnn, vit and unet").into()),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().ok_or("which network: gpt, llama, cnn, vit or unet?")?;
    let number =
        |flag: &str| arguments.iter().position(|argument| argument == flag).and_then(|place| arguments.get(place + 1));
    let steps: u64 = number("--steps").map_or(Ok(30), |steps| steps.parse())?;
    let threads: u32 = number("--threads").map_or(Ok(2), |threads| threads.parse())?;
    let is_bf16 = arguments.iter().any(|argument| argument == "--bf16");
    let (model_type, metadata, dataset, batch_size) = task(name)?;
    let settings = TrainSettings {
        steps: Some(steps + WARM_UP as u64),
        batch_size,
        threads: Some(threads),
        precision: if is_bf16 { TrainPrecision::Bf16 } else { TrainPrecision::F32 },
        checkpoint_every: u64::MAX,
        ..TrainSettings::default()
    };
    let folder = tempfile::tempdir()?;
    let metadata = metadata.as_object().cloned().unwrap_or_default();
    let task = TrainTask {
        model_type: &model_type,
        metadata: &metadata,
        settings: &settings,
        dataset: &dataset,
        start: None,
        folder: folder.path().to_owned(),
    };
    let watch = Watch::default();
    let trained = NativeTrainer::new().train(&task, &watch)?;
    let moments = watch.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let mut times: Vec<f64> =
        moments.windows(2).skip(WARM_UP).map(|pair| pair[1].duration_since(pair[0]).as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    let (least, median) =
        (times.first().copied().unwrap_or(f64::NAN), times.get(times.len() / 2).copied().unwrap_or(f64::NAN));
    println!("{}", json!({"network": name, "milliseconds": median, "least": least, "loss": trained.report.loss}));
    Ok(())
}
