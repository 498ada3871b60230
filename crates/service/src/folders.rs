//! The folders below the registry's own in which requests may name files, and the rules by which names never leave them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use seedhouse_core::{Error, Job, Kind, Result, Timestamp};
use serde::Serialize;

use crate::new_file::PARTIAL;
use crate::{BackupFolder, Service};

/// Characters that some systems turn into a dot or a separator when they normalise a name.
const LOOK_LIKE_DOT_OR_SEPARATOR: [char; 11] = [
    '\u{2024}', '\u{2025}', '\u{2044}', '\u{2215}', '\u{2216}', '\u{29f8}', '\u{29f9}', '\u{fe68}', '\u{ff0e}',
    '\u{ff0f}', '\u{ff3c}',
];

/// Where a registry keeps what it gives and takes.
#[derive(Debug, Clone)]
pub struct RegistryFolders {
    root: PathBuf,
    backups: BackupFolder,
    exports: NamedFolder,
    imports: NamedFolder,
}

impl RegistryFolders {
    /// Returns the folders below a registry's root. Each is made when something is first written to it.
    pub fn below(root: &Path) -> RegistryFolders {
        // `.` has no name of its own.
        let root = &root.canonicalize().unwrap_or_else(|_| root.to_owned());
        RegistryFolders {
            root: root.clone(),
            backups: BackupFolder::new(root.join("backup")),
            exports: NamedFolder::new(root.join("exports"), "file"),
            imports: NamedFolder::new(root.join("imports"), "file"),
        }
    }

    /// Returns the registry's own folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// A folder and the request field that names files in it.
#[derive(Debug, Clone)]
pub struct NamedFolder {
    path: PathBuf,
    field: &'static str,
}

/// A file of a folder that is going to be read.
#[derive(Debug, Clone)]
pub struct NamedFile {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub local: PathBuf,
    /// Its length.
    pub size_bytes: u64,
    /// When its bytes were written, in nanoseconds since 1970. With the length it tells one making of the file from another.
    pub written_at_nanoseconds: u128,
}

/// A file of a folder, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FolderFile {
    /// Its name, by which requests name it.
    pub name: String,
    /// Its length.
    pub size_bytes: u64,
    /// When it was made.
    pub made_at: Timestamp,
}

