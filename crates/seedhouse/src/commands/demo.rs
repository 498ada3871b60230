//! `seedhouse demo`: two real models are registered, verified and run in a fresh registry, then served.

use std::ops::ControlFlow;
use std::path::Path;

use seedhouse_api::Limits;
use seedhouse_core::{Entry, Reference};
use seedhouse_service::{GenerateRequest, Message, Prompt, Sampling, Service};
use serde_json::json;

use crate::cli::{DemoArguments, RegisterArguments};
use crate::commands::serve::{self, Allowed};
use crate::commands::{classify, register, verify};
use crate::output::{human_size, print_line};
use crate::registry::Registry;

const TEXT_MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const IMAGE_MODEL: &str = "efficientnet-lite0-57934424.pth";
const LABELS: &str = "imagenet1k_label_to_names.json";
const PHOTOGRAPH: &str = "chelsea.png";

pub(super) fn run(arguments: &DemoArguments) -> anyhow::Result<()> {
    let root = tempfile::Builder::new().prefix("seedhouse-demo-").tempdir()?;
    let registry = Registry::open_or_create(root.path())?;
    let service = &registry.service;
    print_line(&format!("A fresh registry in {}", root.path().display()))?;
    register_models(service, &arguments.models)?;
    verify_models(service)?;
    generate_text(service)?;
    classify_photograph(service, &arguments.models)?;
    if !arguments.once {
        print_usage(arguments)?;
        serve::serve_until_stopped(registry.service.clone(), arguments.listen, Limits::default(), Allowed::default())?;
    }
    registry.close()?;
    Ok(())
}

fn step(title: &str) -> std::io::Result<()> {
    print_line(&format!("\n== {title}"))
}

fn register_models(service: &Service, models: &Path) -> anyhow::Result<()> {
    step("Register: what the record says is read from the files")?;
    let text = register_one(service, "smollm2", &models.join(TEXT_MODEL), None, None)?;
    print_registered(&text, &["vocab_size", "max_seq_len", "d_model", "num_layers"])?;
    // How the network was trained to see images is not in its file: these are claims, and the record marks them.
    let metadata = json!({
        "image_size": 224,
        "preprocess": {"crop": "center_square", "filter": "bicubic", "size": [224, 224],
                       "mean": [127, 127, 127], "std": [128, 128, 128]},
    });
    let labels = models.join(LABELS);
    let image = register_one(
        service,
        "efficientnet_lite0",
        &models.join(IMAGE_MODEL),
        Some(metadata.to_string()),
        Some(&labels),
    )?;
    print_registered(&image, &["model_type", "num_classes", "image_channels", "base_channels"])?;
    Ok(())
}

fn register_one(
    service: &Service,
    name: &str,
    path: &Path,
    metadata: Option<String>,
    labels: Option<&Path>,
) -> anyhow::Result<Entry> {
    let arguments = RegisterArguments {
        name: name.parse()?,
        paths: vec![path.to_owned()],
        version: None,
        model_id: None,
        model_type: None,
        framework: None,
        status: None,
        description: None,
        metadata,
        labels: labels.map(Path::to_owned),
    };
    Ok(register::register(service, &arguments)?)
}

fn print_registered(entry: &Entry, hyper_parameters: &[&str]) -> std::io::Result<()> {
    let record = &entry.record;
    let size = human_size(record.size_bytes().unwrap_or_default());
    print_line(&format!(
        "{}  {}, {}, {size}, {}",
        record.model_id, record.model_type, record.framework, record.status
    ))?;
    if let Some(digest) = record.digest() {
        print_line(&format!("  {digest}"))?;
    }
    let metadata = record.metadata();
    let facts = hyper_parameters.iter().filter_map(|name| metadata.get(*name).map(|value| format!("{name} {value}")));
    print_line(&format!("  from the file: {}", facts.collect::<Vec<_>>().join(", ")))
}

fn verify_models(service: &Service) -> anyhow::Result<()> {
    step("Verify: the stored bytes, hashed again")?;
    let mut files = Vec::new();
    service.verify(&[], &mut |file| files.push(file))?;
    for file in &files {
        verify::print_file(file)?;
    }
    files.iter().find_map(|file| file.error()).map_or(Ok(()), Err)?;
    Ok(())
}

fn generate_text(service: &Service) -> anyhow::Result<()> {
    step("Generate: greedy, then the model's own chat template")?;
    let prompt = "The capital of France is";
    let text = generate(service, Prompt::Text(prompt.into()), 24)?;
    print_line(&format!("prompt     {prompt:?}\ngenerated  {text:?}"))?;
    let question = "Name three crops that grow in wet soil.";
    let message = Message { role: "user".into(), content: question.into() };
    let text = generate(service, Prompt::Chat(vec![message]), 64)?;
    print_line(&format!("\nuser: {question}\nassistant: {text}"))?;
    Ok(())
}

fn generate(service: &Service, prompt: Prompt, max_new_tokens: usize) -> anyhow::Result<String> {
    let request = GenerateRequest { prompt, max_new_tokens, sampling: Sampling::greedy(), stop: Vec::new() };
    let answer = service.generate(&reference("smollm2")?, &request, &mut |_| ControlFlow::Continue(()))?;
    Ok(answer.value.text)
}

fn classify_photograph(service: &Service, models: &Path) -> anyhow::Result<()> {
    step(&format!("Classify: {PHOTOGRAPH}"))?;
    let answer = classify::classify(service, &reference("efficientnet_lite0")?, &models.join(PHOTOGRAPH), 3)?;
    for prediction in &answer.value.predictions {
        print_line(&classify::prediction_line(prediction))?;
    }
    Ok(())
}

fn reference(name: &str) -> anyhow::Result<Reference> {
    Ok(name.parse()?)
}

fn print_usage(arguments: &DemoArguments) -> std::io::Result<()> {
    step("Serve: until Ctrl-C; then the registry is removed")?;
    let address = format!("http://{}", arguments.listen);
    print_line(&format!("curl {address}/api/models/smollm2"))?;
    print_line(&format!(
        r#"curl {address}/api/inference/text/generation -d '{{"model_id": "smollm2", "prompt": "Wheat is", "max_length": 20}}'"#
    ))?;
    let photograph = arguments.models.join(PHOTOGRAPH);
    print_line(&format!(
        "curl {address}/api/inference/image/classification -F model_id=efficientnet_lite0 -F file=@{}",
        photograph.display()
    ))
}
