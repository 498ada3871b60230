//! From the files of a version to items, and from items to the files of a new one.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;

use seedhouse_core::runtime::LocalFile;
use seedhouse_core::training::ProducedFile;
use seedhouse_core::{Error, ManifestPath, Progress, ProgressUnit, QuantizeTask, Quantized, Result};
use serde_json::{Map, Value, json};

use super::output::{self, Written};
use super::recipe::{self, Item};
use super::rounding::Losses;
use crate::decoder::huggingface::{CONFIG, INDEX, choose_weight_files};
use crate::decoder::{self, DecoderModel, original};
use crate::huggingface::{read_object, safetensors};
use crate::layers::{Expected, Tensors, Weights};
use crate::mapped_file::MappedFile;
use crate::runtime::Source;
use crate::torch::checkpoint::Checkpoint;
use crate::{diffusion, embedding, tabular, vision};

/// What errors call the weights of a folder.
const FOLDER: &str = "the folder";

/// A file of weights of the new version.
struct Target {
    path: ManifestPath,
    /// The file that it takes the place of.
    replaces: ManifestPath,
    /// The tensors that stand in it; `None` for all.
    tensors: Option<BTreeSet<String>>,
    texts: HashMap<String, String>,
}

impl Target {
    /// A safetensors file that keeps its name.
    fn of_safetensors(path: &ManifestPath, bytes: &[u8]) -> Result<Target> {
        let (entries, texts) = safetensors::read_with_texts(path.as_str(), bytes)?;
        let tensors = Some(entries.into_iter().map(|entry| entry.name).collect());
        Ok(Target { path: path.clone(), replaces: path.clone(), tensors, texts })
    }
}

/// Quantises a folder of the Hugging Face libraries.
pub(super) fn folder(task: &QuantizeTask<'_>, progress: &dyn Progress) -> Result<Quantized> {
    let chosen = choose_weight_files(task.files)?;
    let maps = chosen.iter().map(|file| Ok((&file.path, MappedFile::open(&file.local)?)));
    let maps = maps.collect::<Result<Vec<_>>>()?;
    let targets = maps.iter().map(|(path, map)| Target::of_safetensors(path, map)).collect::<Result<Vec<_>>>()?;
    let job = Job { task, progress, targets, config: None };
    let mut quantized = None;
    let mut network = |weights: &Weights<'_>, expected: &Expected| {
        refuse_quantized(weights.tensors)?;
        let items = recipe::of_network(weights, expected, task.precision)?;
        quantized = Some(job.write(weights.tensors.subject(), &items, &|| {})?);
        Ok(())
    };
    if embedding::is_encoder(task.files)? {
        embedding::with_tensors(task.files, &mut network)?;
    } else if vision::is_classifier(task.files)? {
        vision::with_tensors_of_folder(task.files, &mut network)?;
    } else {
        let views: Vec<(&str, &[u8])> = maps.iter().map(|(path, map)| (path.as_str(), &**map)).collect();
        let tensors = Tensors::of_safetensors(FOLDER, &views)?;
        refuse_quantized(&tensors)?;
        let model = decoder::huggingface::read(task.files)?;
        let forget = || maps.iter().for_each(|(_, map)| map.forget_pages());
        return job.decoder(&tensors, &model, &forget);
    }
    quantized.ok_or_else(|| Error::Internal("a folder was read without being quantised".into()))
}

/// Quantises a safetensors file alone.
pub(super) fn lone_file(file: &LocalFile, task: &QuantizeTask<'_>, progress: &dyn Progress) -> Result<Quantized> {
    let (path, map) = (file.path.as_str(), MappedFile::open(&file.local)?);
    let target = Target::of_safetensors(&file.path, &map)?;
    let tensors = Tensors::of_safetensors(path, &[(path, &map)])?;
    refuse_quantized(&tensors)?;
    let (title, expected) = match tabular::declaration_of(&target.texts) {
        Some(text) => tabular::expected(path, text, &tensors)?,
        None => network(&tensors, task.metadata)?,
    };
    let weights = Weights { tensors: &tensors, family: title };
    let items = recipe::of_network(&weights, &expected, task.precision)?;
    let job = Job { task, progress, targets: vec![target], config: None };
    job.write(path, &items, &|| map.forget_pages())
}

