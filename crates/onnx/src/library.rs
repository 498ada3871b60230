//! ONNX Runtime, a shared library that somebody installed. A process opens one, once, and keeps it.
//!
//! ```text
//! elf        what the file says about itself, read before the system opens it
//! session    a graph that the library computes
//! resident   how much memory the process has
//! ```

mod elf;
mod resident;
mod session;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::LoadDynamicError;
use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::logging::LogLevel;
use seedhouse_core::{Digest, Error, Result};

use self::elf::SharedObject;
pub(crate) use self::session::Session;
use crate::guarded::guarded;
use crate::install;

/// The name of ONNX Runtime where one is chosen.
pub(crate) const LIBRARY: &str = "onnxruntime";

/// The one that this process has opened. Its threads and its settings belong to the process, so there cannot be two.
static OPENED: Mutex<Option<Arc<Library>>> = Mutex::new(None);

/// An open library.
#[derive(Debug)]
pub(crate) struct Library {
    environment: Environment,
    path: PathBuf,
    version: String,
}

impl Library {
    /// Opens a file, or returns it when it is open already. `threads` is what the first caller says.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a file that is no such library, [`Error::Unsupported`] for a version that is too old, with both
    /// versions, [`Error::Unavailable`] when another file is open.
    pub(crate) fn open(path: &Path, threads: Option<usize>) -> Result<Arc<Library>> {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*opened {
            Some(library) if library.path == path => return Ok(Arc::clone(library)),
            Some(library) => {
                let reason = format!("this process has opened `{}`, and it can open one only", library.path.display());
                return Err(Error::Unavailable { what: name_of(path), reason });
            }
            None => {}
        }
        let version = check_file(path)?;
        let environment = guarded(|| environment(path, threads))
            .map_err(|panic| Error::malformed(name_of(path), format!("it does not start: {panic}")))??;
        let library = Arc::new(Library { environment, path: path.to_owned(), version });
        *opened = Some(Arc::clone(&library));
        Ok(library)
    }

    /// Returns the name with the version.
    pub(crate) fn name(&self) -> String {
        format!("{LIBRARY} {}", self.version)
    }
}

fn name_of(path: &Path) -> String {
    format!("ONNX Runtime in `{}`", path.display())
}

/// Returns the version that a library says it is.
///
/// The system maps a library without a look at its length, and its code runs from then on: a file that is cut or of another machine is
/// refused before, and so is one that is not what was installed.
pub(crate) fn check_file(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let object = SharedObject::read(&bytes).map_err(|reason| Error::malformed(name_of(path), reason))?;
    let version = object.version.ok_or_else(|| Error::malformed(name_of(path), "it is another library"))?;
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < ort::MINOR_VERSION) {
        return Err(too_old(path, &version));
    }
    if let Some(expected) = install::digest_of(path) {
        let found = Digest::of(&bytes);
        if found != expected {
            let reason = format!("its digest is {found}, but {expected} was installed under this name");
            return Err(Error::malformed(name_of(path), reason));
        }
    }
    Ok(version)
}

fn too_old(path: &Path, version: &str) -> Error {
    let what = format!("version {version} of {}", name_of(path));
    Error::unsupported(what, format!("at least 1.{} is needed", ort::MINOR_VERSION))
}

fn environment(path: &Path, threads: Option<usize>) -> Result<Environment> {
    let builder = ort::init_from(path).map_err(|error| match error {
        LoadDynamicError::BadVersion { version_str, .. } => too_old(path, &version_str),
        LoadDynamicError::Dlopen { error, .. } => {
            Error::malformed(name_of(path), format!("the system does not open it: {error}"))
        }
        other => Error::malformed(name_of(path), other.to_string()),
    })?;
    let started = || -> ort::Result<Environment> {
        // 0 is one thread per core. Threads that spin while they wait take the cores from everybody else's models.
        let pool = GlobalThreadPoolOptions::default().with_intra_threads(threads.unwrap_or(0))?;
        let environment = builder
            .with_global_thread_pool(pool.with_spin_control(false)?)
            .with_telemetry(false)
            .with_logger(Arc::new(log))
            .build()?;
        environment.set_log_level(LogLevel::Warning);
        Ok(environment)
    };
    started().map_err(|error| Error::malformed(name_of(path), format!("it does not start: {error}")))
}

/// What the library says is about graphs; what goes wrong is returned as an error as well.
fn log(_: LogLevel, category: &str, _: &str, place: &str, message: &str) {
    tracing::debug!(target: "onnxruntime", category, place, "{message}");
}
