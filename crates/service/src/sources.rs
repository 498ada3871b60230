//! Which files a path on this machine means: one file, or those of a folder in their places.
//!
//! A folder is taken whole, with what is hidden in it, but for what tools leave there for themselves. Links are followed
//! where they stay within it, so that nobody registers a file of their home by mistake.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use seedhouse_core::{Error, Kind, ManifestPath, Result};

/// What version control and the hub's client keep in a folder beside a model's files.
const NOT_OF_THE_MODEL: [&str; 5] = [".git", ".cache", ".huggingface", ".ipynb_checkpoints", ".DS_Store"];

/// A file to register and its place within the version.
pub struct Source {
    /// Its place.
    pub path: ManifestPath,
    /// Where it is.
    pub local: PathBuf,
    /// Its length.
    pub size_bytes: u64,
}

/// Returns the files that paths mean. A file stands under its own name, the files of a folder under their paths within it.
///
/// # Errors
/// [`Error::Invalid`] naming what is neither a file nor a folder, or a link that leads out of its folder;
/// [`Error::NotFound`].
pub fn collect_files(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        let metadata = path.metadata().map_err(|error| missing_or_unreadable(path, error))?;
        if metadata.is_dir() {
            Folder::open(path)?.collect(path, "", &mut sources)?;
        } else {
            if !metadata.is_file() {
                // A device may never end, and a pipe's size is not known before it does.
                return Err(Error::invalid("path", path.display(), "must be a file or a folder"));
            }
            let name = path.file_name().and_then(|name| name.to_str());
            sources.push(source(name, path, metadata.len())?);
        }
    }
    if sources.is_empty() {
        return Err(Error::invalid("paths", paths[0].display(), "has no files"));
    }
    Ok(sources)
}

/// A folder that is being taken.
struct Folder {
    /// Where links may lead, without links of its own.
    limit: PathBuf,
}

impl Folder {
    fn open(path: &Path) -> Result<Folder> {
        let limit = path.canonicalize().map_err(Error::io("resolve", path))?;
        // In the hub's cache, `<model>/snapshots/<revision>/` is links to `<model>/blobs/`.
        let snapshots = limit.parent().filter(|parent| parent.ends_with("snapshots"));
        let model = snapshots.and_then(Path::parent).filter(|model| model.join("blobs").is_dir());
        Ok(Folder { limit: model.map(Path::to_owned).unwrap_or(limit) })
    }

    fn collect(&self, folder: &Path, prefix: &str, sources: &mut Vec<Source>) -> Result<()> {
        let entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("list", folder))?;
            let (path, name) = (entry.path(), entry.file_name());
            if NOT_OF_THE_MODEL.iter().any(|other| name == *other) {
                continue;
            }
            let within = name.to_str().map(|name| format!("{prefix}{name}")).ok_or_else(|| not_text(&path))?;
            let file_type = entry.file_type().map_err(Error::io("read", &path))?;
            if file_type.is_dir() {
                self.collect(&path, &format!("{within}/"), sources)?;
                continue;
            }
            if file_type.is_symlink() {
                self.check_link(&path)?;
            }
            let metadata = path.metadata().map_err(|error| missing_or_unreadable(&path, error))?;
            if !metadata.is_file() {
                // Folders behind links could go round in circles.
                let rule = "must be a file; links to folders are not followed";
                return Err(Error::invalid("path", path.display(), rule));
            }
            sources.push(source(Some(&within), &path, metadata.len())?);
        }
        Ok(())
    }

    fn check_link(&self, link: &Path) -> Result<()> {
        let target = link.canonicalize().map_err(|error| missing_or_unreadable(link, error))?;
        match target.starts_with(&self.limit) {
            true => Ok(()),
            false => {
                let rule = format!("is a link to `{}`, which is outside of the folder", target.display());
                Err(Error::invalid("path", link.display(), rule))
            }
        }
    }
}

fn source(name: Option<&str>, local: &Path, size_bytes: u64) -> Result<Source> {
    let path = name.ok_or_else(|| not_text(local))?.parse()?;
    Ok(Source { path, local: local.to_owned(), size_bytes })
}

fn not_text(path: &Path) -> Error {
    Error::invalid("path", path.display(), "must be a file name in UTF-8")
}

/// Returns that a file of the user is not there, or why it cannot be read.
pub fn missing_or_unreadable(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::not_found(Kind::File, path.display()),
        _ => Error::io("read", path)(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(folder: &Path) -> Result<Vec<String>> {
        let mut names: Vec<String> =
            collect_files(&[folder.to_owned()])?.iter().map(|source| source.path.to_string()).collect();
        names.sort();
        Ok(names)
    }

    fn write(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "bytes").unwrap();
    }

    #[test]
    fn folder_is_taken_without_what_tools_keep_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["config.json", "分词/词表.txt", ".gitattributes", ".git/HEAD", "a/.cache/x", ".DS_Store"] {
            write(&folder.path().join(name));
        }
        assert_eq!(names(folder.path()).unwrap(), [".gitattributes", "config.json", "分词/词表.txt"]);
    }

    #[test]
    fn links_are_followed_within_the_folder_only() {
        let outside = tempfile::tempdir().unwrap();
        write(&outside.path().join("secret"));
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("blobs/one"));
        symlink("blobs/one", folder.path().join("model.safetensors")).unwrap();
        assert_eq!(names(folder.path()).unwrap(), ["blobs/one", "model.safetensors"]);

        let link = folder.path().join("weights");
        symlink(outside.path().join("secret"), &link).unwrap();
        let error = names(folder.path()).unwrap_err().to_string();
        assert!(error.contains("weights") && error.contains("secret") && error.contains("outside"), "{error}");
        fs::remove_file(&link).unwrap();
        symlink("nowhere", &link).unwrap();
        assert!(matches!(names(folder.path()), Err(Error::NotFound { kind: Kind::File, .. })));
    }

    #[test]
    fn snapshot_of_the_hubs_cache_leads_to_its_blobs() {
        let cache = tempfile::tempdir().unwrap();
        let model = cache.path().join("models--a--b");
        write(&model.join("blobs/abc"));
        write(&cache.path().join("other"));
        let snapshot = model.join("snapshots/1234");
        fs::create_dir_all(&snapshot).unwrap();
        symlink("../../blobs/abc", snapshot.join("config.json")).unwrap();
        assert_eq!(names(&snapshot).unwrap(), ["config.json"]);
        symlink("../../../other", snapshot.join("other")).unwrap();
        assert!(names(&snapshot).unwrap_err().to_string().contains("outside"));
    }
}
