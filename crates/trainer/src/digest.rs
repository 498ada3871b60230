//! What a task is, as a digest: a checkpoint is gone on from only by the task that wrote it.

use seedhouse_core::dataset::{ColumnValues, Dataset, SplitPart};
use seedhouse_core::training::{TrainSettings, TrainTask};
use sha2::{Digest as _, Sha256};

/// Returns the digest of settings, hyper-parameters, data and the version to begin with, in hexadecimal: of everything that changes the
/// result, and of nothing else.
pub(crate) fn of_task(task: &TrainTask<'_>) -> String {
    let mut hasher = Sha256::new();
    let mut text = |text: String| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    text(task.model_type.as_str().to_owned());
    // Maps keep the order of the record; the same hyper-parameters in another order are the same.
    let mut names: Vec<&String> = task.metadata.keys().collect();
    names.sort();
    names.into_iter().for_each(|name| text(format!("{name}={}", task.metadata[name])));
    // Neither how many threads compute nor how often the work is kept changes what comes out.
    let settings = TrainSettings { threads: None, checkpoint_every: 0, ..task.settings.clone() };
    text(format!("{settings:?}"));
    for file in task.start.iter().flat_map(|files| &files.0) {
        text(format!("{} {}", file.path, file.digest));
    }
    add_data(&mut hasher, task.dataset);
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn add_parts(hasher: &mut Sha256, parts: &[SplitPart]) {
    let bytes: Vec<u8> = parts.iter().map(|part| *part as u8).collect();
    hasher.update(&bytes);
}

fn add_data(hasher: &mut Sha256, dataset: &Dataset) {
    match dataset {
        Dataset::Images(data) => {
            hasher.update(format!("{} {} {} {:?}", data.height, data.width, data.channels, data.classes));
            hasher.update(&data.pixels);
            data.labels.iter().for_each(|label| hasher.update(label.to_le_bytes()));
            add_parts(hasher, &data.parts);
        }
        Dataset::Text(data) => {
            for text in &data.texts {
                hasher.update((text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
            add_parts(hasher, &data.parts);
        }
        Dataset::Table(data) => {
            hasher.update(format!("{:?} {:?}", data.features, data.targets));
            for column in &data.columns {
                hasher.update(&column.name);
                match &column.values {
                    ColumnValues::Numbers(numbers) => {
                        numbers.iter().for_each(|number| hasher.update(number.to_bits().to_le_bytes()));
                    }
                    ColumnValues::Categories { names, codes } => hasher.update(format!("{names:?} {codes:?}")),
                }
            }
            add_parts(hasher, &data.parts);
        }
    }
}