impl NamedFolder {
    /// Returns the folder at `path`; errors about names in it are about `field`.
    pub(crate) fn new(path: PathBuf, field: &'static str) -> NamedFolder {
        NamedFolder { path, field }
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder's own name.
    fn name(&self) -> &Path {
        self.path.file_name().map_or(&self.path, Path::new)
    }

    /// Returns how answers name a file in it: `exports/a.tar`. Where the registry stands on the disk is nobody's business.
    pub(crate) fn shown(&self, path: &Path) -> PathBuf {
        path.file_name().map_or_else(|| self.name().to_owned(), |file| self.name().join(file))
    }

    /// Returns the same folder for requests that name its files in another field.
    pub(crate) fn about(&self, field: &'static str) -> NamedFolder {
        NamedFolder { path: self.path.clone(), field }
    }

    /// Returns the path of a file in this folder. `name` is the file's name, or a path whose last part is that and whose
    /// rest is this folder; nothing else is reached, and no link is followed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that leads elsewhere, [`Error::NotFound`] when there is no such file.
    pub fn existing(&self, name: &str) -> Result<PathBuf> {
        self.existing_where(name, "must name a plain file", |found| found.is_file())
    }

    /// The same for a file or a folder.
    pub(crate) fn existing_file_or_folder(&self, name: &str) -> Result<PathBuf> {
        self.existing_where(name, "must name a file or a folder", |found| found.is_file() || found.is_dir())
    }

    fn existing_where(&self, name: &str, rule: &str, is_right: impl Fn(&fs::Metadata) -> bool) -> Result<PathBuf> {
        let path = self.resolve(name)?;
        match fs::symlink_metadata(&path) {
            // Half a file is none.
            Ok(_) if name.contains(PARTIAL) => Err(Error::not_found(Kind::File, name)),
            Ok(found) if is_right(&found) => Ok(path),
            Ok(_) => Err(Error::invalid(self.field, name, rule)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::not_found(Kind::File, name)),
            Err(error) => Err(Error::io("look at", path)(error)),
        }
    }

    /// Returns the path that a new file in this folder gets, and makes the folder; the rules for `name` are those of
    /// [`existing`](NamedFolder::existing).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that leads elsewhere or is taken.
    pub(crate) fn free(&self, name: &str) -> Result<PathBuf> {
        let path = self.resolve(name)?;
        self.make()?;
        match fs::symlink_metadata(&path) {
            Ok(_) => Err(Error::invalid(self.field, name, "exists already, and no file is replaced")),
            Err(_) => Ok(path),
        }
    }

    /// Returns the path of the file that a job makes. What an attempt left whose worker was lost is removed: `name` has the
    /// number of the job, so nobody else's file has it.
    pub(crate) fn of_job(&self, job: &Job, name: &str) -> Result<PathBuf> {
        self.make()?;
        if job.attempt > 1 {
            self.remove_leavings(name)?;
        }
        Ok(self.path.join(name))
    }

    /// A backup of the records has its digest beside it.
    fn remove_leavings(&self, name: &str) -> Result<()> {
        let whole = [name.to_owned(), format!("{name}.sha256")];
        let is_leaving = |file: &str| {
            whole
                .iter()
                .any(|whole| file.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(PARTIAL)))
        };
        let read = || Error::io("list", &self.path);
        for entry in fs::read_dir(&self.path).map_err(read())? {
            let entry = entry.map_err(read())?;
            if entry.file_name().to_str().is_some_and(is_leaving) {
                fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        Ok(())
    }

    /// Makes the folder, if it is not there.
    pub(crate) fn make(&self) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(Error::io("make the folder", &self.path))
    }

    /// Returns the path that a file in this folder has or would have; the rules for `name` are those of
    /// [`existing`](NamedFolder::existing).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that leads elsewhere.
    pub fn resolve(&self, name: &str) -> Result<PathBuf> {
        let refused = |rule: &str| Err(Error::invalid(self.field, name.escape_debug(), rule));
        let (folder, file) = match name.rsplit_once('/') {
            Some((folder, file)) => (Some(folder), file),
            None => (None, name),
        };
        if file.is_empty() || file.starts_with('.') || file.len() > 255 || file.contains(['\\', ':']) {
            let own = self.name().display();
            return refused(&format!(
                "must be the name of a file in the registry's folder `{own}`, which begins with no dot"
            ));
        }
        if file.contains(char::is_control) || file.contains(LOOK_LIKE_DOT_OR_SEPARATOR) {
            return refused("must not contain control characters, or others that look like dots or separators");
        }
        match folder {
            Some(folder) if !self.is_this(Path::new(folder)) => {
                refused(&format!("must name something in the registry's folder `{}`", self.name().display()))
            }
            _ => Ok(self.path.join(file)),
        }
    }

    fn is_this(&self, folder: &Path) -> bool {
        if folder == self.name() {
            return true;
        }
        match (fs::canonicalize(folder), fs::canonicalize(&self.path)) {
            (Ok(folder), Ok(own)) => folder == own,
            _ => false,
        }
    }

    /// Returns the plain files in it that requests can name, newest first.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<FolderFile>> {
        let read = || Error::io("list", &self.path);
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(read())?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(read())?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.contains(PARTIAL) || self.resolve(&name).is_err() {
                continue;
            }
            match file_of(name, &entry) {
                Ok(file) => files.extend(file),
                // It was removed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("look at", entry.path())(error)),
            }
        }
        files.sort_by(|a, b| (b.made_at, &b.name).cmp(&(a.made_at, &a.name)));
        Ok(files)
    }
}

fn file_of(name: String, entry: &fs::DirEntry) -> std::io::Result<Option<FolderFile>> {
    // Links are not followed here either.
    let metadata = entry.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let made_at = i64::try_from(since.as_micros()).ok().and_then(Timestamp::from_microseconds);
    Ok(made_at.map(|made_at| FolderFile { name, size_bytes: metadata.len(), made_at }))
}

impl Service {
    /// Sets where backups, exports and imports are kept.
    pub fn with_folders(mut self, folders: RegistryFolders) -> Service {
        self.folders = Some(folders);
        self
    }

    /// Returns where they are.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a registry without a folder.
    pub(crate) fn folders(&self) -> Result<&RegistryFolders> {
        let reason = "this registry has no folder of its own";
        self.folders.as_ref().ok_or_else(|| Error::unsupported("naming files on the server", reason))
    }

