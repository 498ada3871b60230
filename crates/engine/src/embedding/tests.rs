//! Sentence encoders whose vectors a test computes in its head.

use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use seedhouse_core::Code;
use seedhouse_core::runtime::{LocalFile, Tensor, TensorData, TensorModel, TensorSpec, TensorType};
use seedhouse_core::{Digest, runtime::check_inputs};
use seedhouse_testkit::fake_embedder::{FakeEmbedder, word_tokenizer};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::Cancel;

fn encoder(change: impl FnOnce(&mut FakeEmbedder)) -> SentenceEncoder {
    let mut model = FakeEmbedder::new();
    change(&mut model);
    SentenceEncoder::new("a_v1", Arc::new(model), BatchSettings::default()).unwrap()
}

fn request(texts: &[&str]) -> EmbedRequest {
    EmbedRequest { texts: texts.iter().map(|text| (*text).to_owned()).collect(), ..EmbedRequest::default() }
}

fn embed(encoder: &SentenceEncoder, request: &EmbedRequest) -> Result<Embeddings> {
    encoder.embed(request, &Patience::default())
}

fn error(encoder: &SentenceEncoder, request: &EmbedRequest) -> Error {
    embed(encoder, request).unwrap_err()
}

#[test]
fn every_text_has_the_vector_of_its_own_tokens() {
    let encoder = encoder(|_| {});
    let answer = embed(&encoder, &request(&["wheat rice", "", "maize", "wheat [SEP]"])).unwrap();
    // What is not known is token 0; the ends are 1 and 2. A text alone is not filled up, whatever the tokenizer's file says.
    let expected = [([4.0, 10.0, 4.0], 4), ([2.0, 3.0, 1.0], 2), ([3.0, 3.0, 0.0], 3), ([4.0, 8.0, 2.0], 4)];
    assert_eq!(answer.dimensions, 3);
    for (found, (vector, tokens)) in answer.embeddings.iter().zip(expected) {
        assert_eq!(found, &Embedding { vector: vector.to_vec(), tokens, truncated: false });
    }
    for (place, text) in ["wheat rice", "", "maize", "wheat [SEP]"].into_iter().enumerate() {
        assert_eq!(embed(&encoder, &request(&[text])).unwrap().embeddings[0], answer.embeddings[place]);
    }
}

#[test]
fn text_that_is_too_long_is_cut_and_keeps_its_ends() {
    let encoder = encoder(|_| {});
    let answer = embed(&encoder, &request(&["wheat wheat wheat rice", "wheat wheat wheat rice rice"])).unwrap();
    // Six tokens are the model's limit; the file's own limit is five.
    let whole = Embedding { vector: vec![6.0, 16.0, 4.0], tokens: 6, truncated: false };
    assert_eq!(answer.embeddings, [whole.clone(), Embedding { truncated: true, ..whole }]);
}

#[test]
fn prompt_stands_before_every_text() {
    let with = |prompt: Option<&str>, default: Option<&str>| {
        let encoder = encoder(|model| model.info.prompts.default = default.map(str::to_owned));
        let request = EmbedRequest { prompt: prompt.map(str::to_owned), ..request(&["rice"]) };
        embed(&encoder, &request).map(|answer| answer.embeddings[0].vector.clone())
    };
    let (plain, asked) = (vec![3.0, 7.0, 4.0], vec![4.0, 12.0, 4.0]);
    assert_eq!(with(None, None).unwrap(), plain);
    assert_eq!(with(Some("query"), None).unwrap(), asked);
    assert_eq!(with(None, Some("query")).unwrap(), asked);
    let error = with(Some("passage"), Some("query")).unwrap_err();
    assert_eq!((error.code(), error.field()), (Code::Invalid, Some("prompt_name")));
    assert!(error.to_string().contains("`passage`") && error.to_string().contains("`query`"), "{error}");
}

#[test]
fn texts_are_written_small_where_the_model_says_so() {
    for (lower_case, last) in [(false, 0.0), (true, 3.0)] {
        let encoder = encoder(|model| model.info.lower_case = lower_case);
        assert_eq!(embed(&encoder, &request(&["WHEAT"])).unwrap().embeddings[0].vector[2], last);
    }
}

