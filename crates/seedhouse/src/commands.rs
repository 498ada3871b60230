//! The subcommands, one file each: read the arguments, call the service once, print.

mod classify;
mod demo;
mod generate;
mod list;
mod register;
mod serve;
mod show;
mod verify;
mod versions;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::registry::Registry;

/// Runs the command of the user.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let output = cli.output();
    match &cli.command {
        Command::Register(arguments) => {
            let registry = Registry::open_or_create(&cli.root)?;
            register::run(&registry.service, arguments, output)?;
            registry.close()?;
        }
        Command::List(arguments) => list::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Show(arguments) => show::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Versions(arguments) => versions::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Verify(arguments) => return verify::run(&Registry::open(&cli.root)?.service, arguments, output),
        Command::Generate(arguments) => generate::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Classify(arguments) => classify::run(&Registry::open(&cli.root)?.service, arguments, output)?,
        Command::Serve(arguments) => serve::run(&cli.root, arguments, output)?,
        Command::Demo(arguments) => demo::run(arguments, output)?,
    }
    Ok(ExitCode::SUCCESS)
}
