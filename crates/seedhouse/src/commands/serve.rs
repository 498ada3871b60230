//! `seedhouse serve`: the HTTP API until SIGTERM or SIGINT.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use seedhouse_api::{AllowedHost, AllowedOrigin, Doors, Limits, router};
use seedhouse_core::Error;
use seedhouse_service::{Reach, Service};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::ServeArguments;
use crate::output::print_line;
use crate::registry::Registry;

pub(super) fn run(root: &Path, arguments: &ServeArguments) -> anyhow::Result<()> {
    let registry = Registry::open_or_create(root)?;
    let limits =
        Limits { json_bytes: arguments.max_json_bytes, upload_bytes: arguments.max_upload_bytes, ..Limits::default() };
    let allowed = Allowed { hosts: arguments.allow_host.clone(), origins: arguments.allow_origin.clone() };
    mend_links_in_background(registry.service.clone());
    serve_until_stopped(registry.service.clone(), arguments.listen, limits, allowed)?;
    registry.close()?;
    Ok(())
}

/// How long requests in flight may take after the signal to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// Threads for requests that compute or wait for the disk; further requests wait for one of them.
const BLOCKING_THREADS: usize = 64;

/// Which names and web pages are allowed besides the server's own.
#[derive(Default)]
pub(super) struct Allowed {
    pub(super) hosts: Vec<AllowedHost>,
    pub(super) origins: Vec<AllowedOrigin>,
}

/// Serves until SIGTERM or SIGINT, then lets requests in flight finish. An address that others can reach is refused when
/// there is no active token.
pub(super) fn serve_until_stopped(
    service: Arc<Service>,
    listen: SocketAddr,
    limits: Limits,
    allowed: Allowed,
) -> anyhow::Result<()> {
    let reach = if listen.ip().is_loopback() { Reach::Loopback } else { Reach::Public };
    service.access().check_reach(reach, listen)?;
    let doors = Doors { reach, hosts: allowed.hosts, origins: allowed.origins };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listener = TcpListener::bind(listen).await.map_err(|error| cannot_listen(listen, &error))?;
        print_line(&format!("seedhouse {} listens on http://{}", env!("CARGO_PKG_VERSION"), listener.local_addr()?))?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        // Without it a keep-alive client waits for the delayed acknowledgement of every answer's head.
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::warn!(%error, "cannot set TCP_NODELAY");
            }
        });
        let server = axum::serve(listener, router(service, limits, doors)).with_graceful_shutdown(async {
            // A dropped sender means the same as a message: stop.
            let _ = stopped.await;
        });
        let server = tokio::spawn(server.into_future());
        tokio::select! {
            _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
            _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
        }
        drop(stop);
        match tokio::time::timeout(DRAIN, server).await {
            Ok(ended) => ended??,
            Err(_) => tracing::warn!(seconds = DRAIN.as_secs(), "requests in flight did not finish in time"),
        }
        Ok::<_, anyhow::Error>(())
    })?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
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