#[test]
fn too_many_texts_or_tokens_are_refused_with_both_values() {
    let encoder = encoder(|model| model.info.longest_sequence = 200);
    let words = "wheat ".repeat(100);
    let long = "w".repeat(MOST_TEXT_BYTES + 1);
    let cases = [
        (request(&[]), "input", ["`0`", "2048"]),
        (request(&vec![""; MOST_TEXTS + 1]), "input", ["`2049`", "2048"]),
        (request(&vec![words.as_str(); 1300]), "input", ["`131172 tokens in 1286 texts`", "131072 tokens"]),
        (request(&["rice", &long]), "input[1]", ["`1048577 bytes`", "1048576 bytes"]),
    ];
    for (request, field, values) in cases {
        let error = error(&encoder, &request);
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some(field)), "{error}");
        assert!(values.iter().all(|value| error.to_string().contains(value)), "{error}");
    }
    assert_eq!(embed(&encoder, &request(&vec![""; MOST_TEXTS])).unwrap().embeddings.len(), MOST_TEXTS);
}

#[test]
fn text_without_any_token_is_refused() {
    let mut tokenizer = word_tokenizer();
    tokenizer["post_processor"] = serde_json::Value::Null;
    let encoder = encoder(|model| model.info.tokenizer = tokenizer.to_string());
    let error = error(&encoder, &request(&["wheat rice", " "]));
    assert_eq!((error.code(), error.field()), (Code::Invalid, Some("input[1]")), "{error}");
}

#[test]
fn vector_that_is_not_finite_is_an_error_and_no_answer() {
    let error = error(&encoder(|_| {}), &request(&["wheat", "nan"]));
    assert_eq!(error.code(), Code::Internal);
    assert!(error.to_string().contains("NaN") && error.to_string().contains("a_v1"), "{error}");
}

#[test]
fn time_that_is_up_ends_a_request() {
    let patience = Patience::new(Some(Duration::ZERO), Cancel::default());
    let error = encoder(|_| {}).embed(&request(&["wheat"]), &patience).unwrap_err();
    assert_eq!(error.code(), Code::Deadline);
}

#[test]
fn texts_were_all_made_tokens_of_before_anybody_looked_at_the_limit_or_the_time() {
    // A text that has no token is refused where it stands: so far nobody comes.
    let mut tokenizer = word_tokenizer();
    tokenizer["post_processor"] = serde_json::Value::Null;
    let encoder = encoder(|model| {
        model.info.tokenizer = tokenizer.to_string();
        model.info.longest_sequence = 200;
    });
    let words = "wheat ".repeat(100);
    let mut texts = vec![words.as_str(); 1311];
    texts.push(" ");
    let error = error(&encoder, &request(&texts));
    assert!(error.to_string().contains("`131100 tokens in 1311 texts`"), "{error}");
    let cancel = Cancel::default();
    cancel.set();
    let error = encoder.embed(&request(&[" "]), &Patience::new(None, cancel)).unwrap_err();
    assert_eq!(error.code(), Error::Cancelled.code(), "{error}");
}

