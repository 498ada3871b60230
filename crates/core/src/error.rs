//! Errors: one closed set of codes, and one variant per thing a caller or a user can act on.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Digest, HubSource, JobState, Permission, Role, Status, Timestamp};

/// The result of everything that can fail in Seedhouse.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as a closed set. HTTP status, exit code and every foreign error shape are computed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request breaks a rule; sending it again cannot help.
    Invalid,
    /// The named thing does not exist.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// Somebody else changed the thing meanwhile.
    Conflict,
    /// The thing is not in a state that allows this.
    FailedPrecondition,
    /// The caller may not do this.
    PermissionDenied,
    /// The caller did not say who they are.
    Unauthenticated,
    /// Larger than a limit.
    TooLarge,
    /// A real feature of the format or protocol that this program does not have.
    Unsupported,
    /// Stored bytes are not what the record says.
    Corrupt,
    /// A queue, a budget or a disk is full.
    Exhausted,
    /// The caller gave up.
    Cancelled,
    /// Time ran out.
    Deadline,
    /// Not now; later may work.
    Unavailable,
    /// A fault of ours.
    Internal,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: [Code; 15] = [
        Code::Invalid,
        Code::NotFound,
        Code::AlreadyExists,
        Code::Conflict,
        Code::FailedPrecondition,
        Code::PermissionDenied,
        Code::Unauthenticated,
        Code::TooLarge,
        Code::Unsupported,
        Code::Corrupt,
        Code::Exhausted,
        Code::Cancelled,
        Code::Deadline,
        Code::Unavailable,
        Code::Internal,
    ];

    /// Returns the stable name used on the wire and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Invalid => "invalid",
            Code::NotFound => "not_found",
            Code::AlreadyExists => "already_exists",
            Code::Conflict => "conflict",
            Code::FailedPrecondition => "failed_precondition",
            Code::PermissionDenied => "permission_denied",
            Code::Unauthenticated => "unauthenticated",
            Code::TooLarge => "too_large",
            Code::Unsupported => "unsupported",
            Code::Corrupt => "corrupt",
            Code::Exhausted => "exhausted",
            Code::Cancelled => "cancelled",
            Code::Deadline => "deadline",
            Code::Unavailable => "unavailable",
            Code::Internal => "internal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The kinds of named things that can be missing or taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The folder of a registry.
    Registry,
    /// A base name.
    Model,
    /// One version of a model.
    Version,
    /// A version's unique id.
    ModelId,
    /// A movable name of a version.
    Alias,
    /// Stored bytes.
    Artifact,
    /// A file that the user named.
    File,
    /// An HTTP route.
    Route,
    /// What lets a caller in.
    Token,
    /// Long work with a record.
    Job,
    /// A file that arrives in parts.
    Upload,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Kind::Registry => "registry",
            Kind::Model => "model",
            Kind::Version => "version",
            Kind::ModelId => "model_id",
            Kind::Alias => "alias",
            Kind::Artifact => "artifact",
            Kind::File => "file",
            Kind::Route => "route",
            Kind::Token => "token",
            Kind::Job => "job",
            Kind::Upload => "upload",
        })
    }
}

