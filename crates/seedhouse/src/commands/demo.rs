//! `seedhouse demo`: six kinds of models at work in a fresh registry, then served. What is shown is in the binary; nothing is fetched.
//!
//! ```text
//! pack          the models that `scripts/demo_pack.py` trained, and the receipts of their figures
//! families      each of them at work
//! real_models   two models of others, where somebody fetched them
//! ```

mod families;
mod pack;
mod real_models;

use seedhouse_api::Limits;
use seedhouse_core::Reference;
use seedhouse_service::Service;
use serde_json::json;

use crate::cli::DemoArguments;
use crate::commands::serve::{self, BackgroundOptions, FrontOptions, Listener};
use crate::output::{Output, print_json, print_line};
use crate::registry::Registry;

pub(super) fn run(arguments: &DemoArguments, output: Output) -> anyhow::Result<()> {
    let root = tempfile::Builder::new().prefix("seedhouse-demo-").tempdir()?;
    let registry = Registry::open_or_create(root.path())?;
    // First of all: an address that cannot be served on is told before minutes of work.
    let listener = if arguments.once { None } else { Some(Listener::bind(&registry.service, arguments.listen)?) };
    let demo = Demo { service: &registry.service, output };
    demo.say(&format!("A fresh registry in {}", root.path().display()))?;
    let (models, shown) = (pack::show(&demo)?, families::show(&demo, arguments.images.as_deref())?);
    let real = arguments.models.as_deref().map(|models| real_models::show(&demo, models)).transpose()?;
    if output == Output::Json {
        print_json(&json!({ "root": root.path(), "models": models, "families": shown, "real_models": real }))?;
    }
    if let Some(listener) = listener {
        let address = listener.url()?;
        demo.step("Serve: until Ctrl-C; then the registry is removed")?;
        families::print_usage(&demo, &address)?;
        if let Some(models) = &arguments.models {
            real_models::print_usage(&demo, models, &address)?;
        }
        let (limits, front, background) = (Limits::default(), FrontOptions::default(), BackgroundOptions::default());
        serve::serve_until_stopped(registry.service.clone(), listener, limits, front, &background, output)?;
    }
    registry.close()?;
    Ok(())
}

/// What the steps work with. Each prints its part of the transcript for people, and returns it for machines.
struct Demo<'d> {
    service: &'d Service,
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
}

fn reference(name: &str) -> anyhow::Result<Reference> {
    Ok(name.parse()?)
}
