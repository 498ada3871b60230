//! The program in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::Server;

/// A registry's folder, and beside it a place for input files. Both go away with the value.
pub(crate) struct Seedhouse {
    folder: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Seedhouse {
    pub(crate) fn new() -> Seedhouse {
        Seedhouse { folder: tempfile::tempdir().unwrap() }
    }

    /// Returns a copy of the registry in a folder of its own.
    pub(crate) fn copy(&self) -> Seedhouse {
        let copy = Seedhouse::new();
        std::fs::create_dir_all(copy.root()).unwrap();
        for file in std::fs::read_dir(self.root()).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), copy.root().join(file.file_name())).unwrap();
            }
        }
        copy
    }

    /// Where the registry is, or will be.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("registry")
    }

    /// Returns where an input file of this name is, or will be.
    pub(crate) fn file_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes an input file and returns its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.file_path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Returns the program with its root set.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seedhouse"));
        command.arg("--root").arg(self.root()).env_remove("SEEDHOUSE_ROOT").env_remove("SEEDHOUSE_LOG");
        command.env_remove("SEEDHOUSE_ALLOW_HOST").env_remove("SEEDHOUSE_ALLOW_ORIGIN");
        command
            .env_remove("SEEDHOUSE_ONNX_RUNTIME")
            .env_remove("HF_ENDPOINT")
            .env_remove("HF_TOKEN")
            .env_remove("HF_TOKEN_PATH");
        command.env_remove("SEEDHOUSE_SERVER").env_remove("SEEDHOUSE_TOKEN").env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
        for setting in ["THREADS", "PIN_THREADS", "WEIGHTS", "ACTIVATIONS", "ALLOW_NON_FINITE_WEIGHTS"] {
            command.env_remove(format!("SEEDHOUSE_{setting}"));
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::from(self.command().args(arguments).output().unwrap())
    }

    /// Runs a command that must succeed and returns its JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let run = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        serde_json::from_str(&run.stdout).unwrap()
    }

    /// Registers a file under a name.
    pub(crate) fn register(&self, name: &str, path: &str) -> Value {
        self.json(&["register", name, path])
    }

    /// Starts a server on a free port.
    pub(crate) fn serve(&self) -> Server {
        Server::start(self.command())
    }

    /// Returns every file below the root that is neither the database, nor output, nor a plan, i.e. what a registration leaves.
    pub(crate) fn stored_files(&self) -> Vec<String> {
        let mut files = Vec::new();
        collect(&self.root(), &self.root(), &mut files);
        let ours = |file: &String| {
            let names = ["metadata.json", "blobs/hold.lock"];
            file.starts_with("seedhouse.db")
                || file.starts_with(".metadata")
                || file.starts_with("plans/")
                || names.contains(&file.as_str())
        };
        files.retain(|file| !ours(file));
        files.sort();
        files
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            code: output.status.code().expect("the program was not killed by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    /// Checks that the command failed with this exit code and that its message has all of these parts.
    pub(crate) fn assert_failed(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is missing in: {}", self.stderr);
        }
    }
}
