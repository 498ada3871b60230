//! The graphs of a SavedModel, read past the operators in them.

use std::collections::BTreeMap;

use seedhouse_core::{Error, Result};

use super::super::messages::{Asset, Signature, SignatureEntry};
use super::super::wire::{Message, Value};

/// What names, tags and signatures may take in the file; in memory they take up to some twenty times that. Signatures with a thousand
/// inputs need about a tenth.
const MOST_DESCRIBED_BYTES: usize = 1 << 20;

/// Signatures without tensors, by which loaders find what to run first and what trains (`constants.h`, `constants.py`).
const OF_LOADERS: [&str; 2] = ["__saved_model_init_op", "__saved_model_train_op"];

/// A graph (`MetaGraphDef`).
#[derive(Debug, Default)]
pub(super) struct Graph<'a> {
    pub(super) tags: Vec<&'a str>,
    pub(super) tensorflow_version: &'a str,
    pub(super) signatures: BTreeMap<String, Signature>,
    /// The names of the files that it reads.
    pub(super) assets: Vec<String>,
    /// How many variables its objects have. TensorFlow 1 has no objects.
    pub(super) variables: u64,
}

/// Reads the graphs of a file.
///
/// # Errors
/// [`Error::Malformed`] with the place, [`Error::TooLarge`], [`Error::Unsupported`] for another version of the format.
pub(super) fn read<'a>(file: &'a str, bytes: &'a [u8]) -> Result<Vec<Graph<'a>>> {
    const VERSION: u64 = 1;
    let mut reader = Reader { file, bytes_left: MOST_DESCRIBED_BYTES };
    let mut graphs = Vec::new();
    for field in Message::of_file(file, "the model", bytes).fields() {
        match field? {
            (1, Value::Number(version)) if version != VERSION => {
                let reason = format!("its format has the version {version}; {VERSION} is read");
                return Err(Error::unsupported(file, reason));
            }
            (2, Value::Bytes(graph)) => {
                reader.count(size_of::<Graph<'_>>())?;
                graphs.push(reader.graph(graph.named("a graph"))?);
            }
            _ => {}
        }
    }
    if graphs.is_empty() {
        return Err(Error::malformed(file, format!("it has no graph in its {} bytes", bytes.len())));
    }
    Ok(graphs)
}

/// Counts what is kept, so that a small file cannot become a large amount of memory or a large record.
struct Reader<'a> {
    file: &'a str,
    bytes_left: usize,
}

impl<'a> Reader<'a> {
    fn count(&mut self, bytes: usize) -> Result<()> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| Error::TooLarge {
            what: format!("what {} says about its graphs", self.file),
            size: format!("more than {MOST_DESCRIBED_BYTES} bytes"),
            limit: format!("{MOST_DESCRIBED_BYTES} bytes"),
        })?;
        Ok(())
    }

    fn graph(&mut self, message: Message<'a>) -> Result<Graph<'a>> {
        let mut graph = Graph::default();
        for field in message.fields() {
            match field? {
                (1, Value::Bytes(info)) => self.meta_info(info.named("what is said about a graph"), &mut graph)?,
                (5, Value::Bytes(entry)) => {
                    self.count(entry.len())?;
                    let SignatureEntry { name, signature } = entry.named("a signature").decode()?;
                    if !OF_LOADERS.contains(&name.as_str()) {
                        graph.signatures.insert(name, signature.unwrap_or_default());
                    }
                }
                (6, Value::Bytes(asset)) => {
                    self.count(size_of::<String>() + asset.len())?;
                    graph.assets.push(asset.named("an asset").decode::<Asset>()?.file_name);
                }
                (7, Value::Bytes(objects)) => graph.variables = variables(objects.named("the objects of a graph"))?,
                _ => {}
            }
        }
        Ok(graph)
    }

    /// `MetaInfoDef`.
    fn meta_info(&mut self, message: Message<'a>, graph: &mut Graph<'a>) -> Result<()> {
        for field in message.fields() {
            match field? {
                (4, Value::Bytes(tag)) => {
                    self.count(size_of::<&str>() + tag.len())?;
                    graph.tags.push(tag.named("a tag").text()?);
                }
                (5, Value::Bytes(version)) => {
                    self.count(version.len())?;
                    graph.tensorflow_version = version.named("the version of TensorFlow").text()?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Counts the variables among the objects (`SavedObjectGraph`, `SavedObject` in `saved_object_graph.proto`).
fn variables(objects: Message<'_>) -> Result<u64> {
    let mut count = 0;
    for field in objects.fields() {
        let (1, Value::Bytes(object)) = field? else { continue };
        for field in object.named("an object").fields() {
            if let (7, Value::Bytes(_)) = field? {
                count += 1;
            }
        }
    }
    Ok(count)
}