    /// Returns where backups are kept.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a registry without such a folder.
    pub fn backup_folder(&self) -> Result<&BackupFolder> {
        Ok(&self.folders()?.backups)
    }

    /// Returns where exports are kept.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a registry without such a folder.
    pub fn export_folder(&self) -> Result<&NamedFolder> {
        Ok(&self.folders()?.exports)
    }

    /// Returns a file of the folder of exports.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that leads elsewhere, [`Error::NotFound`] when there is no such file.
    pub fn exported_file(&self, name: &str) -> Result<NamedFile> {
        let local = self.export_folder()?.existing(name)?;
        let look = || Error::io("look at", &local);
        let metadata = local.metadata().map_err(look())?;
        let written = metadata.modified().map_err(look())?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = local.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let written_at_nanoseconds = written.as_nanos();
        Ok(NamedFile { name, size_bytes: metadata.len(), written_at_nanoseconds, local })
    }

    /// Returns where somebody puts what is to be imported.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a registry without such a folder.
    pub fn import_folder(&self) -> Result<&NamedFolder> {
        Ok(&self.folders()?.imports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, NamedFolder) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("backup");
        fs::create_dir(&path).unwrap();
        (root, NamedFolder::new(path, "backup"))
    }

    #[test]
    fn names_lead_into_the_folder_and_nowhere_else() {
        let (root, folder) = folder();
        let inside = format!("{}/a.json", folder.path().display());
        let around = inside.replace("/backup/", "/backup/../backup/./");
        for name in ["a.json", "备份.json", "backup/a.json", &inside, &around] {
            assert_eq!(folder.resolve(name).unwrap().parent(), Some(folder.path()), "{name}");
        }
        let outside = format!("{}/seedhouse.db", root.path().display());
        for name in [
            "",
            ".",
            "..",
            "../seedhouse.db",
            ".hidden",
            "a/",
            "/",
            "x/a.json",
            "a\\b",
            "c:x",
            "a\0b",
            &outside,
            "backup/../a",
            "/backup/a",
            "．．／a",
            "a／b",
            "‥",
            "a\u{2215}b",
            &"x".repeat(256),
        ] {
            let error = folder.resolve(name).unwrap_err();
            assert_eq!(error.field(), Some("backup"), "{name:?}");
        }
    }

    #[test]
    fn links_and_halves_are_not_files_of_the_folder() {
        let (root, folder) = folder();
        fs::write(root.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(root.path().join("secret"), folder.path().join("link")).unwrap();
        fs::write(folder.path().join(format!("half{PARTIAL}x1")), "{").unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("a.json"), "{}").unwrap();
        assert!(matches!(folder.existing("link"), Err(Error::Invalid { .. })));
        assert!(matches!(folder.existing_file_or_folder("link"), Err(Error::Invalid { .. })));
        assert!(matches!(folder.existing("inner"), Err(Error::Invalid { .. })));
        assert!(folder.existing_file_or_folder("inner").is_ok());
        assert!(matches!(folder.existing(&format!("half{PARTIAL}x1")), Err(Error::NotFound { .. })));
        assert!(matches!(folder.existing("missing.json"), Err(Error::NotFound { .. })));
        assert!(matches!(folder.free("a.json"), Err(Error::Invalid { .. })));
        assert_eq!(folder.existing("a.json").unwrap(), folder.path().join("a.json"));
        let listed: Vec<(String, u64)> =
            folder.list().unwrap().into_iter().map(|file| (file.name, file.size_bytes)).collect();
        assert_eq!(listed, [("a.json".to_owned(), 2)]);
    }

    #[test]
    fn leavings_of_one_name_go_and_no_other_file() {
        let (_root, folder) = folder();
        let kept = ["b_job1.tar.zst", "b_job11.tar", "a.json"];
        let gone = ["b_job1.tar", "b_job1.tar.partial-x", "b_job1.tar.sha256", "b_job1.tar.sha256.partial-y"];
        for name in kept.iter().chain(&gone) {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        folder.remove_leavings("b_job1.tar").unwrap();
        for (names, expected) in [(&kept[..], true), (&gone[..], false)] {
            for name in names {
                assert_eq!(folder.path().join(name).exists(), expected, "{name}");
            }
        }
    }
}
