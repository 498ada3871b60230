//! The folder of backups below the registry's: new names in it, and names of others resolved without leaving it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use seedhouse_core::{Error, Kind, Result, Timestamp};

use super::output::Output;
use crate::Service;
use crate::archive::Compression;

/// How many backups may be made within one second.
const MOST_PER_SECOND: u32 = 100;

/// Where backups are kept unless somebody names another place.
#[derive(Debug, Clone)]
pub struct BackupFolder {
    path: PathBuf,
}

impl BackupFolder {
    /// Returns the folder at `path`, which is made when the first backup is.
    pub fn new(path: PathBuf) -> BackupFolder {
        BackupFolder { path }
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a backup in this folder. `name` is the file's name, or a path whose last part is that and whose
    /// rest is this folder; nothing else is reached, and no link is followed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that leads elsewhere, [`Error::NotFound`] when there is no such file.
    pub fn existing(&self, name: &str) -> Result<PathBuf> {
        let path = self.resolve(name)?;
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => Ok(path),
            Ok(_) => Err(Error::invalid("backup", name, "must name a plain file")),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::not_found(Kind::File, name)),
            Err(error) => Err(Error::io("look at", path)(error)),
        }
    }

    /// Returns the path that a new backup in this folder gets; the rules for `name` are those of
    /// [`existing`](BackupFolder::existing).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that leads elsewhere.
    pub fn resolve(&self, name: &str) -> Result<PathBuf> {
        let refused = |rule: &str| Err(Error::invalid("backup", name.escape_debug(), rule));
        let (folder, file) = match name.rsplit_once('/') {
            Some((folder, file)) => (Some(folder), file),
            None => (None, name),
        };
        if file.is_empty() || file.starts_with('.') || file.len() > 255 || file.contains(['\\', ':']) {
            return refused("must be the name of a file, without a dot at its beginning");
        }
        if file.contains(char::is_control) {
            return refused("must not contain control characters");
        }
        match folder {
            Some(folder) if !self.is_this(Path::new(folder)) => refused("must be within the folder of backups"),
            _ => Ok(self.path.join(file)),
        }
    }

    fn is_this(&self, folder: &Path) -> bool {
        match (fs::canonicalize(folder), fs::canonicalize(&self.path)) {
            (Ok(folder), Ok(own)) => folder == own,
            _ => false,
        }
    }

    /// Begins an archive with a name of its own.
    pub(super) fn new_archive(&self, at: Timestamp, compression: Compression) -> Result<Output> {
        let extension = match compression {
            Compression::None => "tar",
            Compression::Zstd => "tar.zst",
        };
        self.new_file("seedhouse_backup", at, extension)
    }

    /// Begins a backup of the records, named as the original system names it.
    pub(super) fn new_metadata(&self, at: Timestamp) -> Result<Output> {
        self.new_file("metadata_backup", at, "json")
    }

    fn new_file(&self, stem: &str, at: Timestamp, extension: &str) -> Result<Output> {
        fs::create_dir_all(&self.path).map_err(Error::io("make the folder", &self.path))?;
        let at = at.for_file_name();
        for number in 1..=MOST_PER_SECOND {
            let name = match number {
                1 => format!("{stem}_{at}.{extension}"),
                _ => format!("{stem}_{at}_{number}.{extension}"),
            };
            match Output::create(self.path.join(name)) {
                Err(Error::Invalid { .. }) => {}
                outcome => return outcome,
            }
        }
        Err(Error::Exhausted { what: "backups within one second".into(), limit: MOST_PER_SECOND as usize })
    }
}

impl Service {
    /// Sets where backups are kept unless a request names another place.
    pub fn with_backup_folder(mut self, folder: BackupFolder) -> Service {
        self.backup_folder = Some(folder);
        self
    }

    /// Returns where backups are kept.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a registry without such a folder.
    pub fn backup_folder(&self) -> Result<&BackupFolder> {
        let reason = "this registry has no folder for backups; name a file";
        self.backup_folder.as_ref().ok_or_else(|| Error::unsupported("a backup without a file name", reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_into_the_folder_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("backup");
        fs::create_dir(&path).unwrap();
        let folder = BackupFolder::new(path.clone());
        let inside = format!("{}/a.json", path.display());
        for name in ["a.json", "备份.json", &inside, &inside.replace("/backup/", "/backup/../backup/./")] {
            assert_eq!(folder.resolve(name).unwrap().parent(), Some(&*path), "{name}");
        }
        let outside = format!("{}/seedhouse.db", root.path().display());
        for name in
            ["", ".", "..", "../seedhouse.db", ".hidden", "a/", "/", "x/a.json", "a\\b", "c:x", "a\0b", &outside]
        {
            assert!(matches!(folder.resolve(name), Err(Error::Invalid { .. })), "{name:?}");
        }
        fs::write(root.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(root.path().join("secret"), path.join("link")).unwrap();
        assert!(matches!(folder.existing("link"), Err(Error::Invalid { .. })));
        assert!(matches!(folder.existing("missing.json"), Err(Error::NotFound { .. })));
        fs::write(path.join("a.json"), "{}").unwrap();
        assert_eq!(folder.existing("a.json").unwrap(), path.join("a.json"));
    }
}
