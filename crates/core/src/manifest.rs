//! Manifests: the files of a version, and the one digest that names them all.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::{Digest, Error, ModelId, Result};

/// Where a file stands within a version: relative, with `/`, without `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ManifestPath(String);

impl ManifestPath {
    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last part of the path.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().expect("rsplit gives at least one part")
    }

    /// Returns what follows the last dot of the file name, if something stands on both sides of it and it is at most 32
    /// bytes long: longer ones are part of a name.
    pub fn extension(&self) -> Option<&str> {
        match self.file_name().rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() && (1..=32).contains(&extension.len()) => Some(extension),
            _ => None,
        }
    }
}

impl FromStr for ManifestPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<ManifestPath> {
        const LONGEST_BYTES: usize = 1024;
        // What file systems allow.
        const LONGEST_PART_BYTES: usize = 255;
        let refuse = |rule: String| Err(Error::invalid("path", text.escape_debug(), rule));
        if text.is_empty() || text.len() > LONGEST_BYTES {
            return refuse(format!("must have 1 to {LONGEST_BYTES} bytes"));
        }
        if text.chars().any(|character| character == '\\' || character.is_control()) {
            return refuse("must not contain a backslash or a control character".into());
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return refuse("must be relative, without empty parts, `.` or `..`".into());
        }
        if let Some(part) = text.split('/').find(|part| part.len() > LONGEST_PART_BYTES) {
            return refuse(format!("has a part of {} bytes, and {LONGEST_PART_BYTES} is the limit", part.len()));
        }
        if text.as_bytes().get(1) == Some(&b':') {
            return refuse("must not start with a drive letter".into());
        }
        Ok(ManifestPath(text.to_owned()))
    }
}

impl fmt::Display for ManifestPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for ManifestPath {
    type Error = Error;

    fn try_from(text: String) -> Result<ManifestPath> {
        text.parse()
    }
}

impl From<ManifestPath> for String {
    fn from(path: ManifestPath) -> String {
        path.0
    }
}

/// One file of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where it stands within the version.
    pub path: ManifestPath,
    /// Its length.
    pub size_bytes: u64,
    /// What its bytes hash to.
    pub digest: Digest,
}

/// The files of a version, sorted by path, each path once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<FileEntry>", into = "Vec<FileEntry>")]
pub struct Manifest(Vec<FileEntry>);

/// Checks that no two paths look the same. Some systems write `é` as two characters and take both spellings for one file.
fn check_spellings(files: &[FileEntry]) -> Result<()> {
    let mut seen = HashMap::new();
    for file in files {
        if let Some(other) = seen.insert(file.path.as_str().nfc().collect::<String>(), &file.path) {
            let rule = format!("is another spelling of `{}`", other.as_str().escape_unicode());
            return Err(Error::invalid("files", file.path.as_str().escape_unicode(), rule));
        }
    }
    Ok(())
}

