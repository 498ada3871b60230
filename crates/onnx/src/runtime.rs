//! The runtime port for ONNX.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rten::ThreadPool;
use seedhouse_core::runtime::{Inspection, LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime};
use seedhouse_core::{Error, Framework, Result};

use crate::choice::Choice;
use crate::clean::{self, Audience};
use crate::description::{describe, undescribed};
use crate::external::{Contents, Neighbours};
use crate::file;
use crate::graph_model::GraphModel;
use crate::library::{Library, Session};
use crate::ports::Ports;
use crate::proto::Model;
use crate::settings::OnnxSettings;
use crate::structure;
use crate::support::Obstacle;

/// Loads graphs in the ONNX format: ONNX Runtime computes them where its library is, and what is built in otherwise.
#[derive(Default)]
pub struct OnnxRuntime {
    library: Option<PathBuf>,
    threads: Option<usize>,
    built_in_threads: OnceLock<Arc<ThreadPool>>,
}

impl OnnxRuntime {
    /// Returns the runtime without ONNX Runtime. Its threads start with the first graph that computes.
    pub fn new() -> OnnxRuntime {
        OnnxRuntime::default()
    }

    /// Returns the runtime with these settings. The library is looked for, and opened when a graph needs it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a library that is not there.
    pub fn with(settings: &OnnxSettings) -> Result<OnnxRuntime> {
        let library = settings.library.find()?;
        Ok(OnnxRuntime { library, threads: settings.threads, built_in_threads: OnceLock::new() })
    }

    /// Opens ONNX Runtime now instead of with the first graph. Returns its name with the version, if there is one.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Unsupported`] and [`Error::Io`] about the file, which they name.
    pub fn open_library(&self) -> Result<Option<String>> {
        Ok(self.library()?.map(|library| library.name()))
    }

    fn library(&self) -> Result<Option<Arc<Library>>> {
        self.library.as_ref().map(|path| Library::open(path, self.threads)).transpose()
    }

    fn inspect_graph(&self, graph: &LocalFile, files: &LocalFiles) -> Result<Inspection> {
        let bytes = file::read(&graph.path, &graph.local)?;
        let model = Model::read(&bytes).map_err(|broken| broken.in_file(&graph.path))?;
        let facts = structure::check(&model.graph).map_err(|broken| broken.in_file(&graph.path))?;
        Neighbours::new(&graph.path, files).check(&model.graph)?;
        Ok(describe(&model, &facts, Obstacle::of(&model, &facts), self.library.is_some()))
    }

    fn load_graph(&self, graph: &LocalFile, files: &LocalFiles, options: &LoadOptions) -> Result<LoadedModel> {
        let choice = Choice::of(&options.metadata)?;
        let bytes = file::read(&graph.path, &graph.local)?;
        let model = Model::read(&bytes).map_err(|broken| broken.in_file(&graph.path))?;
        let facts = structure::check(&model.graph).map_err(|broken| broken.in_file(&graph.path))?;
        let refused = |reason: String| Error::unsupported(format!("file `{}`", graph.path), reason);
        let obstacle = Obstacle::of(&model, &facts);
        if let Some(Obstacle::Always(reason)) = obstacle {
            return Err(refused(reason));
        }
        let library = match choice {
            Choice::BuiltIn => None,
            Choice::Measured | Choice::Library => self.library()?,
        };
        if library.is_none() && choice == Choice::Library {
            return Err(refused(Choice::LIBRARY_IS_MISSING.into()));
        }
        let contents = Neighbours::new(&graph.path, files).read(&model.graph)?;
        let source = Source { graph, model, contents };
        match (library, obstacle) {
            (None, Some(obstacle)) => Err(refused(obstacle.reason())),
            (None, None) => self.load_built_in(source),
            (Some(library), None) if choice == Choice::Measured => match source.load_by(&library) {
                Ok(model) => Ok(model),
                Err(error) => {
                    tracing::info!(%error, "the built-in runtime computes the graph");
                    self.load_built_in(source)
                }
            },
            (Some(library), _) => source.load_by(&library),
        }
    }

    fn load_built_in(&self, source: Source<'_>) -> Result<LoadedModel> {
        let path = &source.graph.path;
        let (clean, ports) = source.written_for(Audience::BuiltIn)?;
        // The file's own bytes are not needed twice while the runtime makes its copies.
        drop(source.contents);
        drop(source.model);
        Ok(LoadedModel::Tensor(Arc::new(GraphModel::load(path, clean, ports, self.built_in_threads())?)))
    }

    /// Returns the threads of the built-in runtime, which are made for the first graph; `None` for its own.
    fn built_in_threads(&self) -> Option<Arc<ThreadPool>> {
        let threads = self.threads?;
        Some(Arc::clone(self.built_in_threads.get_or_init(|| Arc::new(ThreadPool::with_num_threads(threads)))))
    }
}

/// A graph that was read and checked.
struct Source<'a> {
    graph: &'a LocalFile,
    model: Model<'a>,
    contents: Contents,
}

impl Source<'_> {
    fn written_for(&self, audience: Audience) -> Result<(Vec<u8>, Ports)> {
        let clean = clean::write(&self.model, &self.contents, &self.graph.path, audience)?;
        Ok((clean, Ports::of(&self.model)))
    }

    fn load_by(&self, library: &Arc<Library>) -> Result<LoadedModel> {
        let (clean, ports) = self.written_for(Audience::Library)?;
        Ok(LoadedModel::Tensor(Arc::new(Session::load(library, &self.graph.path, clean, ports)?)))
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
            [graph] => self.inspect_graph(graph, files).map(Some),
            several => Ok(Some(undescribed(several_graphs(several).to_string()))),
        }
    }

    fn load(&self, files: &LocalFiles, options: &LoadOptions) -> Result<LoadedModel> {
        match &graphs(files)?[..] {
            [graph] => self.load_graph(graph, files, options),
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
