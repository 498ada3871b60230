//! Getting ONNX Runtime: the library out of the wheel that its makers publish for Python.
//!
//! What is taken is pinned: the digest of the wheel and that of the library in it stand in a table, one row for each machine.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use seedhouse_core::{Digest, Error, Kind, Result};
use serde::Serialize;
use zip::ZipArchive;

use crate::library::{LIBRARY, check_file};
use crate::settings::{FILE_NAME, libraries};

/// The release that is installed.
pub const LIBRARY_VERSION: &str = "1.32.0";

/// A wheel and the library in it.
#[derive(Debug)]
pub struct Package {
    /// The machine, as Rust names it.
    architecture: &'static str,
    /// The machine, as wheels name it.
    platform: &'static str,
    /// The SHA-256 of the wheel.
    wheel: &'static str,
    /// The SHA-256 of the library.
    library: &'static str,
    /// How long the library is.
    library_bytes: u64,
}

/// For Python 3.12; the library in those for other versions is the same.
static PACKAGES: [Package; 2] = [
    Package {
        architecture: "x86_64",
        platform: "manylinux_2_28_x86_64",
        wheel: "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
        library: "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
        library_bytes: 34_824_680,
    },
    Package {
        architecture: "aarch64",
        platform: "manylinux_2_28_aarch64",
        wheel: "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
        library: "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
        library_bytes: 27_165_936,
    },
];

/// A library in the folder of runtimes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstalledLibrary {
    /// Its name where one is chosen.
    pub name: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The version that it is.
    pub version: Option<String>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// Returns the libraries in a folder, the one that is used first.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read.
pub fn installed_libraries(folder: &Path) -> Result<Vec<InstalledLibrary>> {
    let describe = |path: PathBuf| {
        let (version, problem) = match check_file(&path) {
            Ok(version) => (Some(version), None),
            Err(error) => (None, Some(error.to_string())),
        };
        InstalledLibrary { name: LIBRARY, path, version, problem }
    };
    Ok(libraries(folder)?.into_iter().map(describe).collect())
}

/// Returns the digest that a file of this name has when it was installed here; `None` for other names.
pub(crate) fn digest_of(path: &Path) -> Option<Digest> {
    let is_ours = path.file_name() == Some(OsStr::new(&file_name()))
        && path.parent().and_then(Path::file_name) == Some(OsStr::new(FOLDER));
    let package = is_ours.then(Package::find).flatten()?;
    Some(digest(package.library))
}

/// The folder of runtimes, below that of the registry.
pub const FOLDER: &str = "runtimes";

fn file_name() -> String {
    format!("{FILE_NAME}{LIBRARY_VERSION}")
}

fn digest(hex: &str) -> Digest {
    format!("sha256:{hex}").parse().expect("the table holds digests")
}

