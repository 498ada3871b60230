//! What other formats say is what the version said: exported, loaded again, and compared.

use seedhouse_core::{Code, ExportTask, Exported, ModelFormat, Progress, ProgressUnit, Unwatched};
use seedhouse_native::{export_gguf, export_safetensors};

use super::*;

type Export = fn(&ExportTask<'_>, &dyn Progress) -> seedhouse_core::Result<Exported>;

/// Files that were exported, for as long as the value lives.
struct Folder {
    files: LocalFiles,
    _folder: TempDir,
}

fn export(
    files: &LocalFiles,
    metadata: &Map<String, Value>,
    format: ModelFormat,
    progress: &dyn Progress,
) -> seedhouse_core::Result<Folder> {
    let folder = tempfile::tempdir().unwrap();
    let task = ExportTask { files, metadata, format, folder: folder.path(), name: "wheat_v1" };
    let run: Export = if format == ModelFormat::Gguf { export_gguf } else { export_safetensors };
    let produced = run(&task, progress)?;
    let single = format!("wheat_v1.{format}");
    let local = produced.files.into_iter().map(|file| {
        let path = file.path.as_str();
        let parent = if path == single { folder.path().to_owned() } else { folder.path().join("wheat_v1") };
        assert_eq!(file.local, parent.join(path));
        LocalFile { digest: Digest::of(fs::read(&file.local).unwrap()), path: file.path, local: file.local }
    });
    Ok(Folder { files: LocalFiles(local.collect()), _folder: folder })
}

fn text_model(files: &LocalFiles) -> Arc<dyn TextModel> {
    match native(files, &Map::new()) {
        LoadedModel::Text(model) => model,
        _ => panic!("a decoder is a text model"),
    }
}

fn assert_same_decoder(name: &str, one: &LocalFiles, other: &LocalFiles, tolerance: f32) {
    let (one, other) = (text_model(one), text_model(other));
    let (expected, found) = (one.info(), other.info());
    assert_eq!((expected.vocab_size, expected.context_length), (found.vocab_size, found.context_length), "{name}");
    assert_eq!(expected.chat_template, found.chat_template, "{name}");
    let (expected, found) = (&expected.tokenizer, &found.tokenizer);
    assert_eq!((expected.bos, expected.eos, expected.add_bos), (found.bos, found.eos, found.add_bos), "{name}");
    let texts =
        |tokens: &[String]| -> Vec<String> { tokens.iter().filter(|token| !token.is_empty()).cloned().collect() };
    let found_texts = texts(found.model.tokens());
    assert!(texts(expected.model.tokens()).iter().all(|text| found_texts.contains(text)), "{name}");
    for length in [1, 5, 23] {
        let tokens = tokens(length, length, one.info().vocab_size);
        assert_close(name, &logits(&*other, &tokens), &logits(&*one, &tokens), tolerance);
    }
}

#[test]
fn folders_become_files_of_llama_cpp_with_the_same_logits() {
    for name in ["llama", "llama3-rope", "linear-rope", "qwen2", "qwen3", "gpt2"] {
        let folder = files(&fixtures("decoders").join(name));
        let gguf = export(&folder, &Map::new(), ModelFormat::Gguf, &Unwatched).unwrap();
        assert_eq!(gguf.files.0[0].path.as_str(), "wheat_v1.gguf");
        assert_same_decoder(name, &folder, &gguf.files, 1e-5);
    }
}

#[test]
fn files_of_llama_cpp_become_folders_with_the_same_logits_and_files_again() {
    for name in ["gguf-q4_0", "gguf-k-mixed", "gguf-linear-rope", "gguf-qwen2", "gguf-qwen3"] {
        let file = files(&fixtures("decoders").join(name));
        let folder = export(&file, &Map::new(), ModelFormat::Safetensors, &Unwatched).unwrap();
        assert_same_decoder(name, &file, &folder.files, 1e-5);
        let again = export(&folder.files, &Map::new(), ModelFormat::Gguf, &Unwatched).unwrap();
        assert_same_decoder(name, &file, &again.files, 1e-5);
    }
}

#[test]
fn checkpoint_becomes_safetensors_of_the_same_names() {
    for (name, shape) in [("cnn", [2, 1, 22, 22]), ("resnet-basic", [1, 3, 40, 40])] {
        let checkpoint = files(&fixtures("vision").join(name));
        let tensors = export(&checkpoint, &Map::new(), ModelFormat::Safetensors, &Unwatched).unwrap();
        assert_eq!(tensors.files.0[0].path.as_str(), "wheat_v1.safetensors");
        let images = Tensor::new(shape.to_vec(), numbers(shape.iter().product(), 3));
        let run = |files: &LocalFiles| match native(files, &Map::new()) {
            LoadedModel::Tensor(model) => model.run(&[("image", &images)]).unwrap(),
            _ => panic!("a classifier is a tensor model"),
        };
        assert_eq!(run(&tensors.files), run(&checkpoint), "{name}");
    }
}

#[test]
fn what_is_in_the_format_is_copied() {
    for (name, format) in [
        ("decoders/llama", ModelFormat::Safetensors),
        ("decoders/gguf-q4_k", ModelFormat::Gguf),
        ("tabular/crop-classifier", ModelFormat::Safetensors),
    ] {
        let version = files(&fixtures(name));
        let copy = export(&version, &Map::new(), format, &Unwatched).unwrap();
        let digests = |files: &LocalFiles| files.0.iter().map(|file| file.digest).collect::<Vec<Digest>>();
        assert_eq!(digests(&copy.files), digests(&version), "{name}");
    }
}

#[test]
fn what_a_format_has_no_words_for_is_refused_by_name() {
    let cases = [
        ("decoders/mistral-window", ModelFormat::Gguf, "a sliding window of `mistral` to gguf"),
        ("decoders/yarn-rope", ModelFormat::Gguf, "`yarn`"),
        ("decoders/original", ModelFormat::Gguf, "post_norm_decoder"),
        ("vision/cnn", ModelFormat::Gguf, "to gguf"),
        ("vision/hf-vit", ModelFormat::Gguf, "to gguf"),
        ("tabular/yield-regressor", ModelFormat::Gguf, "to gguf"),
        ("decoders/gguf-gpt2", ModelFormat::Safetensors, "`gpt2` to safetensors"),
        ("decoders/gguf-yarn-rope", ModelFormat::Safetensors, "to safetensors"),
    ];
    for (name, format, expected) in cases {
        let error = export(&files(&fixtures(name)), &Map::new(), format, &Unwatched).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), Code::Unsupported, "{name}: {error}");
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
}

/// Whoever wants everything to stop.
struct Stopped;

impl Progress for Stopped {
    fn stage(&self, _name: &str, _total: Option<u64>, _unit: ProgressUnit) {}

    fn advance(&self, _amount: u64) {}

    fn is_cancelled(&self) -> bool {
        true
    }
}

#[test]
fn cancelled_exports_stop() {
    let llama = files(&fixtures("decoders/llama"));
    for format in [ModelFormat::Gguf, ModelFormat::Safetensors] {
        let error = export(&llama, &Map::new(), format, &Stopped).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), Code::Cancelled);
    }
    assert_eq!(graph(&llama, &Map::new(), &Stopped).unwrap_err().code(), Code::Cancelled);
}