/// Quantises a torch checkpoint. What comes of it is a safetensors file.
pub(super) fn checkpoint(source: &Source<'_>, task: &QuantizeTask<'_>, progress: &dyn Progress) -> Result<Quantized> {
    let (path, file) = (source.path, &source.file);
    let checkpoint = Checkpoint::read(path.as_str(), file)?;
    let forget = || file.forget_pages();
    let target = |name: &str| -> Result<Target> {
        let path = name.parse()?;
        Ok(Target { path, replaces: source.path.clone(), tensors: None, texts: HashMap::new() })
    };
    if original::recognises(&checkpoint) {
        let model = original::read_checkpoint(path, file, task.metadata)?;
        let config = Some(original::configuration(&model)?);
        let job = Job { task, progress, targets: vec![target("model.safetensors")?], config };
        return job.decoder(&Tensors::of_checkpoint(checkpoint), &model, &forget);
    }
    let tensors = Tensors::of_checkpoint(checkpoint);
    let (title, expected) = network(&tensors, task.metadata)?;
    let weights = Weights { tensors: &tensors, family: title };
    let items = recipe::of_network(&weights, &expected, task.precision)?;
    let stem = path.as_str().rsplit_once('.').map_or(path.as_str(), |(stem, _)| stem);
    let job = Job { task, progress, targets: vec![target(&format!("{stem}.safetensors"))?], config: None };
    job.write(path.as_str(), &items, &forget)
}

fn network(tensors: &Tensors<'_>, metadata: &Map<String, Value>) -> Result<(&'static str, Expected)> {
    match diffusion::recognises(tensors) {
        true => diffusion::expected(tensors),
        false => vision::expected(tensors, metadata),
    }
}

fn refuse_quantized(tensors: &Tensors<'_>) -> Result<()> {
    match tensors.quantization() {
        None => Ok(()),
        Some(kind) => {
            let reason = format!("it is quantised to `{kind}` already; quantise the version that it was made of");
            Err(Error::unsupported(format!("quantising {}", tensors.subject()), reason))
        }
    }
}

/// The files of a version on their way.
struct Job<'j> {
    task: &'j QuantizeTask<'j>,
    progress: &'j dyn Progress,
    targets: Vec<Target>,
    /// A configuration that the version did not have.
    config: Option<Map<String, Value>>,
}

