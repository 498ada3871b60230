//! `seedhouse serve`: the HTTP API until SIGTERM or SIGINT.

mod background;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use seedhouse_api::{AllowedHost, AllowedOrigin, Doors, Limits, MetricsSettings, router};
use seedhouse_core::{Error, Result};
use seedhouse_service::{BatchSettings, Kept, MemorySettings, Reach, Service, TextSettings};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::ServeArguments;
use crate::memory_budget::MemoryBudget;
use crate::output::{Output, print_line};
use crate::registry::{Registry, Serving};
use background::Background;
pub(super) use background::BackgroundOptions;

pub(super) fn run(root: &Path, arguments: &ServeArguments, loading: Serving, output: Output) -> anyhow::Result<()> {
    let registry = Registry::open_or_create_with(root, serving(arguments, loading)?)?;
    registry.open_onnx_library()?;
    let listener = Listener::bind(&registry.service, arguments.listen)?;
    mend_links_in_background(registry.service.clone());
    let front = FrontOptions {
        hosts: arguments.allow_host.clone(),
        origins: arguments.allow_origin.clone(),
        metrics: MetricsSettings { is_open: arguments.open_metrics, aliases: arguments.metrics_aliases.clone() },
        shutdown_delay: arguments.shutdown_delay.map_or(Duration::ZERO, |delay| delay.0),
    };
    let background = BackgroundOptions {
        workers: arguments.job_workers,
        lease: arguments.job_lease.0,
        scrub_every: arguments.scrub_every.map(|every| every.0),
    };
    serve_until_stopped(registry.service.clone(), listener, limits(arguments), front, &background, output)?;
    registry.close()?;
    Ok(())
}

fn serving(arguments: &ServeArguments, loading: Serving) -> Result<Serving> {
    let budget = arguments.memory_budget.unwrap_or_else(MemoryBudget::of_this_machine);
    match budget.0 {
        Some(bytes) => tracing::debug!(bytes, "loaded versions share a budget of memory"),
        None => tracing::debug!("loaded versions may take all memory"),
    }
    let kept = Kept {
        pinned: arguments.pin.clone(),
        preloaded: arguments.preload.clone(),
        unload_after: arguments.unload_after.map(|after| after.0),
    };
    let memory = MemorySettings { budget: budget.0, ..MemorySettings::default() };
    let batching = BatchSettings {
        size: arguments.max_batch,
        delay: arguments.batch_delay,
        queued: arguments.max_waiting_requests,
    };
    Ok(Serving {
        text: text_settings(arguments),
        batching,
        native: arguments.language.options()?,
        memory,
        kept,
        ..loading
    })
}

fn text_settings(arguments: &ServeArguments) -> TextSettings {
    TextSettings {
        running: arguments.max_running_sequences,
        queued: arguments.max_waiting_generations,
        prompt_tokens: arguments.prompt_tokens_per_step,
        ..TextSettings::default()
    }
}

fn limits(arguments: &ServeArguments) -> Limits {
    Limits {
        json_bytes: arguments.max_json_bytes,
        upload_bytes: arguments.max_upload_bytes,
        inference_requests: arguments.max_inference_requests,
        uploads: arguments.max_uploads,
        open_uploads: arguments.max_open_uploads,
        idle: Duration::from_secs(arguments.idle_seconds),
        ..Limits::default()
    }
}

/// A bound address that may be served on. There is no other way to serve.
pub(super) struct Listener {
    socket: std::net::TcpListener,
    reach: Reach,
}

impl Listener {
    /// Binds the address.
    ///
    /// # Errors
    /// [`Error::PublicWithoutToken`] for an address that others can reach while there is no active token,
    /// [`Error::Unavailable`] when it cannot be bound.
    pub(super) fn bind(service: &Service, listen: SocketAddr) -> Result<Listener> {
        let reach = if listen.ip().is_loopback() { Reach::Loopback } else { Reach::Public };
        service.access().check_reach(reach, listen)?;
        let socket = std::net::TcpListener::bind(listen).map_err(|error| cannot_listen(listen, &error))?;
        Ok(Listener { socket, reach })
    }

