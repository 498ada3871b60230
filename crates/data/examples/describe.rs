//! Prints the description of a dataset: `describe DECLARATION.json FILE_OR_FOLDER …`. Files in a folder keep their path within it.

use std::path::{Path, PathBuf};

use seedhouse_core::Digest;
use seedhouse_core::dataset::{DatasetDeclaration, DatasetReader};
use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_data::FileDatasets;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let declaration = arguments.next().ok_or("usage: describe DECLARATION.json FILE_OR_FOLDER …")?;
    let declaration: DatasetDeclaration = serde_json::from_slice(&std::fs::read(declaration)?)?;
    let mut files = Vec::new();
    for path in arguments {
        let root = if path.is_dir() { path.clone() } else { path.parent().unwrap_or(Path::new("")).to_owned() };
        add(&path, &root, &mut files)?;
    }
    let started = std::time::Instant::now();
    let description = FileDatasets.describe(&LocalFiles(files), &declaration)?;
    println!("{}", serde_json::to_string_pretty(&description)?);
    eprintln!("described in {:.3} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn add(path: &Path, root: &Path, files: &mut Vec<LocalFile>) -> Result<(), Failure> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            add(&entry?.path(), root, files)?;
        }
        return Ok(());
    }
    let name = path.strip_prefix(root)?.to_string_lossy();
    let digest = Digest::of(name.as_bytes());
    files.push(LocalFile { path: name.parse()?, local: path.to_owned(), digest });
    Ok(())
}
