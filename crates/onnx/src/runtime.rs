//! The runtime port for ONNX.

use std::sync::Arc;

use seedhouse_core::runtime::{Inspection, LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime};
use seedhouse_core::{Error, Framework, Result};

use crate::clean;
use crate::description::{describe, undescribed};
use crate::external::Neighbours;
use crate::file;
use crate::graph_model::GraphModel;
use crate::proto::Model;
use crate::structure;
use crate::support::why_not;

/// Loads graphs in the ONNX format.
#[derive(Debug, Default)]
pub struct OnnxRuntime;

impl OnnxRuntime {
    /// Returns the runtime. Its threads start with the first graph that computes.
    pub fn new() -> OnnxRuntime {
        OnnxRuntime
    }
}

impl Runtime for OnnxRuntime {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn formats(&self) -> &[Framework] {
        &[Framework::Onnx]
    }

    fn inspect(&self, files: &LocalFiles) -> Result<Option<Inspection>> {
        match &graphs(files)?[..] {
            [] => Ok(None),
            [graph] => inspect(graph, files).map(Some),
            several => Ok(Some(undescribed(several_graphs(several).to_string()))),
        }
    }

    fn load(&self, files: &LocalFiles, _: &LoadOptions) -> Result<LoadedModel> {
        match &graphs(files)?[..] {
            [graph] => Ok(LoadedModel::Tensor(Arc::new(load(graph, files)?))),
            [] => {
                let names: Vec<&str> = files.0.iter().map(|file| file.path.as_str()).collect();
                Err(Error::unsupported(
                    format!("the format of `{}`", names.join("`, `")),
                    "this runtime reads ONNX graphs",
                ))
            }
            several => Err(several_graphs(several)),
        }
    }
}

/// Finds the graphs; external tensors, labels and licences may lie beside them.
fn graphs(files: &LocalFiles) -> Result<Vec<&LocalFile>> {
    let mut found = Vec::new();
    for file in &files.0 {
        if file::is_graph(&file.local)? {
            found.push(file);
        }
    }
    Ok(found)
}

fn several_graphs(graphs: &[&LocalFile]) -> Error {
    let names: Vec<&str> = graphs.iter().take(2).map(|graph| graph.path.as_str()).collect();
    Error::unsupported(
        format!("a version with the graphs `{}`", names.join("` and `")),
        "this runtime reads one graph per version",
    )
}

fn inspect(graph: &LocalFile, files: &LocalFiles) -> Result<Inspection> {
    let bytes = file::read(&graph.path, &graph.local)?;
    let model = Model::read(&bytes).map_err(|broken| broken.in_file(&graph.path))?;
    let facts = structure::check(&model.graph).map_err(|broken| broken.in_file(&graph.path))?;
    Neighbours::new(&graph.path, files).check(&model.graph)?;
    Ok(describe(&model, &facts, why_not(&model, &facts)))
}

fn load(graph: &LocalFile, files: &LocalFiles) -> Result<GraphModel> {
    let bytes = file::read(&graph.path, &graph.local)?;
    let model = Model::read(&bytes).map_err(|broken| broken.in_file(&graph.path))?;
    let facts = structure::check(&model.graph).map_err(|broken| broken.in_file(&graph.path))?;
    if let Some(reason) = why_not(&model, &facts) {
        return Err(Error::unsupported(format!("file `{}`", graph.path), reason));
    }
    let contents = Neighbours::new(&graph.path, files).read(&model.graph)?;
    let clean = clean::write(&model, &contents, &graph.path)?;
    let ports = GraphModel::ports(&model);
    // The file's own bytes are not needed twice while the runtime makes its copies.
    drop(model);
    drop(contents);
    drop(bytes);
    GraphModel::load(&graph.path, clean, ports)
}
