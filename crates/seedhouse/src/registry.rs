//! Wiring: which adapters stand behind the ports.

use std::path::Path;
use std::sync::Arc;

use seedhouse_core::{Clock, Error, Kind, MetadataStore, Result, SystemClock};
use seedhouse_data::FileDatasets;
use seedhouse_engine::Engine;
use seedhouse_native::{NativeOptions, NativeQuantizer, NativeRuntime};
use seedhouse_onnx::{OnnxRuntime, OnnxSettings};
use seedhouse_service::{BatchSettings, Kept, Learning, MemorySettings, Ports, RegistryFolders, Service, TextSettings};
use seedhouse_store::{LocalArtifacts, LocalRepairSources, MetadataFile, SqliteStore};
use seedhouse_trainer::NativeTrainer;

use crate::exporters::Exporters;
use crate::host::host;
use crate::hub::{HubArguments, HuggingFaceHub};
use crate::onnx_library::OnnxLibrary;

/// How models are served and computed.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    pub(crate) text: TextSettings,
    pub(crate) batching: BatchSettings,
    pub(crate) native: NativeOptions,
    pub(crate) onnx: OnnxLibrary,
    pub(crate) hub: HubArguments,
    pub(crate) memory: MemorySettings,
    pub(crate) kept: Kept,
}

/// An open registry. Closing it brings `metadata.json` up to date.
pub(crate) struct Registry {
    pub(crate) service: Arc<Service>,
    onnx: Arc<OnnxRuntime>,
    metadata_file: MetadataFile,
}

impl Registry {
    /// Opens the registry under `root`, making it when there is none.
    pub(crate) fn open_or_create(root: &Path) -> Result<Registry> {
        Registry::open_or_create_with(root, Serving::default())
    }

    /// Does the same for models that are served with these settings.
    pub(crate) fn open_or_create_with(root: &Path, serving: Serving) -> Result<Registry> {
        std::fs::create_dir_all(root).map_err(Error::io("create the folder", root))?;
        let sqlite = Arc::new(SqliteStore::open(&root.join(DATABASE))?);
        let store: Arc<dyn MetadataStore> = sqlite.clone();
        let artifacts = Arc::new(LocalArtifacts::open(root)?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metadata_file = MetadataFile::start(root, store.clone(), clock.clone())?;
        let library = serving.onnx.choice(root);
        let onnx = Arc::new(OnnxRuntime::with(&OnnxSettings { library, threads: Some(serving.native.pool.threads) })?);
        let learning = Learning {
            datasets: Arc::new(FileDatasets),
            trainer: Arc::new(NativeTrainer::new()),
            quantizer: Arc::new(NativeQuantizer),
            exporter: Arc::new(Exporters),
            host: host(&serving.native.pool),
        };
        let native = NativeOptions { plans_folder: Some(root.join(PLANS)), ..serving.native };
        let engine = Engine::new(vec![Arc::new(NativeRuntime::with(native)), onnx.clone()])
            .with_text_settings(serving.text)
            .with_batch_settings(serving.batching)
            .with_memory_settings(serving.memory);
        let repairs = Arc::new(LocalRepairSources);
        let ports = Ports { store, artifacts, tokens: sqlite.clone(), jobs: sqlite, repairs, clock };
        let service = Service::new(ports, engine)
            .with_folders(RegistryFolders::below(root))
            .with_kept(serving.kept)
            .with_learning(learning)
            .with_hub(Arc::new(HuggingFaceHub::new(&serving.hub)));
        Ok(Registry { service: Arc::new(service), onnx, metadata_file })
    }

    /// Opens the registry under `root`; a mistyped folder is an error, not an empty registry.
    pub(crate) fn open(root: &Path) -> Result<Registry> {
        Registry::open_with(root, Serving::default())
    }

    /// Does the same for language models with these settings.
    pub(crate) fn open_with(root: &Path, settings: Serving) -> Result<Registry> {
        if !Registry::exists(root) {
            return Err(Error::not_found(Kind::Registry, root.display()));
        }
        Registry::open_or_create_with(root, settings)
    }

    /// Returns whether there is a registry under `root`.
    pub(crate) fn exists(root: &Path) -> bool {
        root.join(DATABASE).exists()
    }

    /// Opens ONNX Runtime, if there is one, instead of with the first graph: what is wrong with it is said at once.
    pub(crate) fn open_onnx_library(&self) -> Result<()> {
        if let Some(name) = self.onnx.open_library()? {
            tracing::info!(runtime = name, "ONNX graphs have an accelerator");
        }
        Ok(())
    }

    /// Brings `metadata.json` up to date.
    pub(crate) fn close(self) -> Result<()> {
        self.metadata_file.flush()
    }
}

const DATABASE: &str = "seedhouse.db";
const PLANS: &str = "plans";
