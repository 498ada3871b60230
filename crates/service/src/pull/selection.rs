//! Which files of a repository are fetched. Many keep the same weights in several formats, and one is enough.

use seedhouse_core::{Error, HubFile, HubSnapshot, ManifestPath, Result};

/// The most names in a message.
const MOST_NAMED: usize = 20;

/// Formats of weights, the one that is best known here first. Files that are no weights go with every format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weights {
    Safetensors,
    Gguf,
    Onnx,
    Torch,
    Others,
}

impl Weights {
    fn of(path: &ManifestPath) -> Option<Weights> {
        let extension = path.extension().map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("safetensors") => Some(Weights::Safetensors),
            Some("gguf") => Some(Weights::Gguf),
            Some("onnx" | "onnx_data") => Some(Weights::Onnx),
            Some("bin" | "pt" | "pth" | "ckpt") => Some(Weights::Torch),
            Some("h5" | "keras" | "pb" | "msgpack" | "ot" | "tflite" | "mlmodel" | "xml" | "engine") => {
                Some(Weights::Others)
            }
            _ if path.file_name().starts_with("variables.") => Some(Weights::Others),
            _ => None,
        }
    }

    /// Returns the format's name where a file is as a rule a model of its own.
    fn one_file_each(self) -> Option<&'static str> {
        match self {
            Weights::Gguf => Some("GGUF"),
            Weights::Onnx => Some("ONNX"),
            Weights::Safetensors | Weights::Torch | Weights::Others => None,
        }
    }
}

/// Refuses patterns that can match nothing.
pub(super) fn check_patterns(include: &[String]) -> Result<()> {
    match include.iter().find(|pattern| pattern.is_empty() || pattern.len() > 1024) {
        Some(pattern) => Err(Error::invalid("include", pattern, "must have 1 to 1024 bytes")),
        None => Ok(()),
    }
}

/// Returns the files that match a pattern; without patterns those that are no weights, and the weights in one format.
///
/// # Errors
/// [`Error::Invalid`] for a pattern that matches nothing, for a repository without files, and where several files are models of their own.
pub(super) fn select(snapshot: &HubSnapshot, include: &[String]) -> Result<Vec<HubFile>> {
    let selected = match include.is_empty() {
        true => of_one_format(snapshot)?,
        false => matching(snapshot, include)?,
    };
    if selected.is_empty() {
        return Err(Error::invalid("source", &snapshot.pinned, "the repository has no files at this commit"));
    }
    Ok(selected)
}

fn matching(snapshot: &HubSnapshot, include: &[String]) -> Result<Vec<HubFile>> {
    let matches = |pattern: &str, file: &HubFile| is_match(pattern.as_bytes(), file.path.as_str().as_bytes());
    for pattern in include {
        if !snapshot.files.iter().any(|file| matches(pattern, file)) {
            let rule = format!("no file of {} is called like this; it has {}", snapshot.pinned, named(&snapshot.files));
            return Err(Error::invalid("include", pattern.escape_debug(), rule));
        }
    }
    let is_wanted = |file: &&HubFile| include.iter().any(|pattern| matches(pattern, file));
    Ok(snapshot.files.iter().filter(is_wanted).cloned().collect())
}

fn of_one_format(snapshot: &HubSnapshot) -> Result<Vec<HubFile>> {
    let visible = |file: &&HubFile| !file.path.as_str().split('/').any(|part| part.starts_with('.'));
    let best = snapshot.files.iter().filter(visible).filter_map(|file| Weights::of(&file.path)).min();
    let is_wanted = |file: &&HubFile| Weights::of(&file.path).is_none_or(|weights| Some(weights) == best);
    let selected: Vec<HubFile> = snapshot.files.iter().filter(visible).filter(is_wanted).cloned().collect();
    if let Some(format) = best.and_then(Weights::one_file_each) {
        refuse_several(snapshot, &selected, format)?;
    }
    Ok(selected)
}

fn refuse_several(snapshot: &HubSnapshot, selected: &[HubFile], format: &str) -> Result<()> {
    let is_model =
        |file: &&HubFile| file.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(format));
    let models: Vec<HubFile> = selected.iter().filter(is_model).cloned().collect();
    if models.len() < 2 {
        return Ok(());
    }
    let rule = format!(
        "{} has {} {format} files; `include` names what is wanted, as a rule one of them: {}",
        snapshot.pinned,
        models.len(),
        named(&models)
    );
    Err(Error::invalid("include", "missing", rule))
}

