//! `seedhouse demo`: two real models are registered, verified and run in a fresh registry, then served.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use seedhouse_api::Limits;
use seedhouse_core::{Entry, Reference};
use seedhouse_service::{GenerateRequest, Message, Prompt, Service};
use serde_json::{Value, json};

use crate::cli::{DemoArguments, RegisterArguments};
use crate::commands::serve::{self, BackgroundOptions, FrontOptions, Listener};
use crate::commands::{classify, register, verify};
use crate::output::{Output, entry_json, human_size, print_json, print_line};
use crate::registry::Registry;

const TEXT_MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const IMAGE_MODEL: &str = "efficientnet-lite0-57934424.pth";
const LABELS: &str = "imagenet1k_label_to_names.json";
const PHOTOGRAPH: &str = "chelsea.png";

pub(super) fn run(arguments: &DemoArguments, output: Output) -> anyhow::Result<()> {
    let root = tempfile::Builder::new().prefix("seedhouse-demo-").tempdir()?;
    let registry = Registry::open_or_create(root.path())?;
    // First of all: an address that cannot be served on is told before minutes of work.
    let listener = if arguments.once { None } else { Some(Listener::bind(&registry.service, arguments.listen)?) };
    let demo = Demo { service: &registry.service, models: &arguments.models, output };
    demo.say(&format!("A fresh registry in {}", root.path().display()))?;
    let transcript = json!({
        "root": root.path(),
        "registered": demo.register_models()?,
        "verified": demo.verify_models()?,
        "generated": demo.generate_text()?,
        "classified": demo.classify_photograph()?,
    });
    if output == Output::Json {
        print_json(&transcript)?;
    }
    if let Some(listener) = listener {
        demo.print_usage(&listener.url()?)?;
        let (limits, front, background) = (Limits::default(), FrontOptions::default(), BackgroundOptions::default());
        serve::serve_until_stopped(registry.service.clone(), listener, limits, front, &background, output)?;
    }
    registry.close()?;
    Ok(())
}

/// What the steps work with. Each prints its part of the transcript for people, and returns it for machines.
struct Demo<'d> {
    service: &'d Service,
    models: &'d Path,
    output: Output,
}

impl Demo<'_> {
    fn say(&self, line: &str) -> std::io::Result<()> {
        match self.output {
            Output::Text => print_line(line),
            Output::Json => Ok(()),
        }
    }

    fn step(&self, title: &str) -> std::io::Result<()> {
        self.say(&format!("\n== {title}"))
    }

    fn register_models(&self) -> anyhow::Result<Vec<Value>> {
        self.step("Register: what the record says is read from the files")?;
        let text = self.register_one("smollm2", TEXT_MODEL, None, None)?;
        self.print_registered(&text, &["vocab_size", "max_seq_len", "d_model", "num_layers"])?;
        // How the network was trained to see images is not in its file: these are claims, and the record marks them.
        let metadata = json!({
            "image_size": 224,
            "preprocess": {"crop": "center_square", "filter": "bicubic", "size": [224, 224],
                           "mean": [127, 127, 127], "std": [128, 128, 128]},
        });
        let labels = self.models.join(LABELS);
        let image = self.register_one("efficientnet_lite0", IMAGE_MODEL, Some(metadata.to_string()), Some(labels))?;
        self.print_registered(&image, &["model_type", "num_classes", "image_channels", "base_channels"])?;
        Ok(vec![entry_json(&text), entry_json(&image)])
    }

    fn register_one(
        &self,
        name: &str,
        file: &str,
        metadata: Option<String>,
        labels: Option<PathBuf>,
    ) -> anyhow::Result<Entry> {
        let arguments =
            RegisterArguments { metadata, labels, ..RegisterArguments::of_path(name.parse()?, self.models.join(file)) };
        Ok(register::register(self.service, &arguments)?)
    }

    fn print_registered(&self, entry: &Entry, hyper_parameters: &[&str]) -> std::io::Result<()> {
        let record = &entry.record;
        let size = human_size(record.size_bytes().unwrap_or_default());
        self.say(&format!(
            "{}  {}, {}, {size}, {}",
            record.model_id, record.model_type, record.framework, record.status
        ))?;
        if let Some(digest) = record.digest() {
            self.say(&format!("  {digest}"))?;
        }
        let metadata = record.metadata();
        let facts =
            hyper_parameters.iter().filter_map(|name| metadata.get(*name).map(|value| format!("{name} {value}")));
        self.say(&format!("  from the file: {}", facts.collect::<Vec<_>>().join(", ")))
    }

    fn verify_models(&self) -> anyhow::Result<Vec<Value>> {
        self.step("Verify: the stored bytes, hashed again")?;
        let mut files = Vec::new();
        self.service.verify(&[], &mut |file| files.push(file))?;
        for file in &files {
            self.say(&verify::file_line(file))?;
        }
        files.iter().find_map(|file| file.error()).map_or(Ok(()), Err)?;
        Ok(files.iter().map(verify::file_json).collect())
    }

    fn generate_text(&self) -> anyhow::Result<Vec<Value>> {
        self.step("Generate: greedy, then the model's own chat template")?;
        let prompt = "The capital of France is";
        let continuation = self.generate(Prompt::Text(prompt.into()), 24)?;
        self.say(&format!("prompt     {prompt:?}\ngenerated  {continuation:?}"))?;
        let question = "Name three crops that grow in wet soil.";
        let message = Message { role: "user".into(), content: question.into() };
        let answer = self.generate(Prompt::Chat(vec![message]), 64)?;
        self.say(&format!("\nuser: {question}\nassistant: {answer}"))?;
        Ok(vec![json!({ "prompt": prompt, "text": continuation }), json!({ "user": question, "text": answer })])
    }

    fn generate(&self, prompt: Prompt, max_new_tokens: usize) -> anyhow::Result<String> {
        let request = GenerateRequest::new(prompt, max_new_tokens);
        let answer = self.service.generate(&reference("smollm2")?, &request, &mut |_| ControlFlow::Continue(()))?;
        Ok(answer.value.first().text.clone())
    }

    fn classify_photograph(&self) -> anyhow::Result<Vec<Value>> {
        self.step(&format!("Classify: {PHOTOGRAPH}"))?;
        let photograph = self.models.join(PHOTOGRAPH);
        let answer = classify::classify(self.service, &reference("efficientnet_lite0")?, &photograph, Some(3))?;
        for prediction in &answer.value.predictions {
            self.say(&classify::prediction_line(prediction))?;
        }
        Ok(answer.value.predictions.iter().map(classify::prediction_json).collect())
    }

    fn print_usage(&self, address: &str) -> std::io::Result<()> {
        self.step("Serve: until Ctrl-C; then the registry is removed")?;
        self.say(&format!("curl {address}/api/models/smollm2"))?;
        self.say(&format!(
            r#"curl {address}/api/inference/text/generation -d '{{"model_id": "smollm2", "prompt": "Wheat is", "max_length": 20}}'"#
        ))?;
        self.say(&format!(
            "curl {address}/api/inference/image/classification -F model_id=efficientnet_lite0 -F file=@{}",
            self.models.join(PHOTOGRAPH).display()
        ))
    }
}

fn reference(name: &str) -> anyhow::Result<Reference> {
    Ok(name.parse()?)
}
