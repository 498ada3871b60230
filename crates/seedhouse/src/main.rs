//! `seedhouse`: keeps, proves and serves machine-learning models.
//!
//! This crate is the command line and the wiring: it alone knows which adapters stand behind the ports.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod exit_code;
mod exporters;
mod failure;
mod host;
mod hub;
mod language_settings;
mod lifetime;
mod memory_budget;
mod onnx_library;
mod output;
mod progress_bar;
mod registry;
mod remote;
mod short_time;
mod telemetry;
mod web_address;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::report_usage(&error),
    };
    let telemetry = telemetry::start(&cli);
    let code = match commands::run(&cli) {
        Ok(code) => code,
        Err(error) => failure::report(&error, cli.output()),
    };
    telemetry.end();
    code
}
