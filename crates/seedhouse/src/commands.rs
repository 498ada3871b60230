//! The subcommands, one file each: read the arguments, call the service once, print.

mod adopt;
mod alias;
mod audit;
mod backup;
mod card;
mod classify;
mod convert;
mod dataset;
mod delete;
mod demo;
mod embed;
mod evaluate;
mod export;
mod gc;
mod generate;
mod here;
mod history;
mod imagine;
mod import;
mod jobs;
mod lineage;
mod list;
mod load;
mod predict;
mod ps;
mod pull;
mod quantize;
mod register;
mod restore;
mod runtime;
mod scrub;
mod serve;
mod show;
mod solve;
mod statistics;
mod token;
mod train;
mod update;
mod verify;
mod versions;

use std::process::ExitCode;

use seedhouse_core::{Entry, Result};
use seedhouse_service::{Origin, Service};

use crate::cli::{AuditCommand, Cli, Command, JobsCommand};
use crate::language_settings::LanguageArguments;
use crate::output::{Output, entry_json, print_json, print_line};
use crate::registry::{Registry, Serving};

/// Runs the command of the user.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let output = cli.output();
    match &cli.command {
        Command::Register(arguments) => {
            let registry = Registry::open_or_create_with(&cli.root, of(cli, &arguments.language)?)?;
            register::run(&registry.service, arguments, output)?;
            registry.close()?;
        }
        Command::List(arguments) => list::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Show(arguments) => show::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Statistics => statistics::run(&Registry::open(&cli.root)?.service, output)?,
        Command::Versions(arguments) => versions::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Update(arguments) => {
            changing(cli, |service| update::run(service, arguments, output))?;
        }
        Command::Card(arguments) if arguments.is_question() => {
            card::print(&Registry::open(&cli.root)?.service, arguments)?;
        }
        Command::Card(arguments) => changing(cli, |service| card::change(service, arguments, output))?,
        Command::Lineage(arguments) => lineage::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Alias(command) => changing(cli, |service| alias::run(service, command, output))?,
        Command::Delete(arguments) => changing(cli, |service| delete::run(service, arguments, output))?,
        Command::Undelete(arguments) => changing(cli, |service| delete::undelete(service, arguments, output))?,
        Command::Gc(arguments) => gc::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::History(arguments) => history::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Audit(AuditCommand::Verify) => return audit::run(&Registry::open(&cli.root)?.service, output),
        Command::Verify(arguments) => return verify::run(&Registry::open(&cli.root)?.service, arguments, output),
        Command::Scrub(arguments) => {
            let registry = Registry::open(&cli.root)?;
            let code = scrub::run(&registry.service, arguments, output)?;
            registry.close()?;
            return Ok(code);
        }
        Command::Jobs { command } => {
            let default = JobsCommand::default();
            jobs::run(
                &Registry::open_with(&cli.root, loading(cli))?.service,
                command.as_ref().unwrap_or(&default),
                output,
            )?;
        }
        Command::Adopt(arguments) => adopt::run(&cli.root, &cli.onnx_runtime, arguments, output)?,
        Command::Backup(arguments) => backup::run(&cli.root, arguments, output)?,
        Command::Restore(arguments) => restore::run(&cli.root, arguments, output)?,
        Command::Export(arguments) => export::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Import(arguments) => {
            let registry = Registry::open_or_create_with(&cli.root, loading(cli))?;
            import::run(&registry.service, arguments, output)?;
            registry.close()?;
        }
        Command::Pull(arguments) => {
            let registry = Registry::open_or_create_with(&cli.root, loading(cli))?;
            pull::run(&registry.service, arguments, output)?;
            registry.close()?;
        }
        Command::Dataset(arguments) => {
            let registry = Registry::open_or_create(&cli.root)?;
            dataset::run(&registry.service, arguments, output)?;
            registry.close()?;
        }
        Command::Train(arguments) => changing(cli, |service| train::run(service, arguments, output))?,
        Command::Evaluate(arguments) => changing(cli, |service| evaluate::run(service, arguments, output))?,
        Command::Quantize(arguments) => changing(cli, |service| quantize::run(service, arguments, output))?,
        Command::Convert(arguments) => {
            convert::run(&Registry::open_with(&cli.root, loading(cli))?.service, arguments, output)?;
        }
        Command::Generate(arguments) => {
            let registry = Registry::open_with(&cli.root, of(cli, &arguments.language)?)?;
            generate::run(&registry.service, arguments, output)?;
        }
        Command::Imagine(arguments) => {
            let registry = Registry::open_with(&cli.root, of(cli, &arguments.language)?)?;
            imagine::run(&registry.service, arguments, output)?;
        }
        Command::Classify(arguments) => {
            classify::run(&Registry::open_with(&cli.root, loading(cli))?.service, arguments, output)?;
        }
        Command::Embed(arguments) => {
            embed::run(&Registry::open_with(&cli.root, loading(cli))?.service, arguments, output)?;
        }
        Command::Predict(arguments) => {
            predict::run(&Registry::open_with(&cli.root, loading(cli))?.service, arguments, output)?;
        }
        Command::Solve(arguments) => solve::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Serve(arguments) => serve::run(&cli.root, arguments, loading(cli), output)?,
        Command::Runtime(command) => runtime::run(&cli.root, command, output)?,
        Command::Ps(arguments) => ps::run(arguments, output)?,
        Command::Load(arguments) => load::load(arguments, output)?,
        Command::Unload(arguments) => load::unload(arguments, output)?,
        Command::Token(command) => token::run(&cli.root, command, output)?,
        Command::Demo(arguments) => demo::run(arguments, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What a command of its own asks of language models.
fn of(cli: &Cli, language: &LanguageArguments) -> Result<Serving> {
    Ok(Serving { native: language.options()?, ..loading(cli) })
}

/// What a command asks that loads models.
fn loading(cli: &Cli) -> Serving {
    Serving { onnx: cli.onnx_runtime.clone(), hub: cli.hub.clone(), ..Serving::default() }
}

/// Runs a command that changes a registry that exists, and brings `metadata.json` up to date.
fn changing(cli: &Cli, run: impl FnOnce(&Service) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let registry = Registry::open_with(&cli.root, loading(cli))?;
    run(&registry.service)?;
    registry.close()?;
    Ok(())
}

/// Who changes something from the command line.
fn origin(reason: Option<&String>) -> Origin {
    Origin { actor: "cli".into(), reason: reason.cloned() }
}

/// Prints a version after a change.
fn print_changed(entry: &Entry, what: &str, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => print_json(&entry_json(entry)),
        Output::Text => Ok(print_line(&format!("{what} {} (revision {})", entry.record.model_id, entry.revision))?),
    }
}
