//! Logs on standard error, and traces to an OpenTelemetry collector where one is named. `SEEDHOUSE_LOG` takes filters like `info` or
//! `seedhouse_store=debug`.
//!
//! ```text
//! otlp       a thread that sends spans in batches
//! span       a span as it is sent
//! traces     spans of the `tracing` crate -> spans to be sent
//! ```

mod otlp;
mod span;
mod traces;

use std::io;

use seedhouse_service::TRACES;
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

pub(crate) use self::otlp::Collector;
use self::otlp::Exporter;
use self::traces::Traces;
use crate::cli::{Cli, Command, LogFormat};

/// What has to be ended when the program does.
pub(crate) struct Telemetry {
    exporter: Option<Exporter>,
}

impl Telemetry {
    /// Sends what was not sent yet.
    pub(crate) fn end(self) {
        if let Some(exporter) = self.exporter {
            exporter.end();
        }
    }
}

/// Starts logging: a server tells what it does, a single command only what went wrong.
pub(crate) fn start(cli: &Cli) -> Telemetry {
    let (level, collector) = match &cli.command {
        Command::Serve(arguments) => (LevelFilter::INFO, arguments.otlp_endpoint.clone()),
        _ => (LevelFilter::WARN, None),
    };
    let filter =
        EnvFilter::builder().with_default_directive(level.into()).with_env_var("SEEDHOUSE_LOG").from_env_lossy();
    let filter = filter.and(filter_fn(|metadata| metadata.target() != TRACES));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match cli.log_format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
    };
    let exporter = collector.map(Exporter::start);
    let traces = exporter.as_ref().map(|exporter| {
        Traces::new(exporter.entrance()).with_filter(filter_fn(|metadata| metadata.target() == TRACES))
    });
    tracing_subscriber::registry().with(lines).with(traces).init();
    Telemetry { exporter }
}
