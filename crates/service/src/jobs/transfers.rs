//! Exports, imports, backups and restorations as jobs. Requests name files of the registry's own folders and nothing else.
//!
//! Each may be begun again after its worker was lost: a file is named by the number of its job, so a new attempt writes its
//! own file anew; an import finds what it added by the digests; a restoration makes its plan from what is there.

use std::fs::File;
use std::path::PathBuf;

use seedhouse_core::{Digest, Error, Job, JobKind, Progress, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::JobRequest;
use crate::archive::Compression;
use crate::new_file::NewFile;
use crate::{
    BackupContent, BackupReport, BackupRequest, ExportReport, ExportRequest, ImportOptions, ImportReport, RestoreMode,
    RestoreReport, RestoreRequest, RestoreSource, Selection, Service,
};

/// A backup that is asked for. Its job makes a file in the folder of backups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupJob {
    /// What it holds.
    #[serde(default)]
    pub content: BackupContent,
    /// How it is compressed.
    #[serde(default)]
    pub compression: Compression,
}

/// A restoration that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreJob {
    /// Where the state comes from.
    pub from: RestoreOrigin,
    /// Whether to write.
    pub mode: RestoreMode,
    /// Who asks.
    pub actor: String,
    /// Why, if they said so.
    pub reason: Option<String>,
}

/// Where a state comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreOrigin {
    /// A file in the folder of backups.
    Backup(String),
    /// The registry's own history.
    AsOf(Timestamp),
}

/// An export that is asked for. Its job makes a file in the folder of exports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExportJob {
    /// Which versions.
    #[serde(flatten)]
    pub selection: Selection,
    /// In which form.
    #[serde(default)]
    pub format: ExportFormat,
    /// How the archive is compressed.
    #[serde(default)]
    pub compression: Compression,
}

/// The forms of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// Records and bytes, which another registry imports.
    #[default]
    Bundle,
    /// One version as an OCI image layout.
    Oci,
}

/// The file that an export made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportedFile {
    /// The file, with the folder of exports before its name.
    pub path: PathBuf,
    /// Its length.
    pub file_bytes: u64,
    /// What it hashes to.
    pub file_digest: Digest,
    /// What it holds.
    #[serde(flatten)]
    pub report: ExportReport,
}

/// An import that is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImportJob {
    /// A bundle in the folder of imports.
    pub file: String,
    /// How it is imported.
    #[serde(flatten)]
    pub options: ImportOptions,
}

impl JobRequest for BackupJob {
    const KIND: JobKind = JobKind::Backup;
}

impl JobRequest for RestoreJob {
    const KIND: JobKind = JobKind::Restore;
}

impl JobRequest for ExportJob {
    const KIND: JobKind = JobKind::Export;
}

impl JobRequest for ImportJob {
    const KIND: JobKind = JobKind::Import;
}

impl Service {
    /// Asks for a backup as a job.
    ///
    /// # Errors
    /// [`Error::Invalid`] for parts that do not go together.
    pub fn submit_backup(&self, request: &BackupJob, actor: &str) -> Result<Job> {
        self.backup_folder()?;
        BackupRequest { content: request.content, output: None, compression: request.compression }.check()?;
        self.submit(request, actor)
    }

    pub(super) fn run_backup(&self, job: &Job, request: BackupJob, progress: &dyn Progress) -> Result<BackupReport> {
        let BackupJob { content, compression } = request;
        let folder = self.backup_folder()?;
        let output = Some(folder.of_job(job, content, compression)?);
        let report = self.backup(&BackupRequest { content, output, compression }, progress)?;
        Ok(BackupReport { path: folder.files("backup").shown(&report.path), ..report })
    }

    /// Asks for a restoration as a job.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::NotFound`] for a name that is not that of a backup, or a time in the future. Whether
    /// the backup is whole is found out by the job.
    pub fn submit_restore(&self, request: &RestoreJob) -> Result<Job> {
        match &request.from {
            RestoreOrigin::Backup(name) => drop(self.backup_folder()?.existing(name)?),
            RestoreOrigin::AsOf(at) if *at > self.clock.now() => {
                return Err(Error::invalid("as_of", at, "lies in the future"));
            }
            RestoreOrigin::AsOf(_) => {}
        }
        self.submit(request, &request.actor)
    }

    pub(super) fn run_restore(&self, request: RestoreJob, progress: &dyn Progress) -> Result<RestoreReport> {
        let RestoreJob { from, mode, actor, reason } = request;
        let source = match from {
            RestoreOrigin::Backup(name) => RestoreSource::File(self.backup_folder()?.existing(&name)?),
            RestoreOrigin::AsOf(at) => RestoreSource::AsOf(at),
        };
        self.restore(&RestoreRequest { source, mode, actor, reason }, progress)
    }

    /// Asks for an export as a job.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a reference, [`Error::Invalid`] for a selection of nothing or one that the format cannot hold.
    pub fn submit_export(&self, request: &ExportJob, actor: &str) -> Result<Job> {
        self.export_folder()?;
        let selected = self.select(&request.selection)?;
        if request.format == ExportFormat::Oci {
            crate::oci::check_single(&selected)?;
        }
        self.submit(request, actor)
    }

    pub(super) fn run_export(&self, job: &Job, request: ExportJob, progress: &dyn Progress) -> Result<ExportedFile> {
        let ExportJob { selection, format, compression } = request;
        let extension = match (format, compression) {
            (ExportFormat::Bundle, Compression::None) => "tar",
            (ExportFormat::Bundle, Compression::Zstd) => "tar.zst",
            (ExportFormat::Oci, Compression::None) => "oci.tar",
            (ExportFormat::Oci, Compression::Zstd) => "oci.tar.zst",
        };
        let name = format!("export_{}_job{}.{extension}", job.created_at.for_file_name(), job.id);
        let file = NewFile::create(self.export_folder()?.of_job(job, &name)?)?;
        self.export_to(file, format, ExportRequest { selection, compression }, progress)
    }

    /// Writes an export into a file of the folder of exports.
    pub(crate) fn export_to(
        &self,
        mut file: NewFile,
        format: ExportFormat,
        request: ExportRequest,
        progress: &dyn Progress,
    ) -> Result<ExportedFile> {
        let report = match format {
            ExportFormat::Bundle => self.export(&request, &mut file, progress)?,
            ExportFormat::Oci => self.export_oci(&request, &mut file, progress)?,
        };
        progress.check()?;
        let written = file.finish()?;
        let path = self.export_folder()?.shown(&written.path);
        Ok(ExportedFile { path, file_bytes: written.size_bytes, file_digest: written.digest, report })
    }

    /// Asks for an import as a job.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::NotFound`] for a name that is not that of a file in the folder of imports. Whether it is
    /// a bundle, and whole, is found out by the job.
    pub fn submit_import(&self, request: &ImportJob) -> Result<Job> {
        self.import_folder()?.existing(&request.file)?;
        self.submit(request, &request.options.actor)
    }

    pub(super) fn run_import(&self, request: ImportJob, progress: &dyn Progress) -> Result<ImportReport> {
        let path = self.import_folder()?.existing(&request.file)?;
        let mut file = File::open(&path).map_err(Error::io("read", &path))?;
        self.import_bundle(&mut file, &request.options, progress)
    }
}
