//! The weights of a version: which of its files hold them, and where each tensor stands.

use std::collections::{BTreeMap, BTreeSet};

use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use super::{find, object};
use crate::safetensors::Reader;

/// The file with all weights, and what says which tensor stands in which file where there are several.
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Tensors of a version, of which only the headers were read.
#[derive(Debug)]
pub(crate) struct Weights {
    readers: Vec<Reader>,
    /// By name: the file of a tensor, and its place there.
    places: BTreeMap<String, (usize, usize)>,
}

impl Weights {
    /// Opens the files with the weights: the one of the usual name, those of the index, or the only one there is.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are none or it is not clear which, [`Error::Malformed`] for a broken file, and for a tensor that
    /// stands in two files or elsewhere than the index says; [`Error::Unsupported`] for types that are not computed with.
    pub(crate) fn open(files: &LocalFiles) -> Result<Weights> {
        let index = match find(files, SINGLE) {
            Some(_) => None,
            None => object(files, INDEX)?,
        };
        match index {
            None => Weights::of_files(&[only_file(files)?]),
            Some(index) => {
                let index = shards(&index)?;
                let weights = Weights::of_files(&files_of(files, &index)?)?;
                weights.check(&index)?;
                Ok(weights)
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn of_path(path: &std::path::Path) -> Result<Weights> {
        let local = path.to_owned();
        let digest = seedhouse_core::Digest::of(b"");
        Weights::of_files(&[&LocalFile { path: "tensors.safetensors".parse()?, local, digest }])
    }

    fn of_files(files: &[&LocalFile]) -> Result<Weights> {
        let (mut readers, mut places) = (Vec::<Reader>::new(), BTreeMap::new());
        for (file, local) in files.iter().enumerate() {
            let reader = Reader::open(&local.local, local.path.as_str())?;
            for (place, tensor) in reader.tensors().iter().enumerate() {
                if let Some((other, _)) = places.insert(tensor.name.clone(), (file, place)) {
                    let both = format!("files `{}` and `{}`", files[other].path, local.path);
                    let reason = format!("tensor `{}` stands in both", tensor.name.escape_debug());
                    return Err(Error::malformed(both, reason));
                }
            }
            readers.push(reader);
        }
        Ok(Weights { readers, places })
    }

    /// Checks that every tensor stands where the index says, and that the index names every one.
    fn check(&self, index: &BTreeMap<&str, &str>) -> Result<()> {
        let found = self.places.iter().map(|(name, (file, _))| (name.as_str(), self.readers[*file].name()));
        let found: BTreeMap<&str, &str> = found.collect();
        let differs = |name: &&&str| found.get(**name) != index.get(**name);
        match found.keys().chain(index.keys()).find(differs) {
            None => Ok(()),
            Some(name) => {
                let place = |places: &BTreeMap<&str, &str>| places.get(name).map_or("no file", |file| *file).to_owned();
                let (said, found) = (place(index), place(&found));
                let reason = format!(
                    "tensor `{}` should stand in `{}`, and stands in `{found}`",
                    name.escape_debug(),
                    said.escape_debug()
                );
                Err(Error::malformed(format!("file `{INDEX}`"), reason))
            }
        }
    }

    /// Returns what whoever wrote the files noted under a name.
    pub(crate) fn note(&self, name: &str) -> Option<&str> {
        self.readers.iter().find_map(|reader| reader.note(name))
    }

    /// Returns the names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Returns the shape of a tensor, if there is one of that name.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        let (file, place) = self.places.get(name)?;
        Some(&self.readers[*file].tensors()[*place].shape)
    }

    /// Reads a tensor as f32, if there is one of that name.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    pub(crate) fn numbers(&mut self, name: &str) -> Result<Option<Vec<f32>>> {
        let Some((file, place)) = self.places.get(name) else { return Ok(None) };
        self.readers[*file].numbers(*place).map(Some)
    }
}

/// Returns the file with all weights. Folders may hold the same weights a second time in another layout, so that several files without an
/// index say nothing.
fn only_file(files: &LocalFiles) -> Result<&LocalFile> {
    if let Some(single) = find(files, SINGLE) {
        return Ok(single);
    }
    let all: Vec<&LocalFile> = files.0.iter().filter(|file| file.path.extension() == Some("safetensors")).collect();
    let names = |files: &mut dyn Iterator<Item = &LocalFile>| {
        files.map(|file| file.path.as_str()).collect::<Vec<_>>().join(", ")
    };
    match &all[..] {
        [only] => Ok(only),
        [] => {
            let rule = "the version to begin with must have a safetensors file";
            Err(Error::invalid("start", names(&mut files.0.iter()), rule))
        }
        several => {
            let rule = format!("which of them are the weights must be said by `{INDEX}`");
            Err(Error::invalid("start", names(&mut several.iter().copied()), rule))
        }
    }
}

/// Returns the file of each tensor that an index names.
fn shards<'i>(index: &'i Map<String, Value>) -> Result<BTreeMap<&'i str, &'i str>> {
    let malformed = |reason: String| Error::malformed(format!("file `{INDEX}`"), reason);
    let map = index.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| malformed("it has no object `weight_map`".into()))?;
    let shard = |(name, shard): (&'i String, &'i Value)| {
        let reason = || format!("`{}` is {shard}, but must be the name of a file", name.escape_debug());
        Ok((name.as_str(), shard.as_str().ok_or_else(|| malformed(reason()))?))
    };
    map.iter().map(shard).collect()
}

fn files_of<'f>(files: &'f LocalFiles, index: &BTreeMap<&str, &str>) -> Result<Vec<&'f LocalFile>> {
    let names: BTreeSet<&str> = index.values().copied().collect();
    let file_of = |name: &str| {
        let reason = || format!("it names the file `{}`, which the version does not have", name.escape_debug());
        find(files, name).ok_or_else(|| Error::malformed(format!("file `{INDEX}`"), reason()))
    };
    names.into_iter().map(file_of).collect()
}