/// Everything that can go wrong. The message names the thing and both values; [`Error::hint`] says what can be done.
/// Clones share their causes, so that everybody who waited for one piece of work hears the same.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value of a request breaks a rule.
    #[error("`{field}` is `{value}`, but {rule}")]
    Invalid {
        /// The offending field, as the user wrote it.
        field: String,
        /// The value given (shortened when long).
        value: String,
        /// The rule, e.g. "must be between 0 and 1".
        rule: String,
    },
    /// A request body or file given by the user is not what it claims to be.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// The file or body.
        what: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A claim of the user disagrees with the file.
    #[error("`{field}` is claimed as {claimed}, but {file} says {found}")]
    Contradiction {
        /// Path of the claim in the record, e.g. `metadata.vocab_size`.
        field: String,
        /// What the user said.
        claimed: String,
        /// What the file says.
        found: String,
        /// The file that was read.
        file: String,
    },
    /// A prompt does not fit into the model's context.
    #[error("the prompt has {prompt_tokens} tokens, but the context of `{model_id}` holds {context_length}")]
    ContextOverflow {
        /// The version asked.
        model_id: String,
        /// Length of the encoded prompt.
        prompt_tokens: usize,
        /// What the model was trained for.
        context_length: usize,
    },
    /// The named thing does not exist.
    #[error("{kind} `{name}` not found")]
    NotFound {
        /// What kind of thing.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The name is taken.
    #[error("{kind} `{name}` already exists, registered {since}")]
    AlreadyExists {
        /// What kind of thing.
        kind: Kind,
        /// Its name.
        name: String,
        /// When the existing one was made.
        since: Timestamp,
    },
    /// A version of this id is there with other bytes than the one that is brought.
    #[error("model_id `{model_id}` already exists with {there}, but {brought} is brought")]
    OtherBytes {
        /// The id.
        model_id: String,
        /// The digest of what is there, or that it has no files.
        there: String,
        /// The digest of what is brought, or that it has no files.
        brought: String,
    },
    /// The status table does not allow the step.
    #[error("version `{model_id}` is `{from}` and cannot become `{to}`")]
    StatusChange {
        /// The version.
        model_id: String,
        /// Its status.
        from: Status,
        /// What was asked for.
        to: Status,
    },
    /// Somebody else changed the thing since the caller looked at it.
    #[error("{what} is at {actual}, not at {expected} as expected: it was changed meanwhile")]
    Changed {
        /// The thing.
        what: String,
        /// What the caller believed.
        expected: String,
        /// What is.
        actual: String,
    },
    /// Something else needs the version.
    #[error("version `{model_id}` is needed by {needed_by}, so it is not deleted")]
    StillNeeded {
        /// The version.
        model_id: String,
        /// The aliases and versions that need it.
        needed_by: String,
    },
    /// A registry that holds something cannot take another one over as it is.
    #[error("the registry is not empty: it has {versions} versions and {events} events")]
    NotEmpty {
        /// How many versions it has, deleted ones too.
        versions: u64,
        /// How many events its history has.
        events: u64,
    },
    /// Another state contradicts the registry, or needs what is gone. Nothing was changed.
    #[error("{what} cannot be restored: {reason}")]
    NotRestorable {
        /// The state, or the version of it.
        what: String,
        /// Each contradiction with both values, and each thing that is gone.
        reason: String,
    },
    /// The version's status does not allow serving it.
    #[error("version `{model_id}` is `{status}`, so it cannot be served{}", told(.reason.as_deref()))]
    NotServable {
        /// The version.
        model_id: String,
        /// Its status.
        status: Status,
        /// Why no status would allow it, if that was found out about its files.
        reason: Option<String>,
    },
    /// The version's files cannot be served by any runtime, or not for this task.
    #[error("version `{model_id}` cannot be used for {task}: {reason}")]
    WrongTask {
        /// The version.
        model_id: String,
        /// What was asked, e.g. "text generation".
        task: &'static str,
        /// Why not.
        reason: String,
    },
    /// A version needs more memory than there can ever be for it.
    #[error("version `{model_id}` needs {needed} bytes of memory, but {}", memory_left(*.budget, *.kept))]
    DoesNotFit {
        /// The version.
        model_id: String,
        /// What it needs.
        needed: u64,
        /// What all loaded versions may take together.
        budget: u64,
        /// What of that is taken by versions that are not unloaded for it.
        kept: u64,
    },
    /// Bytes, items or pixels beyond a limit.
    #[error("{what} is {size}, but the limit is {limit}")]
    TooLarge {
        /// The thing, e.g. "request body".
        what: String,
        /// Its size with a unit.
        size: String,
        /// The limit with a unit.
        limit: String,
    },
    /// All places for work of a kind are taken; later may work.
    #[error("{limit} {what} are in progress, which is the limit")]
    Exhausted {
        /// The work, in the plural, e.g. "registrations".
        what: String,
        /// How many there may be at once.
        limit: usize,
    },
    /// A real feature that this program does not have.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// The feature, named as in the file or protocol.
        what: String,
        /// What is supported, or which part is missing.
        reason: String,
    },
    /// Stored bytes do not have the digest of the record.
    #[error("file `{path}` of `{model_id}` is corrupt: the record says {expected}, the bytes are {actual}")]
    DigestMismatch {
        /// The version.
        model_id: String,
        /// The file within the version.
        path: String,
        /// What the manifest says.
        expected: Digest,
        /// What the bytes hash to.
        actual: Digest,
    },
    /// A file of a version is gone from the artifact store.
    #[error("file `{path}` of `{model_id}` is missing from the artifact store: the record says {expected}")]
    MissingBytes {
        /// The version.
        model_id: String,
        /// The file within the version.
        path: String,
        /// What the manifest says.
        expected: Digest,
    },
    /// The last examination found bytes of the version damaged.
    #[error("version `{model_id}` is corrupt since {found_at}: {files}")]
    CorruptVersion {
        /// The version.
        model_id: String,
        /// When it was found.
        found_at: Timestamp,
        /// The damaged files, each with what is wrong with it.
        files: String,
    },
    /// Data of our own (database row, state file) cannot be read.
    #[error("{what} is corrupt: {reason}")]
    CorruptState {
        /// What was read.
        what: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// Bytes that somebody sent are not what they were.
    #[error("{what} is corrupt: {reason}")]
    CorruptTransfer {
        /// What was sent.
        what: String,
        /// Both digests.
        reason: String,
    },
    /// A part of an upload does not hash to what its sender announced. It was discarded.
    #[error("{what} has the checksum {actual}, but {announced} was announced")]
    WrongChecksum {
        /// The part.
        what: String,
        /// What the sender said.
        announced: String,
        /// What arrived.
        actual: String,
    },
    /// Not all bytes of an upload are there.
    #[error("upload `{id}` has {received} bytes of {length}")]
    UploadIncomplete {
        /// The upload.
        id: String,
        /// How many bytes are there.
        received: u64,
        /// How many it will have.
        length: u64,
    },
    /// Another request has the upload in its hands.
    #[error("upload `{id}` is in use by another request")]
    UploadBusy {
        /// The upload.
        id: String,
    },
    /// The caller did not say who they are, or not in a way that holds.
    #[error("not authenticated: {reason}")]
    Unauthenticated {
        /// What is missing, or which token no longer holds since when. Never a secret.
        reason: String,
    },
    /// The caller's role does not allow it.
    #[error("token `{token}` has the role `{role}`, which may not {permission}")]
    PermissionDenied {
        /// What was asked for.
        permission: Permission,
        /// The caller's role.
        role: Role,
        /// The caller's token.
        token: String,
    },
    /// A web page of somebody else may be behind the request.
    #[error("`{header}` is `{value}`, but {rule}")]
    ForeignRequest {
        /// The header that says so.
        header: &'static str,
        /// What it says (shortened when long).
        value: String,
        /// What it has to be.
        rule: String,
    },
    /// Without a token, nobody else may reach the registry.
    #[error(
        "`listen` is `{address}`, but the registry has no active token, and without one it must be a loopback address"
    )]
    PublicWithoutToken {
        /// The address asked for.
        address: String,
    },
    /// The job has ended, so it cannot be ended.
    #[error("job `{id}` is `{state}`, so it cannot be cancelled")]
    JobFinished {
        /// The job.
        id: String,
        /// How it ended.
        state: JobState,
    },
    /// Training went astray.
    #[error("training diverged at step {step}: the loss is {loss}")]
    Diverged {
        /// The update.
        step: u64,
        /// What the loss was.
        loss: f64,
    },
    /// A measured value is beyond a limit that the caller set.
    #[error("{what} is {measured}, and the limit is {limit}")]
    BeyondLimit {
        /// What was measured.
        what: String,
        /// What it is.
        measured: f64,
        /// What it may be.
        limit: f64,
    },
    /// The caller gave up.
    #[error("cancelled by the caller")]
    Cancelled,
    /// It took longer than the caller allows.
    #[error("{what} took longer than {seconds} s")]
    DeadlineExceeded {
        /// The work.
        what: String,
        /// How long it was given.
        seconds: f64,
    },
    /// Not now; later may work.
    #[error("{what} is not available: {reason}")]
    Unavailable {
        /// The thing.
        what: String,
        /// Why not now.
        reason: String,
    },
    /// A server that was to be asked does not answer.
    #[error("no server answers at `{url}`: {reason}")]
    NoServer {
        /// Where.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// Another server said no.
    #[error("{message}")]
    Remote {
        /// What kind of no.
        code: Code,
        /// Its message.
        message: String,
        /// Its hint.
        hint: Option<String>,
    },
    /// The operating system refused something.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, e.g. "read".
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Reading the bytes of an upload failed on the sender's side.
    #[error("the upload of `{what}` broke off")]
    BrokenUpload {
        /// The file being sent.
        what: String,
        /// The reader's answer.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The metadata store failed.
    #[error("the metadata store cannot {action}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// The adapter's error.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A fault of ours.
    #[error("internal fault: {0}")]
    Internal(String),
}

impl Error {
    /// Returns an [`Error::Invalid`]; long values are shortened so that no message repeats a whole upload.
    pub fn invalid(field: impl Into<String>, value: impl fmt::Display, rule: impl Into<String>) -> Error {
        Error::Invalid { field: field.into(), value: shorten(&value.to_string()), rule: rule.into() }
    }

    /// Returns an [`Error::Malformed`].
    pub fn malformed(what: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Malformed { what: what.into(), reason: reason.into() }
    }

    /// Returns an [`Error::NotFound`].
    pub fn not_found(kind: Kind, name: impl fmt::Display) -> Error {
        Error::NotFound { kind, name: shorten(&name.to_string()) }
    }

    /// Returns an [`Error::Unauthenticated`].
    pub fn unauthenticated(reason: impl Into<String>) -> Error {
        Error::Unauthenticated { reason: reason.into() }
    }

    /// Returns an [`Error::ForeignRequest`].
    pub fn foreign_request(header: &'static str, value: impl fmt::Display, rule: impl Into<String>) -> Error {
        Error::ForeignRequest { header, value: shorten(&value.to_string()), rule: rule.into() }
    }

    /// Returns an [`Error::Unsupported`].
    pub fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Unsupported { what: what.into(), reason: reason.into() }
    }

    /// Returns an [`Error::Io`]; made for `map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { action, path, source: Arc::new(source) }
    }

    /// Returns an [`Error::Store`]; made for `map_err(Error::store("read a version"))`.
    pub fn store<E>(action: &'static str) -> impl FnOnce(E) -> Error
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Error::Store { action, source: Arc::new(source) }
    }

    /// Returns the code that every front end computes its answer from.
    pub fn code(&self) -> Code {
        match self {
            Error::Invalid { .. }
            | Error::Malformed { .. }
            | Error::Contradiction { .. }
            | Error::ContextOverflow { .. }
            | Error::BrokenUpload { .. }
            | Error::PublicWithoutToken { .. } => Code::Invalid,
            Error::NotFound { .. } => Code::NotFound,
            Error::AlreadyExists { .. } | Error::OtherBytes { .. } => Code::AlreadyExists,
            Error::NotServable { .. }
            | Error::WrongTask { .. }
            | Error::DoesNotFit { .. }
            | Error::StatusChange { .. }
            | Error::NotEmpty { .. }
            | Error::NotRestorable { .. }
            | Error::StillNeeded { .. }
            | Error::JobFinished { .. }
            | Error::UploadIncomplete { .. } => Code::FailedPrecondition,
            Error::Changed { .. } | Error::UploadBusy { .. } => Code::Conflict,
            Error::Unauthenticated { .. } => Code::Unauthenticated,
            Error::PermissionDenied { .. } | Error::ForeignRequest { .. } => Code::PermissionDenied,
            Error::TooLarge { .. } => Code::TooLarge,
            Error::Unsupported { .. } => Code::Unsupported,
            Error::DigestMismatch { .. }
            | Error::MissingBytes { .. }
            | Error::CorruptVersion { .. }
            | Error::CorruptState { .. }
            | Error::CorruptTransfer { .. }
            | Error::WrongChecksum { .. } => Code::Corrupt,
            Error::Exhausted { .. } => Code::Exhausted,
            Error::Diverged { .. } | Error::BeyondLimit { .. } => Code::FailedPrecondition,
            Error::Cancelled => Code::Cancelled,
            Error::DeadlineExceeded { .. } => Code::Deadline,
            Error::Unavailable { .. } | Error::NoServer { .. } => Code::Unavailable,
            Error::Remote { code, .. } => *code,
            Error::Io { .. } if self.is_full_disk() => Code::Exhausted,
            Error::Io { .. } | Error::Store { .. } | Error::Internal(_) => Code::Internal,
        }
    }

    /// Returns whether the system refused something because a disk is full.
    pub fn is_full_disk(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
    }

    /// Returns the request field that the error is about.
    pub fn field(&self) -> Option<&str> {
        match self {
            Error::Invalid { field, .. } | Error::Contradiction { field, .. } => Some(field),
            Error::PublicWithoutToken { .. } => Some("listen"),
            _ => None,
        }
    }

    /// Returns what the user can do about it, when there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::NotFound { kind: Kind::Registry, .. } => Some(
                "`--root` or SEEDHOUSE_ROOT names the folder; `seedhouse register` and `seedhouse serve` make one"
                    .into(),
            ),
            Error::NotFound { kind: Kind::File, name } if name.starts_with(HubSource::PREFIX) => {
                Some(format!("`seedhouse pull {name}` fetches a repository of a hub"))
            }
            Error::NotFound { kind: Kind::Model | Kind::ModelId, .. } => {
                Some("`seedhouse list` or GET /api/models shows what is registered".into())
            }
            Error::NotFound { kind: Kind::Token, .. } => Some("`seedhouse token list` shows all".into()),
            Error::NotFound { kind: Kind::Job, .. } => {
                Some("`seedhouse jobs` or GET /api/jobs shows them; old ones that ended are forgotten".into())
            }
            Error::NotFound { kind: Kind::Upload, .. } => {
                Some("it was used, removed, or got no byte for 24 hours; POST /api/uploads begins a new one".into())
            }
            Error::UploadIncomplete { .. } => {
                Some("send the rest with PATCH /api/uploads/{upload_id}; HEAD tells the offset".into())
            }
            Error::UploadBusy { .. } => Some("wait until the other request has ended, then ask for the offset".into()),
            Error::NotFound { kind: Kind::Version, .. } => Some(
                "`seedhouse versions BASE` or GET /api/models/{model_id}/versions shows the versions of a model".into(),
            ),
            Error::AlreadyExists { kind: Kind::Token, .. } => {
                Some("choose another name: the history names tokens, so a name is never used twice".into())
            }
            Error::AlreadyExists { .. } => Some("choose another name or another version".into()),
            Error::OtherBytes { .. } => {
                Some("import it under another name (`rename_to`) or as the next version (`next_version`)".into())
            }
            Error::Contradiction { field, .. } if field == "metadata.labels" => {
                Some("give one label for each class".into())
            }
            Error::Contradiction { .. } => Some("leave the claim out: what the file says is recorded by itself".into()),
            Error::NotServable { .. } => Some("`seedhouse versions BASE` shows which versions are ready".into()),
            Error::StatusChange { from, .. } => {
                let next: Vec<&str> =
                    Status::ALL.into_iter().filter(|next| from.can_become(*next)).map(Status::as_str).collect();
                Some(format!("from `{from}` it can become {}", next.join(", ")))
            }
            Error::Changed { .. } => Some("look at it again, then decide".into()),
            Error::StillNeeded { .. } => Some("move the aliases away first, or delete with force".into()),
            Error::DigestMismatch { .. } | Error::MissingBytes { .. } => {
                Some(
                    "`seedhouse scrub --repair-from PATH` mends it from a copy in another registry; or register the original file again as a new version"
                        .into(),
                )
            }
            Error::CorruptVersion { .. } => Some(
                "`seedhouse scrub --repair-from PATH` mends it from a copy; a scrub that finds it whole lets it be served again"
                    .into(),
            ),
            Error::CorruptTransfer { .. } | Error::WrongChecksum { .. } => {
                Some("it was damaged on its way; send it again from its source".into())
            }
            Error::ContextOverflow { .. } => Some("shorten the prompt".into()),
            Error::Unauthenticated { .. } => Some(
                "send a token as `Authorization: Bearer TOKEN`; `seedhouse token create` on the server's machine makes one"
                    .into(),
            ),
            Error::PermissionDenied { permission, .. } => {
                let role = Role::ALL.into_iter().find(|role| role.may(*permission));
                role.map(|role| format!("`seedhouse token create NAME --role {role}` makes a token that may"))
            }
            Error::ForeignRequest { header: "Host", .. } => {
                Some("`seedhouse serve --allow-host NAME` or SEEDHOUSE_ALLOW_HOST allows a further name".into())
            }
            Error::ForeignRequest { .. } => {
                Some("`seedhouse serve --allow-origin URL` or SEEDHOUSE_ALLOW_ORIGIN allows a web page".into())
            }
            Error::PublicWithoutToken { .. } => {
                Some("`seedhouse token create NAME --role admin` makes one, on the same --root".into())
            }
            Error::Io { .. } if self.is_full_disk() => {
                Some("free space on the disk, then try again".into())
            }
            Error::DoesNotFit { .. } => {
                Some("`seedhouse serve --memory-budget SIZE` gives more; fewer pins leave more of it".into())
            }
            Error::Exhausted { .. } => Some("send it again when others are done".into()),
            Error::Diverged { .. } => Some("a smaller `learning_rate` or more `warmup_steps` may help".into()),
            Error::NoServer { .. } => {
                Some("`seedhouse serve` starts one; `--server URL` or SEEDHOUSE_SERVER names another".into())
            }
            Error::Remote { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}

fn told(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn memory_left(budget: u64, kept: u64) -> String {
    match kept {
        0 => format!("the budget is {budget} bytes"),
        _ => format!("the budget is {budget} bytes, of which versions that stay loaded take {kept}"),
    }
}

/// Keeps messages readable when a value is long, cutting between characters.
fn shorten(value: &str) -> String {
    const LONGEST: usize = 120;
    if value.chars().count() <= LONGEST {
        return value.to_owned();
    }
    let head: String = value.chars().take(LONGEST).collect();
    format!("{head}… ({} bytes)", value.len())
}