impl Package {
    fn find() -> Option<&'static Package> {
        let is_here = |package: &&Package| package.architecture == std::env::consts::ARCH;
        PACKAGES.iter().find(is_here).filter(|_| cfg!(all(target_os = "linux", target_env = "gnu")))
    }

    /// Returns the package for this machine.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when there is none.
    pub fn for_this_machine() -> Result<&'static Package> {
        Package::find().ok_or_else(|| {
            let machine = format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH);
            let reason = "only Linux with glibc on x86_64 and aarch64 has a package; \
                          `--onnx-runtime PATH` takes a library from elsewhere";
            Error::unsupported(format!("installing ONNX Runtime for {machine}"), reason)
        })
    }

    /// Downloads the wheel into a folder through pip, which compares the digest, too.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is no Python or pip, or they do not get it, with their words.
    pub fn download(&self, folder: &Path) -> Result<PathBuf> {
        let requirements = folder.join("requirements.txt");
        let line = format!("{LIBRARY}=={LIBRARY_VERSION} --hash=sha256:{}\n", self.wheel);
        std::fs::write(&requirements, line).map_err(Error::io("write", &requirements))?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "--platform", self.platform]);
        pip.args(["--python-version", "312", "--implementation", "cp", "--abi", "cp312", "--dest"]);
        pip.arg(folder).arg("--requirement").arg(&requirements);
        let output = pip.output().map_err(|error| without_network(&format!("python3 does not start: {error}")))?;
        if !output.status.success() {
            return Err(without_network(&words_of(&output)));
        }
        wheel_in(folder)?.ok_or_else(|| without_network("pip left no wheel"))
    }

    /// Takes the library out of the wheel and puts it into a folder under its name, whole or not at all. Returns where it is.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Malformed`] for another file than the pinned one, with both digests, [`Error::Io`].
    pub fn unpack(&self, wheel: &Path, folder: &Path) -> Result<PathBuf> {
        if !wheel.is_file() {
            return Err(Error::not_found(Kind::File, wheel.display()));
        }
        let file = format!("file `{}`", wheel.display());
        let bytes = std::fs::read(wheel).map_err(Error::io("read", wheel))?;
        let (found, expected) = (Digest::of(&bytes), digest(self.wheel));
        if found != expected {
            let wanted = format!("the wheel of {LIBRARY} {LIBRARY_VERSION} for {}", self.platform);
            return Err(Error::malformed(file, format!("its digest is {found}, but that of {wanted} is {expected}")));
        }
        let library = self.library_in(bytes).map_err(|reason| Error::malformed(file, reason))?;
        write_whole(&library, folder)
    }

    fn library_in(&self, wheel: Vec<u8>) -> std::result::Result<Vec<u8>, String> {
        let name = format!("onnxruntime/capi/{}", file_name());
        let mut archive = ZipArchive::new(io::Cursor::new(wheel)).map_err(|error| error.to_string())?;
        let entry = archive.by_name(&name).map_err(|error| format!("`{name}` in it: {error}"))?;
        let mut library = Vec::new();
        // What is longer than the library is not the library.
        entry.take(self.library_bytes + 1).read_to_end(&mut library).map_err(|error| format!("`{name}`: {error}"))?;
        let (found, expected) = (Digest::of(&library), digest(self.library));
        match found == expected {
            true => Ok(library),
            false => Err(format!("the digest of `{name}` in it is {found} instead of {expected}")),
        }
    }
}

fn wheel_in(folder: &Path) -> Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if path.extension() == Some(OsStr::new("whl")) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Returns the last line that a command wrote about its failure.
fn words_of(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("without a word");
    format!("pip ended with {}: {last}", output.status)
}

fn without_network(reason: &str) -> Error {
    let way_out = "a wheel that was downloaded elsewhere is taken with `--from FILE.whl`";
    Error::Unavailable { what: format!("{LIBRARY} {LIBRARY_VERSION}"), reason: format!("{reason}; {way_out}") }
}

fn write_whole(bytes: &[u8], folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
    let target = folder.join(file_name());
    let mut part = tempfile::NamedTempFile::new_in(folder).map_err(Error::io("write into", folder))?;
    part.write_all(bytes).map_err(Error::io("write", part.path()))?;
    // Whoever serves the registry may be another user than who installed.
    let for_all = Permissions::from_mode(0o644);
    part.as_file().set_permissions(for_all).map_err(Error::io("write", part.path()))?;
    part.as_file().sync_all().map_err(Error::io("write", part.path()))?;
    part.persist(&target).map_err(|error| Error::io("write", &target)(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("write", folder))?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_given_the_wheels_of_the_table() {
        let pinned = include_str!("../../../scripts/onnxruntime.txt");
        assert!(pinned.contains(&format!("{LIBRARY}=={LIBRARY_VERSION}")));
        for package in &PACKAGES {
            assert!(pinned.contains(&format!("--hash=sha256:{}", package.wheel)), "{package:?}");
            assert_ne!(digest(package.wheel), digest(package.library));
        }
    }

    #[test]
    fn other_wheels_are_refused_with_both_digests() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("other.whl");
        std::fs::write(&wheel, "PK").unwrap();
        let error = PACKAGES[0].unpack(&wheel, &folder.path().join(FOLDER)).unwrap_err().to_string();
        assert!(error.contains(PACKAGES[0].wheel) && error.contains(&Digest::of("PK").to_string()), "{error}");
        assert!(!folder.path().join(FOLDER).exists());
    }
}
