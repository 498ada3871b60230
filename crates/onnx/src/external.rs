//! Tensors beside the graph: only in files of the same version, named by their path from the graph's own folder.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_core::{Error, ManifestPath, Result};

use crate::file;
use crate::proto::{AttributeValue, External, Graph, Payload, TensorProto, check_length};
use crate::wire::Broken;

/// The caller names the file.
type Broke<T> = Result<T, Broken>;

/// Finds the files that a graph's tensors lie in.
pub(crate) struct Neighbours<'f> {
    graph: &'f ManifestPath,
    files: &'f LocalFiles,
}

impl<'f> Neighbours<'f> {
    pub(crate) fn new(graph: &'f ManifestPath, files: &'f LocalFiles) -> Neighbours<'f> {
        Neighbours { graph, files }
    }

    /// Checks that all external tensors of a graph are there, whole.
    pub(crate) fn check(&self, graph: &Graph<'_>) -> Result<()> {
        let mut lengths = HashMap::new();
        for (tensor, external) in externals(graph) {
            let index = self.find(external).map_err(|broken| self.malformed(tensor, broken))?;
            let length = match lengths.get(&index) {
                Some(length) => *length,
                None => *lengths.entry(index).or_insert(file::length(&self.files.0[index].local)?),
            };
            range(tensor, external, length).map_err(|broken| self.malformed(tensor, broken))?;
        }
        Ok(())
    }

    /// Reads the files that the external tensors of a graph lie in.
    pub(crate) fn read(&self, graph: &Graph<'_>) -> Result<Contents> {
        let mut contents = Contents::default();
        for (tensor, external) in externals(graph) {
            let LocalFile { path, local, .. } =
                &self.files.0[self.find(external).map_err(|broken| self.malformed(tensor, broken))?];
            if !contents.0.contains_key(external.location) {
                contents.0.insert(external.location.to_owned(), file::read(path, local)?);
            }
        }
        Ok(contents)
    }

    fn malformed(&self, tensor: &TensorProto<'_>, broken: Broken) -> Error {
        about(tensor, broken).in_file(self.graph)
    }

    fn find(&self, external: &External<'_>) -> Broke<usize> {
        let location = external.location;
        let outside = || {
            Broken::new(format!(
                "lies in `{location}`, but only files of the same version, named from the graph's folder, are read"
            ))
        };
        let mut parts = location.split('/').skip_while(|part| *part == ".").peekable();
        if parts.peek().is_none() || location.contains('\\') {
            return Err(outside());
        }
        let relative: Vec<&str> = parts.collect();
        if relative.iter().any(|part| part.is_empty() || *part == "." || *part == "..") {
            return Err(outside());
        }
        let folder = self.graph.as_str().rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let wanted = format!("{folder}{}", relative.join("/"));
        let found = self.files.0.iter().position(|file| file.path.as_str() == wanted && file.path != *self.graph);
        found.ok_or_else(outside)
    }
}

/// The files of external tensors, by the location that the graph names.
#[derive(Debug, Default)]
pub(crate) struct Contents(HashMap<String, Vec<u8>>);

impl Contents {
    /// Returns the values of a tensor.
    pub(crate) fn bytes_of<'c>(&'c self, tensor: &'c TensorProto<'_>) -> Broke<Cow<'c, [u8]>> {
        match &tensor.payload {
            Payload::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Payload::Unread => Err(about(tensor, Broken::new(format!("has {} values", tensor.element.name())))),
            Payload::External(external) => {
                let file = self.0.get(external.location).map(Vec::as_slice).unwrap_or_default();
                let range = range(tensor, external, file.len() as u64).map_err(|broken| about(tensor, broken))?;
                Ok(Cow::Borrowed(&file[range]))
            }
        }
    }
}

fn about(tensor: &TensorProto<'_>, Broken(reason): Broken) -> Broken {
    Broken(format!("tensor `{}` {reason}", tensor.name))
}

/// Returns where in its file a tensor lies.
fn range(tensor: &TensorProto<'_>, external: &External<'_>, length: u64) -> Broke<Range<usize>> {
    let number = |what: &str, text: Option<&str>| match text {
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| Broken::new(format!("has the {what} `{text}`"))),
        None => Ok(None),
    };
    let offset = number("offset", external.offset)?.unwrap_or_default();
    let after = length.checked_sub(offset);
    let size = tensor.element.size_bytes().unwrap_or_default();
    let asked = number("length", external.length)?.or(after).unwrap_or_default();
    let location = external.location;
    if after.is_none_or(|after| asked > after) {
        let reason = format!("has {asked} bytes from {offset} on in `{location}`, which has {length}");
        return Err(Broken::new(reason));
    }
    check_length(&tensor.shape, tensor.count, size, asked)?;
    let place = |number: u64| usize::try_from(number).map_err(|_| Broken::new(format!("lies at {number}")));
    Ok(place(offset)?..place(offset + asked)?)
}

/// Returns every tensor that lies in another file, those of the bodies of operators included.
fn externals<'g, 'a>(graph: &'g Graph<'a>) -> Vec<(&'g TensorProto<'a>, &'g External<'a>)> {
    let mut found = Vec::new();
    let mut graphs = vec![graph];
    while let Some(graph) = graphs.pop() {
        let mut tensors: Vec<&TensorProto<'a>> = graph.initializers.iter().collect();
        for attribute in graph.nodes.iter().flat_map(|node| &node.attributes) {
            match &attribute.value {
                AttributeValue::Tensor(tensor) => tensors.push(tensor),
                AttributeValue::Graph(body) => graphs.push(body),
                _ => {}
            }
        }
        found.extend(tensors.into_iter().filter_map(|tensor| match &tensor.payload {
            Payload::External(external) => Some((tensor, external)),
            Payload::Bytes(_) | Payload::Unread => None,
        }));
    }
    found
}
