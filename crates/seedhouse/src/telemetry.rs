//! Logs on standard error. `SEEDHOUSE_LOG` takes filters like `info` or `seedhouse_store=debug`.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{Cli, Command, LogFormat};

/// Starts logging: a server tells what it does, a single command only what went wrong.
pub(crate) fn start(cli: &Cli) {
    let level = match cli.command {
        Command::Serve(_) => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    let filter =
        EnvFilter::builder().with_default_directive(level.into()).with_env_var("SEEDHOUSE_LOG").from_env_lossy();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match cli.log_format {
        LogFormat::Text => subscriber.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}
