//! Whole tasks through the port: what comes out is served, goes on after an interruption, and is refused where it should be.

mod interrupted;
mod refusals;
mod served;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use seedhouse_core::dataset::{Column, ColumnValues, Dataset, ImageDataset, SplitPart, TableDataset, TextDataset};
use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_core::training::{TrainReport, TrainSettings, TrainTask, TrainWatch, Trained, Trainer};
use seedhouse_core::{Digest, ModelType, Progress, ProgressUnit, Result};
use serde_json::{Map, Value};

use crate::NativeTrainer;
use crate::random::{Purpose, Random};

/// Hears everything, and stops after so many updates.
struct Watch {
    ends_after: u64,
    updates: AtomicU64,
    reports: Mutex<Vec<TrainReport>>,
}

impl Watch {
    fn until(ends_after: u64) -> Watch {
        Watch { ends_after, updates: AtomicU64::new(0), reports: Mutex::default() }
    }
}

impl Progress for Watch {
    fn stage(&self, _name: &str, _total: Option<u64>, _unit: ProgressUnit) {
        self.updates.store(0, Ordering::Relaxed);
    }

    fn advance(&self, amount: u64) {
        self.updates.fetch_add(amount, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.updates.load(Ordering::Relaxed) >= self.ends_after
    }
}

impl TrainWatch for Watch {
    fn measured(&self, report: &TrainReport) {
        self.reports.lock().unwrap().push(report.clone());
    }
}

/// A task.
struct Case {
    model_type: ModelType,
    metadata: Map<String, Value>,
    settings: TrainSettings,
    dataset: Dataset,
    start: Option<LocalFiles>,
    folder: tempfile::TempDir,
}

impl Case {
    fn new(model_type: ModelType, metadata: Value, dataset: Dataset) -> Case {
        let settings = TrainSettings {
            epochs: Some(4),
            batch_size: 8,
            learning_rate: 3e-3,
            warmup_steps: 3,
            threads: Some(2),
            checkpoint_every: 5,
            seed: 7,
            ..TrainSettings::default()
        };
        let metadata = metadata.as_object().unwrap().clone();
        Case { model_type, metadata, settings, dataset, start: None, folder: tempfile::tempdir().unwrap() }
    }

    fn train(&self) -> Result<Trained> {
        self.train_with(&Watch::until(u64::MAX))
    }

    fn train_with(&self, watch: &Watch) -> Result<Trained> {
        let task = TrainTask {
            model_type: &self.model_type,
            metadata: &self.metadata,
            settings: &self.settings,
            dataset: &self.dataset,
            start: self.start.as_ref(),
            folder: self.folder.path().to_owned(),
        };
        NativeTrainer::new().train(&task, watch)
    }

    /// Returns the text of the error.
    fn error(&self) -> String {
        self.train().unwrap_err().to_string()
    }
}

fn files_of(trained: &Trained) -> LocalFiles {
    let file = |file: &seedhouse_core::training::ProducedFile| LocalFile {
        path: file.path.clone(),
        local: file.local.clone(),
        digest: Digest::of(std::fs::read(&file.local).unwrap()),
    };
    LocalFiles(trained.files.iter().map(file).collect())
}

/// One example in four watches, one in eight is held out.
fn part(place: usize) -> SplitPart {
    match place % 8 {
        3 | 6 => SplitPart::Validation,
        7 => SplitPart::Test,
        _ => SplitPart::Train,
    }
}

fn text() -> Dataset {
    let words = ["the", "seed", "grows", "in", "good", "earth", "and", "rain", "falls", "on", "grain"];
    let mut random = Random::new(1, Purpose::Noise, [0, 0]);
    let line = |_| (0..30).map(|_| words[random.below(words.len())]).collect::<Vec<_>>().join(" ");
    let texts: Vec<String> = (0..160).map(line).collect();
    let parts = (0..texts.len()).map(part).collect();
    Dataset::Text(TextDataset { texts, parts })
}

/// Images with a bright spot whose place is the class.
fn images(channels: usize) -> Dataset {
    let (count, side) = (96, 8);
    let mut random = Random::new(2, Purpose::Noise, [0, 0]);
    let labels: Vec<u32> = (0..count).map(|place| (place * 7 / 3 % 3) as u32).collect();
    let mut pixels = Vec::new();
    for label in &labels {
        for pixel in 0..side * side {
            let (row, column) = (pixel / side, pixel % side);
            let is_bright = row / 3 == *label as usize && column > 2 && column < 6;
            for _ in 0..channels {
                pixels.push((if is_bright { 180 } else { 20 }) + random.below(60) as u8);
            }
        }
    }
    let classes = ["top", "middle", "bottom"].map(str::to_owned).to_vec();
    let parts = (0..count).map(part).collect();
    Dataset::Images(ImageDataset { height: side, width: side, channels, pixels, labels, classes, parts })
}

/// Rows of two numbers and a word, of which a number and a class follow.
fn table(is_classification: bool) -> Dataset {
    let count = 240;
    let mut random = Random::new(3, Purpose::Noise, [0, 0]);
    let mut numbers = |missing: usize| -> Vec<f64> {
        (0..count)
            .map(|row| if missing > 0 && row % missing == 1 { f64::NAN } else { 5.0 + 3.0 * random.share() })
            .collect()
    };
    let (first, second) = (numbers(0), numbers(9));
    let codes: Vec<Option<u32>> = (0..count).map(|row| (row % 11 != 2).then_some((row * 5 / 3 % 3) as u32)).collect();
    let value = |row: usize| {
        let second = if second[row].is_nan() { 6.0 } else { second[row] };
        first[row] * 2.0 - second + f64::from(codes[row].unwrap_or(0))
    };
    let names = ["clay", "loam", "sand"].map(str::to_owned).to_vec();
    let target = match is_classification {
        false => ColumnValues::Numbers((0..count).map(value).collect()),
        true => ColumnValues::Categories {
            names: ["low".to_owned(), "much".to_owned()].to_vec(),
            codes: (0..count).map(|row| Some(u32::from(value(row) > 7.5))).collect(),
        },
    };
    let columns = vec![
        Column { name: "pH".into(), values: ColumnValues::Numbers(first.clone()) },
        Column { name: "rain".into(), values: ColumnValues::Numbers(second.clone()) },
        Column { name: "soil".into(), values: ColumnValues::Categories { names, codes: codes.clone() } },
        Column { name: "yield".into(), values: target },
    ];
    Dataset::Table(TableDataset {
        columns,
        features: ["pH", "rain", "soil"].map(str::to_owned).to_vec(),
        targets: vec!["yield".into()],
        parts: (0..count).map(part).collect(),
    })
}
