//! Exports, imports, backups and restorations as jobs, and the files that they make. Names are those of files in the
//! registry's own folders; no other path is reached.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::{Extension, Json};
use seedhouse_service::archive::Compression;
use seedhouse_service::core::{Error, Result, Timestamp};
use seedhouse_service::{
    BackupContent, BackupJob, Caller, ExportFormat, ExportJob, FolderFile, ImportJob, ImportOptions, NamedFile,
    RestoreJob, RestoreMode, RestoreOrigin, Selection, Service,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::limits::Limits;
use crate::native::files::Sendable;
use crate::native::jobs::accepted_or_ended;
use crate::parameters::reference;
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::{read_json, read_optional_json};
use crate::{blocking, entity_tag};

/// The files of a folder.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FolderResponse {
    /// Newest first: `name`, `size_bytes` and `made_at` of each.
    #[schema(value_type = Vec<Object>)]
    files: Vec<FolderFile>,
}

/// Lists the backups in the folder of backups.
#[utoipa::path(get, path = "/api/backups", tag = "transfer", responses((status = 200, body = FolderResponse)))]
pub(crate) async fn backups(State(service): State<Arc<Service>>) -> Result<Json<FolderResponse>, Failure> {
    let files = blocking::run(move || service.backup_folder()?.list()).await?;
    Ok(Json(FolderResponse { files }))
}

/// What to back up. Everything may be left out, and so may the body.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct BackupBody {
    /// `everything` (by default) or `metadata_only`: the records alone.
    content: Option<String>,
    /// `none` (by default) or `zstd`.
    compression: Option<String>,
    /// Whether to answer when the job has ended (200), which is waited for up to a minute.
    #[serde(default)]
    wait: bool,
}

/// Asks for a backup: a file in the folder of backups, made while the registry is used.
#[utoipa::path(post, path = "/api/backups", tag = "transfer", request_body = Option<BackupBody>,
    responses((status = 202, body = Object, description = "The job; `Location` has its address."),
        (status = 200, body = Object, description = "The job, which has ended."), Problems))]
pub(crate) async fn back_up(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let body: BackupBody = read_optional_json(request, &limits).await?;
    let content = match body.content.as_deref() {
        None | Some("everything") => BackupContent::Everything,
        Some("metadata_only") => BackupContent::MetadataOnly,
        Some(other) => return Err(Error::invalid("content", other, "must be `everything` or `metadata_only`").into()),
    };
    let job = BackupJob { content, compression: compression(body.compression.as_deref())? };
    let submitting = service.clone();
    let job = blocking::run(move || submitting.submit_backup(&job, &caller.name)).await?;
    accepted_or_ended(&service, job, body.wait).await
}

/// Where the state comes from: `backup` or `as_of`, one of them.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct RestoreBody {
    /// A file in the folder of backups.
    backup: Option<String>,
    /// A time in the registry's own history, RFC 3339.
    as_of: Option<String>,
    /// Whether to say what would be done, and do nothing.
    #[serde(default)]
    dry_run: bool,
    /// Why; kept in the history.
    reason: Option<String>,
    /// Whether to answer when the job has ended (200), which is waited for up to a minute.
    #[serde(default)]
    wait: bool,
}

impl RestoreBody {
    fn origin(&self) -> Result<RestoreOrigin> {
        match (&self.backup, &self.as_of) {
            (Some(name), None) => Ok(RestoreOrigin::Backup(name.clone())),
            (None, Some(at)) => match Timestamp::parse(at) {
                Ok((at, _)) => Ok(RestoreOrigin::AsOf(at)),
                Err(_) => Err(Error::invalid("as_of", at, "must be RFC 3339, like `2026-03-01T12:00:00Z`")),
            },
            (None, None) => Err(Error::invalid("backup", "missing", "is required, or a time in `as_of`")),
            (Some(name), Some(_)) => Err(Error::invalid("backup", name, "cannot stand beside `as_of`")),
        }
    }
}

/// Asks for a restoration: the registry is brought to the state in a backup, or to that of an earlier time; all of it or
/// nothing.
#[utoipa::path(post, path = "/api/restores", tag = "transfer", request_body = RestoreBody,
    responses((status = 202, body = Object, description = "The job; `Location` has its address."),
        (status = 200, body = Object, description = "The job, which has ended."),
        (status = 404, body = Problem, description = "There is no such backup."), Problems))]
pub(crate) async fn restore(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let body: RestoreBody = read_json(request, &limits).await?;
    let mode = if body.dry_run { RestoreMode::DryRun } else { RestoreMode::Apply };
    let job = RestoreJob { from: body.origin()?, mode, actor: caller.name, reason: body.reason };
    let submitting = service.clone();
    let job = blocking::run(move || submitting.submit_restore(&job)).await?;
    accepted_or_ended(&service, job, body.wait).await
}

/// Lists the files in the folder of exports.
#[utoipa::path(get, path = "/api/exports", tag = "transfer", responses((status = 200, body = FolderResponse)))]
pub(crate) async fn exports(State(service): State<Arc<Service>>) -> Result<Json<FolderResponse>, Failure> {
    let files = blocking::run(move || service.export_folder()?.list()).await?;
    Ok(Json(FolderResponse { files }))
}