impl Manifest {
    /// Sorts the files by path.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no file, two have the same path or spell it in two ways, one is a folder of another, or the sizes overflow.
    pub fn new(mut files: Vec<FileEntry>) -> Result<Manifest> {
        if files.is_empty() {
            return Err(Error::invalid("files", "[]", "a version with artifacts has at least one file"));
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(pair) = files.windows(2).find(|pair| pair[0].path == pair[1].path) {
            return Err(Error::invalid("files", &pair[0].path, "each path may occur once"));
        }
        check_spellings(&files)?;
        check_folders(&files)?;
        check_sizes(&files)?;
        Ok(Manifest(files))
    }

    /// Returns the files in order of their paths.
    pub fn files(&self) -> &[FileEntry] {
        &self.0
    }

    /// Returns the sum of the sizes.
    pub fn size_bytes(&self) -> u64 {
        self.0.iter().map(|file| file.size_bytes).sum()
    }

    /// Returns where the files of version `model_id` stand under the root: `<model_id>.<ext>` for one file,
    /// `<model_id>/` for several.
    pub fn conventional_name(&self, model_id: &ModelId) -> String {
        match self.files() {
            [only] => match only.path.extension() {
                Some(extension) => format!("{model_id}.{extension}"),
                None => model_id.to_string(),
            },
            _ => format!("{model_id}/"),
        }
    }

    /// Returns the digest that names the version's bytes: SHA-256 over one line `<digest> <size> <path>\n` per file.
    pub fn digest(&self) -> Digest {
        let mut text = String::new();
        for file in &self.0 {
            writeln!(text, "{} {} {}", file.digest, file.size_bytes, file.path).expect("writing to a string succeeds");
        }
        Digest::of(text)
    }
}

/// A path cannot be a file and a folder with files at once.
fn check_folders(files: &[FileEntry]) -> Result<()> {
    let is_file = |folder: &str| files.binary_search_by(|file| file.path.as_str().cmp(folder)).is_ok();
    for path in files.iter().map(|file| file.path.as_str()) {
        let mut folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        if let Some(folder) = folders.find(|folder| is_file(folder)) {
            let rule = format!("`{folder}` is a file of the same version and cannot be a folder");
            return Err(Error::invalid("files", path, rule));
        }
    }
    Ok(())
}

/// Databases count in signed 64 bits.
fn check_sizes(files: &[FileEntry]) -> Result<()> {
    let total = files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.size_bytes));
    match total {
        Some(total) if i64::try_from(total).is_ok() => Ok(()),
        _ => Err(Error::invalid("files", "the sum of `size_bytes`", "must stay below 2^63")),
    }
}

impl TryFrom<Vec<FileEntry>> for Manifest {
    type Error = Error;

    fn try_from(files: Vec<FileEntry>) -> Result<Manifest> {
        Manifest::new(files)
    }
}

impl From<Manifest> for Vec<FileEntry> {
    fn from(manifest: Manifest) -> Vec<FileEntry> {
        manifest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: &str) -> FileEntry {
        FileEntry { path: path.parse().unwrap(), size_bytes: bytes.len() as u64, digest: Digest::of(bytes) }
    }

    #[test]
    fn digest_does_not_depend_on_the_order_of_files() {
        let one = Manifest::new(vec![file("a", "1"), file("b/c", "2")]).unwrap();
        let two = Manifest::new(vec![file("b/c", "2"), file("a", "1")]).unwrap();
        assert_eq!(one.digest(), two.digest());
        assert_eq!(one.size_bytes(), 2);
    }

    #[test]
    fn digest_depends_on_the_path() {
        let one = Manifest::new(vec![file("a", "1")]).unwrap();
        let two = Manifest::new(vec![file("b", "1")]).unwrap();
        assert_ne!(one.digest(), two.digest());
    }

    #[test]
    fn two_spellings_of_one_path_are_refused() {
        let error = Manifest::new(vec![file("café.txt", "1"), file("cafe\u{301}.txt", "2")]).unwrap_err().to_string();
        assert!(error.contains("\\u{301}") && error.contains("\\u{e9}"), "{error}");
        Manifest::new(vec![file("cafe\u{301}.txt", "2")]).unwrap();
    }

    #[test]
    fn paths_that_leave_the_version_are_refused() {
        for text in ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\\b", "C:x", "a\0", &"b".repeat(256)] {
            assert!(text.parse::<ManifestPath>().is_err(), "{text:?}");
        }
        assert_eq!("模型/权重.gguf".parse::<ManifestPath>().unwrap().extension(), Some("gguf"));
    }

    #[test]
    fn a_file_cannot_be_a_folder_of_another() {
        let error = Manifest::new(vec![file("a", "1"), file("a-b", "2"), file("a/b/c", "3")]).unwrap_err();
        assert!(error.to_string().contains("`a/b/c`") && error.to_string().contains("`a`"), "{error}");
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let mut huge = vec![file("a", "1"), file("b", "2")];
        huge[0].size_bytes = u64::MAX;
        assert!(Manifest::new(huge).is_err());
    }

    #[test]
    fn a_path_may_occur_once() {
        assert!(Manifest::new(vec![file("a", "1"), file("a", "2")]).is_err());
        assert!(Manifest::new(vec![]).is_err());
    }
}
