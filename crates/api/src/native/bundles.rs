//! Bundles over HTTP: streamed out and streamed in, held whole neither in memory nor on the disk.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream;
use seedhouse_service::archive::Compression;
use seedhouse_service::core::{Error, Result, Unwatched};
use seedhouse_service::{Caller, ExportRequest, ImportOptions, ImportReport, Selection, Service};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use crate::admission::{Admission, Permit};
use crate::limits::Limits;
use crate::parameters::{ModelIdPath, QueryParameters};
use crate::problem::{Failure, Problem, Problems};
use crate::upload::read_whole;

/// How a bundle is sent.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct ExportParameters {
    /// `none` (by default) or `zstd`.
    compression: Option<String>,
}

/// How a bundle is taken in.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct ImportParameters {
    /// The base name that its versions get; for a bundle of one model.
    rename_to: Option<String>,
    /// Whether a version whose id is taken by other bytes becomes the next one of its model.
    #[serde(default)]
    next_version: bool,
    /// Whether aliases are pointed at the versions that they pointed at in the source.
    #[serde(default)]
    take_aliases: bool,
}

/// What an import did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BundleResponse {
    /// Versions that were added: `model_id`, `base`, `version`, `status`, `digest`, `renamed_from` and `notes`.
    #[schema(value_type = Vec<Object>)]
    imported: serde_json::Value,
    /// Versions that were there with the same bytes, and stay as they are.
    already_present: Vec<String>,
    /// Aliases that now point at versions of the bundle, as `base@alias`.
    aliases_taken: Vec<String>,
    /// Aliases that the source had and that were not taken.
    aliases_left: Vec<String>,
    /// How many bytes were read and verified.
    size_bytes: u64,
}

impl From<ImportReport> for BundleResponse {
    fn from(report: ImportReport) -> BundleResponse {
        BundleResponse {
            imported: serde_json::to_value(&report.imported).expect("a report has string keys only"),
            already_present: report.already_present.into_iter().map(String::from).collect(),
            aliases_taken: report.aliases_taken,
            aliases_left: report.aliases_left,
            size_bytes: report.size_bytes,
        }
    }
}

/// Sends a version with its bytes as a bundle (a tar archive; `docs/transfer.md` describes it). A bundle that is cut off is
/// recognised as such when it is imported.
#[utoipa::path(get, path = "/api/models/{model_id}/bundle", tag = "models", params(("model_id" = String, Path), ExportParameters),
    responses((status = 200, content_type = "application/x-tar", body = Vec<u8>), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn export(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    ModelIdPath(reference): ModelIdPath,
    QueryParameters(parameters): QueryParameters<ExportParameters>,
) -> Result<Response, Failure> {
    let permit = admission.upload()?;
    let (compression, content_type, ending) = match parameters.compression.as_deref() {
        None | Some("none") => (Compression::None, "application/x-tar", "tar"),
        Some("zstd") => (Compression::Zstd, "application/zstd", "tar.zst"),
        Some(other) => return Err(Error::invalid("compression", other, "must be `none` or `zstd`").into()),
    };
    let selection = Selection { references: vec![reference], ..Selection::default() };
    let mut receiver = start(service, ExportRequest { selection, compression }, limits.idle, permit);
    // A mistake is answered with its real status: nothing is sent before the first bytes are there.
    let first = match receiver.recv().await {
        Some(Piece::Bytes(bytes)) => bytes,
        Some(Piece::Failed(error)) => return Err(error.into()),
        None => return Err(Error::Internal("an export ended without a byte".into()).into()),
    };
    let headers = [
        (CONTENT_TYPE, content_type.to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"bundle.{ending}\"")),
    ];
    Ok((headers, body(first, receiver)).into_response())
}

/// Takes in a bundle: all its versions or none. Every byte is verified, and what can be computed is computed again. 201 when
/// versions were added, 200 when all were there already.
#[utoipa::path(post, path = "/api/bundles", tag = "models", params(ImportParameters),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 201, body = BundleResponse), (status = 200, body = BundleResponse), Problems))]
pub(crate) async fn import(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    QueryParameters(parameters): QueryParameters<ImportParameters>,
    request: Request,
) -> Result<(StatusCode, Json<BundleResponse>), Failure> {
    let permit = admission.upload()?;
    let rename_to = parameters.rename_to.as_deref().map(str::parse).transpose();
    let options = ImportOptions {
        rename_to: rename_to.map_err(|error: Error| about("rename_to", error))?,
        next_version: parameters.next_version,
        take_aliases: parameters.take_aliases,
        // What a small archive unpacks to may not be more than what may be sent.
        most_bytes: Some(limits.upload_bytes),
        actor: caller.name,
    };
    let take = move |bytes: &mut dyn io::Read| service.import_bundle(bytes, &options, &Unwatched);
    let report = read_whole(request, &limits, permit, take).await?;
    let status = if report.imported.is_empty() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(report.into())))
}

/// Names the parameter as the user wrote it.
fn about(field: &str, error: Error) -> Error {
    match error {
        Error::Invalid { value, rule, .. } => Error::invalid(field, value, rule),
        other => other,
    }
}

/// A part of a bundle, or why there is no more of it.
enum Piece {
    Bytes(Bytes),
    Failed(Error),
}

/// A client that reads slowly slows its own export down after this many pieces.
const PIECES_IN_FLIGHT: usize = 4;
const PIECE_BYTES: usize = 256 << 10;

/// Starts the export on a thread of its own. A client that takes nothing for `idle` loses it.
fn start(service: Arc<Service>, request: ExportRequest, idle: Duration, permit: Permit) -> mpsc::Receiver<Piece> {
    let (sender, receiver) = mpsc::channel(PIECES_IN_FLIGHT);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _held = permit;
        let pieces = Pieces { runtime: runtime.clone(), sender: sender.clone(), idle };
        let mut into = BufWriter::with_capacity(PIECE_BYTES, pieces);
        if let Err(error) = service.export(&request, &mut into, &Unwatched) {
            // What is still buffered would make a body that has begun look longer, never whole.
            drop(into.into_parts());
            // Nobody to tell when the client is gone.
            let _ = runtime.block_on(sender.send_timeout(Piece::Failed(error), idle));
        }
    });
    receiver
}

/// Hands what is written over to the connection.
struct Pieces {
    runtime: Handle,
    sender: mpsc::Sender<Piece>,
    idle: Duration,
}

impl Write for Pieces {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let piece = Piece::Bytes(Bytes::copy_from_slice(buffer));
        let taken = self.runtime.block_on(self.sender.send_timeout(piece, self.idle));
        taken.map(|()| buffer.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the pieces as a body, which breaks off when the export does.
fn body(first: Bytes, receiver: mpsc::Receiver<Piece>) -> Body {
    let pieces = stream::unfold((Some(first), receiver), async |(first, mut receiver)| {
        let piece = match first {
            Some(bytes) => Ok(bytes),
            None => match receiver.recv().await? {
                Piece::Bytes(bytes) => Ok(bytes),
                Piece::Failed(error) => {
                    // The status was sent long ago, so this is the only line about it.
                    tracing::error!(error = &error as &dyn std::error::Error, "an export broke off");
                    Err(error)
                }
            },
        };
        Some((piece, (None, receiver)))
    });
    Body::from_stream(pieces)
}