#[test]
fn tokenizers_that_the_library_refuses_or_that_tell_sentences_apart_are_refused() {
    let mut kinds = word_tokenizer();
    kinds["post_processor"]["single"][2]["SpecialToken"]["type_id"] = json!(1);
    for (tokenizer, expected) in [(json!({"model": 1}), "`tokenizer.json`"), (kinds, "the type 1")] {
        let mut model = FakeEmbedder::new();
        model.info.tokenizer = tokenizer.to_string();
        let error = SentenceEncoder::new("a_v1", Arc::new(model), BatchSettings::default()).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// A graph whose vector of a token is its id, its place, and minus its id; with `pooled` it gives the last of them.
struct FakeGraph {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

impl FakeGraph {
    fn new(inputs: &[&str], tensor_type: TensorType, output: &[Option<usize>]) -> FakeGraph {
        let spec = |name: &&str| TensorSpec { name: (*name).to_owned(), tensor_type, shape: vec![None, None] };
        FakeGraph {
            inputs: inputs.iter().map(spec).collect(),
            outputs: vec![TensorSpec::f32("vectors", output.to_vec())],
        }
    }
}

impl TensorModel for FakeGraph {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let tensors = check_inputs(&self.inputs, inputs)?;
        let whole = |tensor: &Tensor| match &tensor.data {
            TensorData::I64(values) => values.clone(),
            TensorData::I32(values) => values.iter().map(|value| i64::from(*value)).collect(),
            other => panic!("{} is no input of it", other.tensor_type()),
        };
        for (spec, tensor) in self.inputs.iter().zip(&tensors) {
            let expected = match spec.name.as_str() {
                "attention_mask" => 1,
                "token_type_ids" => 0,
                _ => continue,
            };
            assert!(whole(tensor).iter().all(|value| *value == expected), "{}", spec.name);
        }
        let ids = whole(tensors[0]);
        let row = |(place, id): (usize, &i64)| [*id as f32, place as f32, -(*id as f32)];
        let rows: Vec<f32> = ids.iter().enumerate().flat_map(row).collect();
        Ok(vec![match self.outputs[0].shape.len() {
            2 => Tensor::new(vec![1, 3], rows[rows.len() - 3..].to_vec()),
            _ => Tensor::new(vec![1, ids.len(), 3], rows),
        }])
    }

    fn memory_bytes(&self) -> u64 {
        0
    }
}

const PER_TOKEN: [Option<usize>; 3] = [None, None, Some(3)];

fn with_tokenizer(tokenizer: &serde_json::Value) -> (TempDir, LocalFiles) {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("tokenizer.json");
    std::fs::write(&local, tokenizer.to_string()).unwrap();
    let file = LocalFile { path: "tokenizer.json".parse().unwrap(), local, digest: Digest::of("unread") };
    (folder, LocalFiles(vec![file]))
}

fn served(graph: impl TensorModel + 'static) -> Arc<ServedTensors> {
    let settings = BatchSettings::default().one_by_one();
    Arc::new(ServedTensors::new("a_v1", Arc::new(graph), &Map::new(), settings).unwrap())
}

fn of_graph(graph: FakeGraph, metadata: serde_json::Value, tokenizer: &serde_json::Value) -> Result<SentenceEncoder> {
    let (_folder, files) = with_tokenizer(tokenizer);
    match SentenceEncoder::of_graph("a_v1", served(graph), metadata.as_object().unwrap(), &files)? {
        SentenceTask::Ready(encoder) => Ok(*encoder),
        SentenceTask::Undeclared => panic!("{metadata} declares a sentence encoder"),
    }
}

#[test]
fn graph_is_pooled_and_normalised_as_its_record_declares() {
    // The tokens are 1, 3, 2.
    let cases = [
        ("cls", false, [1.0, 0.0, -1.0]),
        ("mean", false, [2.0, 1.0, -2.0]),
        ("max", false, [3.0, 2.0, -1.0]),
        ("mean", true, [2.0 / 3.0, 1.0 / 3.0, -2.0 / 3.0]),
    ];
    for names in
        [&["input_ids"][..], &["input_ids", "attention_mask"], &["input_ids", "attention_mask", "token_type_ids"]]
    {
        for tensor_type in [TensorType::I64, TensorType::I32] {
            for (pooling, normalize, expected) in cases {
                let graph = FakeGraph::new(names, tensor_type, &PER_TOKEN);
                let metadata = json!({"pooling": pooling, "normalize": normalize});
                let encoder = of_graph(graph, metadata, &word_tokenizer()).unwrap();
                let answer = embed(&encoder, &request(&["wheat"])).unwrap();
                assert_eq!(answer.embeddings[0].vector, expected, "{pooling} {normalize}");
            }
        }
    }
    let graph = FakeGraph::new(&["input_ids"], TensorType::I64, &[None, Some(3)]);
    let encoder = of_graph(graph, json!({"pooling": "none", "normalize": false}), &word_tokenizer()).unwrap();
    assert_eq!(embed(&encoder, &request(&["wheat"])).unwrap().embeddings[0].vector, [2.0, 2.0, -2.0]);
}

#[test]
fn graph_had_a_queue_for_texts_and_another_for_tensors() {
    let served = served(FakeGraph::new(&["input_ids"], TensorType::I64, &PER_TOKEN));
    let (_folder, files) = with_tokenizer(&word_tokenizer());
    let metadata = json!({"pooling": "mean", "normalize": true});
    let task = SentenceEncoder::of_graph("a_v1", Arc::clone(&served), metadata.as_object().unwrap(), &files).unwrap();
    let SentenceTask::Ready(encoder) = task else { panic!("it is declared") };
    embed(&encoder, &request(&["wheat", "rice"])).unwrap();
    let tokens = Tensor::new(vec![1, 2], TensorData::I64(vec![1, 2]));
    served.run(vec![("input_ids", tokens)], &Patience::default()).unwrap();
    for statistics in [served.statistics(), encoder.batch_statistics()] {
        assert_eq!((statistics.items, statistics.batches), (3, 3), "every text has a turn of its own");
    }
}

#[test]
fn graph_cuts_texts_where_its_record_says_or_else_its_tokenizer() {
    for (metadata, tokens) in [(json!({}), 5), (json!({"max_seq_len": 4}), 4)] {
        let mut metadata = metadata;
        metadata["pooling"] = json!("mean");
        metadata["normalize"] = json!(true);
        let graph = FakeGraph::new(&["input_ids"], TensorType::I64, &PER_TOKEN);
        let encoder = of_graph(graph, metadata, &word_tokenizer()).unwrap();
        let answer = embed(&encoder, &request(&["wheat wheat wheat wheat"])).unwrap();
        assert_eq!((answer.embeddings[0].tokens, answer.embeddings[0].truncated), (tokens, true));
    }
}

#[test]
fn declarations_that_do_not_fit_a_graph_are_refused() {
    let graph = |names: &[&str]| FakeGraph::new(names, TensorType::I64, &PER_TOKEN);
    let floats = || FakeGraph::new(&["input_ids"], TensorType::F32, &PER_TOKEN);
    let declared = json!({"pooling": "mean", "normalize": true});
    let mut endless = word_tokenizer();
    endless["truncation"] = serde_json::Value::Null;
    let cases = [
        (graph(&["input_ids"]), json!({"pooling": "mean"}), "`metadata.normalize`"),
        (graph(&["input_ids"]), json!({"normalize": true}), "`metadata.pooling`"),
        (graph(&["input_ids"]), json!({"pooling": "sum", "normalize": true}), "\"sum\""),
        (graph(&["input_ids"]), json!({"pooling": "none", "normalize": true}), "float32 [?, dimensions]"),
        (graph(&["input_ids", "pixels"]), declared.clone(), "`pixels` int64 [?, ?]"),
        (graph(&["attention_mask"]), declared.clone(), "nothing of that name"),
        (floats(), declared.clone(), "`input_ids` float32 [?, ?]"),
        (
            graph(&["input_ids"]),
            json!({"pooling": "mean", "normalize": true, "max_seq_len": 0}),
            "`metadata.max_seq_len`",
        ),
    ];
    for (graph, metadata, expected) in cases {
        let error = of_graph(graph, metadata, &word_tokenizer()).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
    }
    let error = of_graph(graph(&["input_ids"]), declared.clone(), &endless).err().unwrap().to_string();
    assert!(error.contains("`tokenizer.json` cuts no text"), "{error}");
    let nothing = LocalFiles(Vec::new());
    let without_files = |metadata: &Map<String, Value>| {
        SentenceEncoder::of_graph("a_v1", served(graph(&["input_ids"])), metadata, &nothing)
    };
    let alone = without_files(declared.as_object().unwrap());
    assert!(alone.err().unwrap().to_string().contains("without `tokenizer.json`"));
    let undeclared = without_files(&Map::new()).unwrap();
    assert!(matches!(undeclared, SentenceTask::Undeclared));
}

/// An encoder that notes how many sequences each batch has, and lets each begin only when the test says so.
struct HeldEmbedder {
    model: FakeEmbedder,
    began: mpsc::Sender<usize>,
    may_go: Mutex<mpsc::Receiver<()>>,
}

impl Embedder for HeldEmbedder {
    fn info(&self) -> &seedhouse_core::runtime::EmbedderInfo {
        self.model.info()
    }

    fn embed(&self, sequences: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        self.began.send(sequences.len()).unwrap();
        self.may_go.lock().unwrap().recv().unwrap();
        self.model.embed(sequences)
    }

    fn memory_bytes(&self) -> u64 {
        0
    }
}

#[test]
fn texts_of_several_callers_are_one_batch_with_the_vectors_of_each_alone() {
    let (began, has_begun) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let model = HeldEmbedder { model: FakeEmbedder::new(), began, may_go: Mutex::new(may_go) };
    let held = SentenceEncoder::new("a_v1", Arc::new(model), BatchSettings::default()).unwrap();
    let alone = encoder(|_| {});
    let requests = [request(&["wheat"]), request(&["rice", "wheat rice"]), request(&["maize"])];
    thread::scope(|scope| {
        let ask = |request: &EmbedRequest| {
            let (held, request) = (&held, request.clone());
            scope.spawn(move || embed(held, &request).unwrap().embeddings)
        };
        let first = ask(&requests[0]);
        assert_eq!(has_begun.recv().unwrap(), 1);
        let others = [ask(&requests[1]), ask(&requests[2])];
        while held.batch_statistics().waiting < 2 {
            thread::yield_now();
        }
        go.send(()).unwrap();
        assert_eq!(has_begun.recv().unwrap(), 3);
        go.send(()).unwrap();
        for (asker, request) in [first].into_iter().chain(others).zip(&requests) {
            assert_eq!(asker.join().unwrap(), embed(&alone, request).unwrap().embeddings);
        }
    });
}

#[test]
fn tokenizer_without_a_special_token_that_it_names_is_refused_and_does_not_panic() {
    let mut tokenizer = word_tokenizer();
    tokenizer["post_processor"]["special_tokens"] = json!({});
    let mut model = FakeEmbedder::new();
    model.info.tokenizer = tokenizer.to_string();
    let error = SentenceEncoder::new("a_v1", Arc::new(model), BatchSettings::default()).err().unwrap();
    assert!(error.to_string().contains("`tokenizer.json`"), "{error}");
}
