//! A runtime without arithmetic: its language model follows a rule that a test can compute in its head.
//!
//! It recognises files by the ending of the first one, `.fake-text`, `.fake-image` or `.fake-sentences`, and never opens them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use seedhouse_core::runtime::{
    Inspection, LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, StepPart, Tensor, TensorModel, TensorSpec,
    TextExecutor, TextModel, TextModelInfo, TokenizerModel, TokenizerSpec, check_inputs,
};
use seedhouse_core::{Digest, Error, Framework, ModelType, Result};
use serde_json::{Map, Value};

use self::fake_executor::FakeExecutor;
use crate::fake_embedder::FakeEmbedder;

mod fake_executor;

/// Id of `<|endoftext|>`, at which generation stops. Ids below are the bytes themselves.
pub const END_OF_TEXT: u32 = 256;
/// Id of `<|im_start|>`.
pub const TURN_START: u32 = 257;
/// Id of `<|im_end|>`, at which generation stops as well.
pub const TURN_END: u32 = 258;
/// Number of token ids.
pub const VOCAB_SIZE: usize = 259;
/// The longest sequence.
pub const CONTEXT_LENGTH: usize = 256;

/// The ChatML template with a default system message, which SmolLM2 has too.
pub const CHAT_TEMPLATE: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
    {{ '<|im_start|>system\nYou are a plant.<|im_end|>\n' }}{% endif %}\
    {{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Logits that follow a sequence, or answer an image.
type LogitsRule = Arc<dyn Fn(&[u32]) -> Vec<f32> + Send + Sync>;
type LoadHook = Box<dyn Fn(&LocalFiles) + Send + Sync>;
type MemoryRule = Arc<dyn Fn(&LocalFiles) -> u64 + Send + Sync>;
type RunHook = Arc<dyn Fn(&Tensor) + Send + Sync>;
type StepHook = Arc<dyn Fn(&[StepPart<'_>]) + Send + Sync>;

/// A runtime whose loads can be counted, watched and made to fail.
pub struct FakeRuntime {
    rule: LogitsRule,
    info: TextModelInfo,
    cache_tokens: usize,
    on_load: LoadHook,
    on_step: StepHook,
    on_run: RunHook,
    executors: Arc<AtomicUsize>,
    memory: MemoryRule,
    loads: AtomicUsize,
    failures: AtomicUsize,
}

impl FakeRuntime {
    /// Returns a runtime whose language model gives the logits of `rule` for the tokens so far.
    pub fn new(rule: impl Fn(&[u32]) -> Vec<f32> + Send + Sync + 'static) -> FakeRuntime {
        FakeRuntime {
            rule: Arc::new(rule),
            info: text_info(),
            cache_tokens: 1 << 20,
            on_load: Box::new(|_| {}),
            on_step: Arc::new(|_| {}),
            on_run: Arc::new(|_| {}),
            executors: Arc::default(),
            memory: Arc::new(|_| 0),
            loads: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
        }
    }

    /// Returns a runtime whose language model continues the alphabet (`c` after `b`), ends after `z`, and says `a` otherwise.
    pub fn alphabet() -> FakeRuntime {
        FakeRuntime::new(|tokens| {
            one_hot(match tokens.last() {
                Some(&last) if (u32::from(b'a')..u32::from(b'z')).contains(&last) => last + 1,
                Some(&last) if last == u32::from(b'z') => END_OF_TEXT,
                _ => u32::from(b'a'),
            })
        })
    }

    /// Returns a runtime whose language model answers a prompt of `prompt_tokens` tokens with `answer`, then ends.
    pub fn saying(answer: &str, prompt_tokens: usize) -> FakeRuntime {
        let answer = answer.as_bytes().to_vec();
        FakeRuntime::new(move |tokens| {
            let said = tokens.len().saturating_sub(prompt_tokens);
            one_hot(answer.get(said).map_or(END_OF_TEXT, |&byte| u32::from(byte)))
        })
    }

    /// Changes what the language model says about itself.
    pub fn with_info(mut self, change: impl FnOnce(&mut TextModelInfo)) -> FakeRuntime {
        change(&mut self.info);
        self
    }

    /// Calls `hook` at the start of every load, in the loading thread; it may block.
    pub fn on_load(mut self, hook: impl Fn(&LocalFiles) + Send + Sync + 'static) -> FakeRuntime {
        self.on_load = Box::new(hook);
        self
    }

    /// Calls `hook` at the start of every step of every executor, in the thread that owns it; it may block or panic.
    pub fn on_step(mut self, hook: impl Fn(&[StepPart<'_>]) + Send + Sync + 'static) -> FakeRuntime {
        self.on_step = Arc::new(hook);
        self
    }

    /// Calls `hook` with the images whenever an image classifier computes, in the thread that does; it may block or panic.
    pub fn on_run(mut self, hook: impl Fn(&Tensor) + Send + Sync + 'static) -> FakeRuntime {
        self.on_run = Arc::new(hook);
        self
    }

    /// Lets models say that they hold as many bytes as `rule` gives for their files, each time they are asked.
    pub fn with_memory(mut self, rule: impl Fn(&LocalFiles) -> u64 + Send + Sync + 'static) -> FakeRuntime {
        self.memory = Arc::new(rule);
        self
    }

    /// Limits the tokens of all sequences of an executor together.
    pub fn with_cache(mut self, tokens: usize) -> FakeRuntime {
        self.cache_tokens = tokens;
        self
    }

    /// Returns how many executors were made.
    pub fn executor_count(&self) -> usize {
        self.executors.load(Ordering::SeqCst)
    }

    /// Lets the next `count` loads fail with [`Error::Unavailable`].
    pub fn fail_next_loads(&self, count: usize) {
        self.failures.store(count, Ordering::SeqCst);
    }

    /// Returns how often `load` was called, failures included.
    pub fn load_count(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }
}

impl Runtime for FakeRuntime {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn formats(&self) -> &[Framework] {
        &[]
    }

    fn inspect(&self, files: &LocalFiles) -> Result<Option<Inspection>> {
        Ok(kind_of(files).map(|model_type| Inspection {
            framework: Framework::from("fake"),
            model_type,
            architecture: Some("fake".into()),
            hyper_parameters: Default::default(),
            tensor_count: 0,
            parameter_count: 0,
            tensor_types: BTreeMap::new(),
            not_servable_because: None,
            needs_library_because: None,
            quantization: None,
        }))
    }

    fn load(&self, files: &LocalFiles, _options: &LoadOptions) -> Result<LoadedModel> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        (self.on_load)(files);
        let one_less = |left: usize| left.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Err(Error::Unavailable { what: "the fake model".into(), reason: "a test asked for it".into() });
        }
        let memory: Memory = {
            let (rule, files) = (Arc::clone(&self.memory), files.clone());
            Arc::new(move || rule(&files))
        };
        match kind_of(files) {
            Some(ModelType::Vision) => {
                let on_run = Arc::clone(&self.on_run);
                let classifier = FakeClassifier { memory, on_run, ..FakeClassifier::new(3) };
                Ok(LoadedModel::Tensor(Arc::new(classifier)))
            }
            Some(ModelType::Embedding) => Ok(LoadedModel::Embedding(Arc::new(FakeEmbedder::new()))),
            Some(_) => {
                let executors = Arc::clone(&self.executors);
                let template = FakeExecutor::new(self);
                Ok(LoadedModel::Text(Arc::new(FakeText { info: self.info.clone(), template, executors, memory })))
            }
            None => Err(Error::unsupported("the format", "not `.fake-text`, `.fake-image` or `.fake-sentences`")),
        }
    }
}

/// Returns one file of that name which does not exist.
pub fn fake_files(name: &str) -> LocalFiles {
    let path = name.parse().expect("tests name a valid path");
    LocalFiles(vec![LocalFile { path, local: PathBuf::from(name), digest: Digest::of(name) }])
}

/// Returns logits that leave no doubt: 10 for `id`, 0 for every other.
pub fn one_hot(id: u32) -> Vec<f32> {
    (0..VOCAB_SIZE).map(|other| if other == id as usize { 10.0 } else { 0.0 }).collect()
}

/// Returns a tokenizer of the 256 bytes and three control tokens, without merges.
pub fn byte_tokenizer() -> TokenizerSpec {
    let mut tokens: Vec<String> = (0..=255).map(|byte| byte_level_character(byte).to_string()).collect();
    tokens.extend(["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(String::from));
    let control = vec![END_OF_TEXT, TURN_START, TURN_END];
    TokenizerSpec {
        model: TokenizerModel::ByteLevelBpe { tokens, merges: Vec::new(), control, added: Vec::new() },
        pre_tokenizer: "gpt-2".into(),
        bos: Some(TURN_START),
        eos: Some(END_OF_TEXT),
        stop: vec![TURN_END],
        add_bos: false,
    }
}

fn kind_of(files: &LocalFiles) -> Option<ModelType> {
    match files.0.first()?.path.extension()? {
        "fake-text" => Some(ModelType::Transformer),
        "fake-image" => Some(ModelType::Vision),
        "fake-sentences" => Some(ModelType::Embedding),
        _ => None,
    }
}

fn text_info() -> TextModelInfo {
    TextModelInfo {
        vocab_size: VOCAB_SIZE,
        context_length: CONTEXT_LENGTH,
        tokenizer: byte_tokenizer(),
        chat_template: Some(CHAT_TEMPLATE.into()),
    }
}

/// The character GPT-2 writes a byte as: itself when printable, else the next free one from U+0100 on.
fn byte_level_character(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&earlier| !is_printable(earlier)).count();
    let code = 0x100 + u32::try_from(rank).expect("a rank among 256 bytes");
    char::from_u32(code).expect("U+0100 to U+0143 are characters")
}

struct FakeText {
    info: TextModelInfo,
    template: FakeExecutor,
    executors: Arc<AtomicUsize>,
    memory: Memory,
}

/// What a model answers when it is asked for its bytes.
type Memory = Arc<dyn Fn() -> u64 + Send + Sync>;

impl TextModel for FakeText {
    fn info(&self) -> &TextModelInfo {
        &self.info
    }

    fn executor(&self) -> Result<Box<dyn TextExecutor>> {
        self.executors.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(self.template.clone()))
    }

    fn memory_bytes(&self) -> u64 {
        (self.memory)()
    }
}

/// An image classifier whose logits are the means of the colour channels: red is class 0, green 1, blue 2.
pub struct FakeClassifier {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    classes: usize,
    declared: Map<String, Value>,
    on_run: RunHook,
    memory: Memory,
}

impl FakeClassifier {
    /// Returns a classifier of `classes` classes; the ones after the third have a logit of -1000.
    pub fn new(classes: usize) -> FakeClassifier {
        let spec = |name: &str, shape: Vec<Option<usize>>| vec![TensorSpec::f32(name, shape)];
        FakeClassifier {
            inputs: spec("image", vec![None, Some(3), None, None]),
            outputs: spec("logits", vec![None, Some(classes)]),
            classes,
            declared: Map::new(),
            on_run: Arc::new(|_| {}),
            memory: Arc::new(|| 0),
        }
    }

    /// Lets it give features as well: the means themselves.
    pub fn with_features(mut self) -> FakeClassifier {
        self.outputs.push(TensorSpec::f32("features", vec![None, Some(3)]));
        self
    }

    /// Changes what its files say.
    pub fn with_declared(mut self, declared: Map<String, Value>) -> FakeClassifier {
        self.declared = declared;
        self
    }

    /// Changes the shape that the input claims to have.
    pub fn with_input_shape(mut self, shape: Vec<Option<usize>>) -> FakeClassifier {
        self.inputs[0].shape = shape;
        self
    }
}

impl TensorModel for FakeClassifier {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn declared(&self) -> Map<String, Value> {
        self.declared.clone()
    }

    fn rows_are_independent(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let image = check_inputs(&self.inputs, inputs)?[0];
        (self.on_run)(image);
        let (count, values) = (image.shape[0], image.f32s().unwrap_or_default());
        let plane = values.len() / count / 3;
        let mean = |channel: &[f32]| channel.iter().sum::<f32>() / plane as f32;
        let means: Vec<f32> = values.chunks_exact(plane).map(mean).collect();
        let padded = |means: &[f32]| {
            let mut logits = means.to_vec();
            logits.resize(self.classes, -1000.0);
            logits
        };
        let logits: Vec<f32> = means.chunks_exact(3).flat_map(padded).collect();
        let mut outputs = vec![Tensor::new(vec![count, self.classes], logits)];
        if self.outputs.len() > 1 {
            outputs.push(Tensor::new(vec![count, 3], means));
        }
        Ok(outputs)
    }

    fn memory_bytes(&self) -> u64 {
        (self.memory)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text_executor::{TextExecutorCase, text_executor_suite};

    #[test]
    fn fake_executor_keeps_the_promises() {
        let runtime = FakeRuntime::new(|tokens| {
            let sum: u32 = tokens.iter().enumerate().map(|(index, token)| (index as u32 + 1) * token).sum();
            one_hot(sum % 250)
        });
        let LoadedModel::Text(model) = runtime.load(&fake_files("a.fake-text"), &LoadOptions::default()).unwrap()
        else {
            panic!("`.fake-text` is a text model")
        };
        text_executor_suite(&TextExecutorCase { model: &*model, tolerance: 0.0 });
    }
}
