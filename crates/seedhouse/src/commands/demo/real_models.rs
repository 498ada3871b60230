//! Two real models, where their files were fetched: registered, verified and run.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use seedhouse_core::Entry;
use seedhouse_service::{GenerateRequest, Message, Prompt};
use serde_json::{Value, json};

use super::{Demo, reference};
use crate::cli::RegisterArguments;
use crate::commands::{classify, register, verify};
use crate::output::{entry_json, human_size};

const TEXT_MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const IMAGE_MODEL: &str = "efficientnet-lite0-57934424.pth";
const LABELS: &str = "imagenet1k_label_to_names.json";
const PHOTOGRAPH: &str = "chelsea.png";

/// Registers both, verifies them and runs them; returns the transcript for machines.
pub(super) fn show(demo: &Demo<'_>, models: &Path) -> anyhow::Result<Value> {
    let real = RealModels { demo, models };
    Ok(json!({
        "registered": real.register_models()?,
        "verified": real.verify_models()?,
        "generated": real.generate_text()?,
        "classified": real.classify_photograph()?,
    }))
}

/// Prints how both are asked over HTTP.
pub(super) fn print_usage(demo: &Demo<'_>, models: &Path, address: &str) -> std::io::Result<()> {
    demo.say(&format!("curl {address}/api/models/smollm2"))?;
    demo.say(&format!(
        r#"curl {address}/api/inference/text/generation -d '{{"model_id": "smollm2", "prompt": "Wheat is", "max_length": 20}}'"#
    ))?;
    demo.say(&format!(
        "curl {address}/api/inference/image/classification -F model_id=efficientnet_lite0 -F file=@{}",
        models.join(PHOTOGRAPH).display()
    ))
}

/// The steps. Each prints its part of the transcript for people, and returns it for machines.
struct RealModels<'d> {
    demo: &'d Demo<'d>,
    models: &'d Path,
}

impl RealModels<'_> {
    fn register_models(&self) -> anyhow::Result<Vec<Value>> {
        self.demo.step("Register: what the record says is read from the files")?;
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
        Ok(register::register(self.demo.service, &arguments)?)
    }

    fn print_registered(&self, entry: &Entry, hyper_parameters: &[&str]) -> std::io::Result<()> {
        let record = &entry.record;
        let size = human_size(record.size_bytes().unwrap_or_default());
        self.demo.say(&format!(
            "{}  {}, {}, {size}, {}",
            record.model_id, record.model_type, record.framework, record.status
        ))?;
        if let Some(digest) = record.digest() {
            self.demo.say(&format!("  {digest}"))?;
        }
        let metadata = record.metadata();
        let facts =
            hyper_parameters.iter().filter_map(|name| metadata.get(*name).map(|value| format!("{name} {value}")));
        self.demo.say(&format!("  from the file: {}", facts.collect::<Vec<_>>().join(", ")))
    }

    fn verify_models(&self) -> anyhow::Result<Vec<Value>> {
        self.demo.step("Verify: the stored bytes, hashed again")?;
        let mut files = Vec::new();
        self.demo.service.verify(&[], &mut |file| files.push(file))?;
        for file in &files {
            self.demo.say(&verify::file_line(file))?;
        }
        files.iter().find_map(|file| file.error()).map_or(Ok(()), Err)?;
        Ok(files.iter().map(verify::file_json).collect())
    }

    fn generate_text(&self) -> anyhow::Result<Vec<Value>> {
        self.demo.step("Generate: greedy, then the model's own chat template")?;
        let prompt = "The capital of France is";
        let continuation = self.generate(Prompt::Text(prompt.into()), 24)?;
        self.demo.say(&format!("prompt     {prompt:?}\ngenerated  {continuation:?}"))?;
        let question = "Name three crops that grow in wet soil.";
        let message = Message { role: "user".into(), content: question.into() };
        let answer = self.generate(Prompt::Chat(vec![message]), 64)?;
        self.demo.say(&format!("\nuser: {question}\nassistant: {answer}"))?;
        Ok(vec![json!({ "prompt": prompt, "text": continuation }), json!({ "user": question, "text": answer })])
    }

    fn generate(&self, prompt: Prompt, max_new_tokens: usize) -> anyhow::Result<String> {
        let request = GenerateRequest::new(prompt, max_new_tokens);
        let answer =
            self.demo.service.generate(&reference("smollm2")?, &request, &mut |_| ControlFlow::Continue(()))?;
        Ok(answer.value.first().text.clone())
    }

    fn classify_photograph(&self) -> anyhow::Result<Vec<Value>> {
        self.demo.step(&format!("Classify: {PHOTOGRAPH}"))?;
        let photograph = self.models.join(PHOTOGRAPH);
        let answer = classify::classify(self.demo.service, &reference("efficientnet_lite0")?, &photograph, Some(3))?;
        for prediction in &answer.value.predictions {
            self.demo.say(&classify::prediction_line(prediction))?;
        }
        Ok(answer.value.predictions.iter().map(classify::prediction_json).collect())
    }
}