impl Job<'_> {
    fn decoder(&self, tensors: &Tensors<'_>, model: &DecoderModel, after_each: &dyn Fn()) -> Result<Quantized> {
        let weights = Weights { tensors, family: "the decoder" };
        let items = recipe::of_decoder(&weights, model, self.task.precision)?;
        self.write(tensors.subject(), &items, after_each)
    }

    /// Writes every file.
    fn write(&self, subject: &str, items: &[Item<'_>], after_each: &dyn Fn()) -> Result<Quantized> {
        self.refuse_collisions()?;
        self.progress.stage("quantising weights", Some(output::data_bytes(items)), ProgressUnit::Bytes);
        let mut quantized = Quantized { files: Vec::new(), quantized_tensors: 0, kept_tensors: 0 };
        let (mut losses, mut index) = (Losses::default(), Index::default());
        for target in &self.targets {
            let written = self.write_weights(target, (subject, items), after_each)?;
            quantized.quantized_tensors += written.quantized;
            quantized.kept_tensors += written.kept;
            losses.add(written.losses);
            index.add(&target.path, written);
            quantized.files.push(self.produced(&target.path)?);
        }
        self.copy_others(&index, &mut quantized.files)?;
        self.report(losses);
        Ok(quantized)
    }

    /// What is new must not have the name of another file.
    fn refuse_collisions(&self) -> Result<()> {
        let config = self.config.as_ref().map(|_| CONFIG);
        let new =
            self.targets.iter().filter(|target| target.path != target.replaces).map(|target| target.path.as_str());
        let taken = |path: &str| self.task.files.0.iter().any(|file| file.path.as_str() == path);
        match new.chain(config).find(|path| taken(path)) {
            None => Ok(()),
            Some(path) => {
                let reason = "the quantised weights need a file of this name";
                Err(Error::unsupported(format!("quantising a version with the file `{path}`"), reason))
            }
        }
    }

    fn write_weights(
        &self,
        target: &Target,
        (subject, items): (&str, &[Item<'_>]),
        after_each: &dyn Fn(),
    ) -> Result<Written> {
        let (here, elsewhere): (Vec<&Item<'_>>, Vec<&Item<'_>>) =
            items.iter().partition(|item| target.tensors.as_ref().is_none_or(|tensors| tensors.contains(&item.home)));
        debug_assert!(self.targets.len() > 1 || elsewhere.is_empty());
        let local = self.new_file(&target.path)?;
        output::write(&local, (subject, &here), &target.texts, self.task.precision, (self.progress, after_each))
    }

    /// Returns where a file goes, having made the folders above it.
    fn new_file(&self, path: &ManifestPath) -> Result<PathBuf> {
        let local = self.task.folder.join(path.as_str());
        if let Some(parent) = local.parent() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        Ok(local)
    }

    fn produced(&self, path: &ManifestPath) -> Result<ProducedFile> {
        Ok(ProducedFile { path: path.clone(), local: self.new_file(path)? })
    }

    /// Copies what are no weights, byte for byte; only the index of shards says other things now.
    fn copy_others(&self, index: &Index, files: &mut Vec<ProducedFile>) -> Result<()> {
        let is_replaced = |file: &LocalFile| self.targets.iter().any(|target| target.replaces == file.path);
        for file in self.task.files.0.iter().filter(|file| !is_replaced(file)) {
            self.progress.check()?;
            let produced = self.produced(&file.path)?;
            if file.path.as_str() == INDEX {
                let text = index.text(file)?;
                fs::write(&produced.local, text).map_err(Error::io("write", &produced.local))?;
            } else {
                fs::copy(&file.local, &produced.local).map_err(Error::io("copy", &file.local))?;
            }
            files.push(produced);
        }
        if let Some(config) = &self.config {
            let produced = self.produced(&CONFIG.parse()?)?;
            let text = serde_json::to_vec_pretty(config).map_err(|error| Error::Internal(error.to_string()))?;
            fs::write(&produced.local, text).map_err(Error::io("write", &produced.local))?;
            files.push(produced);
        }
        Ok(())
    }

    fn report(&self, Losses { zeros, subnormals }: Losses) {
        if zeros + subnormals > 0 {
            let text = format!(
                "{zeros} weights became 0 and {subnormals} keep fewer bits than others: they are smaller than half precision resolves"
            );
            self.progress.note(&text);
        }
    }
}

/// Which tensor stands in which file.
#[derive(Default)]
struct Index {
    places: Map<String, Value>,
    data_bytes: u64,
}

impl Index {
    fn add(&mut self, path: &ManifestPath, written: Written) {
        self.data_bytes += written.data_bytes;
        self.places.extend(written.tensors.into_iter().map(|tensor| (tensor, path.as_str().into())));
    }

    /// Returns the index of a folder with the new places.
    fn text(&self, before: &LocalFile) -> Result<Vec<u8>> {
        let mut fields = read_object(before)?;
        fields.insert("weight_map".into(), Value::Object(self.places.clone()));
        match fields.get_mut("metadata").and_then(Value::as_object_mut) {
            Some(metadata) => drop(metadata.insert("total_size".into(), self.data_bytes.into())),
            None => drop(fields.insert("metadata".into(), json!({"total_size": self.data_bytes}))),
        }
        serde_json::to_vec_pretty(&fields).map_err(|error| Error::Internal(error.to_string()))
    }
}