    /// Returns where it really listens: port 0 has become a free one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the system does not say.
    pub(super) fn url(&self) -> Result<String> {
        let unknown =
            |error: std::io::Error| Error::Unavailable { what: "the address".into(), reason: error.to_string() };
        Ok(format!("http://{}", self.socket.local_addr().map_err(unknown)?))
    }
}

/// How long requests in flight may take after the signal to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// How long jobs may take to notice that the server stops.
const JOBS_LEAVE: Duration = Duration::from_secs(10);

/// How the server meets those who ask.
#[derive(Default)]
pub(super) struct FrontOptions {
    /// Names that are allowed besides the server's own.
    pub(super) hosts: Vec<AllowedHost>,
    /// Web pages that may send requests.
    pub(super) origins: Vec<AllowedOrigin>,
    /// Who sees metrics, and under which names.
    pub(super) metrics: MetricsSettings,
    /// How long requests are answered after the signal to stop, while the server says that it is not ready.
    pub(super) shutdown_delay: Duration,
}

/// Serves and does jobs until SIGTERM or SIGINT, then lets requests in flight finish and gives jobs back; a second signal
/// ends at once.
pub(super) fn serve_until_stopped(
    service: Arc<Service>,
    listener: Listener,
    limits: Limits,
    front: FrontOptions,
    background: &BackgroundOptions,
    output: Output,
) -> anyhow::Result<()> {
    let background = Background::start(&service, background)?;
    let served = answer_until_stopped(&service, listener, limits, front, output);
    service.stop().set();
    background.join_within(JOBS_LEAVE);
    served
}

fn answer_until_stopped(
    service: &Arc<Service>,
    listener: Listener,
    limits: Limits,
    front: FrontOptions,
    output: Output,
) -> anyhow::Result<()> {
    let doors = Doors { reach: listener.reach, hosts: front.hosts, origins: front.origins };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(limits.blocking_threads())
        .build()?;
    let grace: anyhow::Result<Duration> = runtime.block_on(async {
        let mut signals = Signals::new()?;
        print_listening(&listener.url()?, output)?;
        listener.socket.set_nonblocking(true)?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        // Without it a keep-alive client waits for the delayed acknowledgement of every answer's head.
        let listener = TcpListener::from_std(listener.socket)?.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::warn!(%error, "cannot set TCP_NODELAY");
            }
        });
        let server = axum::serve(listener, router(service.clone(), limits, doors, front.metrics))
            .with_graceful_shutdown(async {
                // A dropped sender means the same as a message: stop.
                let _ = stopped.await;
            });
        let server = tokio::spawn(server.into_future());
        tracing::info!("stopping on {}", signals.next().await);
        service.leave();
        let is_hurried = signals.come_within(front.shutdown_delay).await;
        service.stop().set();
        drop(stop);
        let mut grace = Duration::from_secs(1);
        if is_hurried {
            tracing::warn!("ending at once on a second signal");
            return Ok(Duration::ZERO);
        }
        tokio::select! {
            ended = server => ended??,
            () = tokio::time::sleep(DRAIN) => {
                tracing::warn!(seconds = DRAIN.as_secs(), "requests in flight did not finish in time");
            }
            signal = signals.next() => {
                tracing::warn!("ending at once on a second signal, {signal}");
                grace = Duration::ZERO;
            }
        }
        Ok(grace)
    });
    let grace = grace?;
    // A thread that works on has lost its client; the registry is whole at every moment.
    runtime.shutdown_timeout(grace);
    Ok(())
}

/// The signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits this long and says whether a signal came.
    async fn come_within(&mut self, longest: Duration) -> bool {
        !longest.is_zero() && tokio::time::timeout(longest, self.next()).await.is_ok()
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn print_listening(url: &str, output: Output) -> std::io::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    match output {
        Output::Json => print_line(&json!({ "listens": url, "version": version }).to_string()),
        Output::Text => print_line(&format!("seedhouse {version} listens on {url}")),
    }
}

fn cannot_listen(listen: SocketAddr, error: &std::io::Error) -> Error {
    Error::Unavailable { what: format!("address {listen}"), reason: error.to_string() }
}

/// A crash between a commit and the link leaves a file without its conventional name; nobody waits for it.
fn mend_links_in_background(service: Arc<Service>) {
    std::thread::spawn(move || {
        if let Err(error) = service.mend_links() {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot mend the names of files");
        }
    });
}