fn named(files: &[HubFile]) -> String {
    let names: Vec<&str> = files.iter().take(MOST_NAMED).map(|file| file.path.as_str()).collect();
    let more = files.len().saturating_sub(MOST_NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", names.join(", "))
}

/// Holds a path against a pattern: `*` stands for any bytes, also `/`, and `?` for one character.
fn is_match(pattern: &[u8], path: &[u8]) -> bool {
    // Where the last `*` stands, and how much of the path it has taken so far.
    let mut star = None;
    let (mut at, mut place) = (0, 0);
    while place < path.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(b'?') => {
                at += 1;
                place += 1;
                while path.get(place).is_some_and(|byte| byte & 0xC0 == 0x80) {
                    place += 1;
                }
            }
            Some(byte) if *byte == path[place] => {
                at += 1;
                place += 1;
            }
            _ => match &mut star {
                Some((star_at, taken)) => {
                    *taken += 1;
                    (at, place) = (*star_at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use seedhouse_core::{Digest, HubDigest};

    use super::*;

    fn snapshot(paths: &[&str]) -> HubSnapshot {
        let file = |path: &&str| HubFile {
            path: path.parse().unwrap(),
            size_bytes: 1,
            digest: HubDigest::Sha256(Digest::of("x")),
        };
        HubSnapshot {
            repository: "owner/name".into(),
            commit: "0".repeat(40),
            pinned: "hf:owner/name@0".into(),
            files: paths.iter().map(file).collect(),
        }
    }

    fn selected(paths: &[&str], include: &[&str]) -> Result<Vec<String>> {
        let include: Vec<String> = include.iter().map(ToString::to_string).collect();
        Ok(select(&snapshot(paths), &include)?.into_iter().map(|file| file.path.to_string()).collect())
    }

    #[test]
    fn weights_come_in_one_format_with_everything_beside_them() {
        let paths = [
            ".gitattributes",
            "1_Pooling/config.json",
            "README.md",
            "config.json",
            "model.safetensors",
            "onnx/model.onnx",
            "onnx/model_O1.onnx",
            "openvino/model.bin",
            "openvino/model.xml",
            "pytorch_model.bin",
            "rust_model.ot",
            "tf_model.h5",
            "tokenizer.json",
        ];
        let expected = ["1_Pooling/config.json", "README.md", "config.json", "model.safetensors", "tokenizer.json"];
        assert_eq!(selected(&paths, &[]).unwrap(), expected);
        let shards = [
            "config.json",
            "pytorch_model-00001-of-00002.bin",
            "pytorch_model-00002-of-00002.bin",
            "flax_model.msgpack",
        ];
        assert_eq!(selected(&shards, &[]).unwrap().len(), 3);
        let saved_model = ["saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"];
        assert_eq!(selected(&saved_model, &[]).unwrap().len(), 3);
    }

    #[test]
    fn one_of_several_models_in_a_repository_must_be_named() {
        let paths = ["README.md", "m.Q4_K_M.gguf", "m.Q8_0.gguf"];
        let error = selected(&paths, &[]).unwrap_err();
        assert_eq!(error.field(), Some("include"));
        assert!(error.to_string().contains("2 GGUF files") && error.to_string().contains("m.Q8_0.gguf"), "{error}");
        assert_eq!(selected(&paths, &["*Q8_0.gguf"]).unwrap(), ["m.Q8_0.gguf"]);
        assert_eq!(selected(&paths[..2], &[]).unwrap(), ["README.md", "m.Q4_K_M.gguf"]);
    }

    #[test]
    fn pattern_that_matches_nothing_is_named_with_what_is_there() {
        let error = selected(&["a.bin", "b.bin"], &["a*", "c*"]).unwrap_err().to_string();
        assert!(error.contains("`c*`") && error.contains("a.bin, b.bin"), "{error}");
        let many: Vec<String> = (0..50).map(|number| format!("{number}.bin")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(selected(&many, &["x"]).unwrap_err().to_string().contains("and 30 more"));
        assert!(selected(&[".gitattributes"], &[]).unwrap_err().to_string().contains("no files"));
        assert!(check_patterns(&[String::new()]).is_err());
    }

    #[test]
    fn patterns_match_as_users_of_the_hub_know_them() {
        let cases = [
            ("*", "a/b", true),
            ("*.json", "a/b.json", true),
            ("a?c", "abc", true),
            ("a?c", "a麦c", true),
            ("a?c", "ac", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("", "", true),
            ("", "a", false),
            ("a", "ab", false),
            ("**", "x", true),
            ("[ab]", "a", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(is_match(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} {path}");
        }
        let hostile = format!("{}b", "*a".repeat(400));
        assert!(!is_match(hostile.as_bytes(), "a".repeat(1000).as_bytes()));
    }
}