/// Which versions, and in which form.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct ExportBody {
    /// Versions by name.
    #[serde(default)]
    references: Vec<String>,
    /// Words that must all occur in id, name, type, tags or description.
    search: Option<String>,
    /// Conditions that must all hold; `docs/search.md` describes them.
    filter: Option<String>,
    /// `bundle` (by default) or `oci`: one version as an OCI image layout.
    format: Option<String>,
    /// `none` (by default) or `zstd`.
    compression: Option<String>,
    /// Whether to answer when the job has ended (200), which is waited for up to a minute.
    #[serde(default)]
    wait: bool,
}

/// Asks for an export: a file in the folder of exports, which `GET /api/exports/{name}` sends.
#[utoipa::path(post, path = "/api/exports", tag = "transfer", request_body = ExportBody,
    responses((status = 202, body = Object, description = "The job; `Location` has its address."),
        (status = 200, body = Object, description = "The job, which has ended."),
        (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn export(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let body: ExportBody = read_json(request, &limits).await?;
    let format = match body.format.as_deref() {
        None | Some("bundle") => ExportFormat::Bundle,
        Some("oci") => ExportFormat::Oci,
        Some(other) => return Err(Error::invalid("format", other, "must be `bundle` or `oci`").into()),
    };
    let references = body.references.iter().map(|text| reference("references", text)).collect::<Result<_>>()?;
    let selection = Selection { references, search: body.search, filter: body.filter };
    let job = ExportJob { selection, format, compression: compression(body.compression.as_deref())? };
    let submitting = service.clone();
    let job = blocking::run(move || submitting.submit_export(&job, &caller.name)).await?;
    accepted_or_ended(&service, job, body.wait).await
}

/// Sends a file of the folder of exports; `Range` asks for a part.
#[utoipa::path(get, path = "/api/exports/{name}", tag = "transfer", params(("name" = String, Path)),
    responses(
        (status = 200, content_type = "application/octet-stream"),
        (status = 206, content_type = "application/octet-stream", description = "a part"),
        (status = 304, description = "the client has it"),
        (status = 404, body = Problem, description = "There is no such file."),
        (status = 416, description = "the range is beyond the end", body = Problem),
        Problems
    ))]
pub(crate) async fn download(
    State(service): State<Arc<Service>>,
    FileName(name): FileName,
    request: Request,
) -> Result<Response, Failure> {
    let file = blocking::run(move || service.exported_file(&name)).await?;
    let NamedFile { name, local, size_bytes, written_at_nanoseconds } = file;
    // A file is written beside its name and then takes it, so another length or another time is another file.
    let tag = entity_tag::quoted(format_args!("{size_bytes}-{written_at_nanoseconds}"));
    Sendable { local, size_bytes, name, tag, digest: None }.answer(request).await
}

/// The `{name}` of a path, decoded once.
pub(crate) struct FileName(String);

impl<S: Send + Sync> FromRequestParts<S> for FileName {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::invalid("name", parts.uri.path(), "must be UTF-8 after percent-decoding"))?;
        Ok(FileName(name))
    }
}

/// Which bundle, and how it is taken in.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ImportBody {
    /// A file in the folder of imports.
    file: String,
    /// The base name that its versions get; for a bundle of one model.
    rename_to: Option<String>,
    /// Whether a version whose id is taken by other bytes becomes the next one of its model.
    #[serde(default)]
    next_version: bool,
    /// Whether aliases are pointed at the versions that they pointed at in the source.
    #[serde(default)]
    take_aliases: bool,
    /// Whether to answer when the job has ended (200), which is waited for up to a minute.
    #[serde(default)]
    wait: bool,
}

/// Asks for an import of a bundle that stands in the folder of imports: all its versions or none.
#[utoipa::path(post, path = "/api/imports", tag = "transfer", request_body = ImportBody,
    responses((status = 202, body = Object, description = "The job; `Location` has its address."),
        (status = 200, body = Object, description = "The job, which has ended."),
        (status = 404, body = Problem, description = "There is no such file."), Problems))]
pub(crate) async fn import(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let body: ImportBody = read_json(request, &limits).await?;
    let rename_to = body.rename_to.as_deref().map(str::parse).transpose().map_err(|error: Error| match error {
        Error::Invalid { value, rule, .. } => Error::invalid("rename_to", value, rule),
        other => other,
    });
    let options = ImportOptions {
        rename_to: rename_to?,
        next_version: body.next_version,
        take_aliases: body.take_aliases,
        most_bytes: None,
        actor: caller.name,
    };
    let job = ImportJob { file: body.file, options };
    let submitting = service.clone();
    let job = blocking::run(move || submitting.submit_import(&job)).await?;
    accepted_or_ended(&service, job, body.wait).await
}

fn compression(name: Option<&str>) -> Result<Compression> {
    match name {
        None | Some("none") => Ok(Compression::None),
        Some("zstd") => Ok(Compression::Zstd),
        Some(other) => Err(Error::invalid("compression", other, "must be `none` or `zstd`")),
    }
}
