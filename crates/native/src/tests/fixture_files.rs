//! The files of a model among the fixtures. The tests of exports take this file too.

use std::fs;
use std::path::Path;

use seedhouse_core::Digest;
use seedhouse_core::runtime::{LocalFile, LocalFiles};

/// Returns the files of a folder, those of its folders too, but for what is expected of them.
pub(crate) fn files(folder: &Path) -> LocalFiles {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("expected.json") {
                found.push(LocalFile {
                    path: path.strip_prefix(folder).unwrap().to_str().unwrap().parse().unwrap(),
                    digest: Digest::of(fs::read(&path).unwrap()),
                    local: path,
                });
            }
        }
    }
    found.sort_by(|one, other| one.path.as_str().cmp(other.path.as_str()));
    LocalFiles(found)
}
