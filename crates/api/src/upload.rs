//! Multipart bodies: text fields are collected, files are streamed into the service without being held in memory.

use std::error::Error as _;
use std::io::{self, Read};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use futures_util::StreamExt;
use seedhouse_service::core::{Error, ManifestPath, Result};
use seedhouse_service::{Received, Service};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::admission::Permit;
use crate::blocking;
use crate::limits::Limits;
use crate::request_stream::{Progress, RequestStream, too_large};

/// The text fields of a form, as a JSON object, and its files.
#[derive(Default)]
pub(crate) struct Form {
    pub(crate) fields: Map<String, Value>,
    pub(crate) files: Vec<Received>,
}

/// Returns whether the body is a form.
pub(crate) fn is_multipart(request: &Request) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.to_ascii_lowercase().starts_with("multipart/form-data")
}

/// Reads the parts of a form one after another, within limits for all of them together.
pub(crate) struct FormReader {
    multipart: Multipart,
    progress: Progress,
    parts: usize,
    most_parts: usize,
    text: TextBudget,
}

/// What text fields and names may take in memory, all together.
struct TextBudget {
    used: u64,
    limit: u64,
}

/// A part of a form.
pub(crate) struct Part<'f> {
    field: Field<'f>,
    progress: &'f Progress,
    text: &'f mut TextBudget,
}

impl FormReader {
    /// Starts to read a form.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a body that announces more than `limits.upload_bytes`, [`Error::Malformed`].
    pub(crate) async fn new(request: Request, limits: &Limits) -> Result<FormReader> {
        let (parts, stream) = RequestStream::of(request, limits.upload_bytes, limits.idle)?;
        let progress = stream.progress();
        let multipart = Multipart::from_request(Request::from_parts(parts, stream.into_body()), &())
            .await
            .map_err(|error| Error::malformed("the multipart body", error.body_text()))?;
        let text = TextBudget { used: 0, limit: limits.form_text_bytes };
        Ok(FormReader { multipart, progress, parts: 0, most_parts: limits.form_parts, text })
    }

    /// Returns the next part.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for too many parts or too long names, [`Error::Malformed`], [`Error::BrokenUpload`].
    pub(crate) async fn next(&mut self) -> Result<Option<Part<'_>>> {
        let Some(field) = self.multipart.next_field().await.map_err(broken_form)? else { return Ok(None) };
        self.progress.made();
        self.parts += 1;
        if self.parts > self.most_parts {
            let (what, limit) = ("the number of parts of the form".into(), self.most_parts.to_string());
            return Err(Error::TooLarge { what, size: format!("{} or more", self.parts), limit });
        }
        let names = field.name().map_or(0, str::len) + field.file_name().map_or(0, str::len);
        self.text.charge(names)?;
        Ok(Some(Part { field, progress: &self.progress, text: &mut self.text }))
    }
}

impl TextBudget {
    fn charge(&mut self, length: usize) -> Result<()> {
        self.used = self.used.saturating_add(length as u64);
        if self.used > self.limit {
            return Err(too_large("the text of the form", format!("{} bytes or more", self.used), self.limit));
        }
        Ok(())
    }
}

impl Part<'_> {
    /// Returns the name of the field.
    pub(crate) fn name(&self) -> &str {
        self.field.name().unwrap_or_default()
    }

    /// Returns the name of the file, if the part is one.
    pub(crate) fn file_name(&self) -> Option<&str> {
        self.field.file_name()
    }

    /// Reads a text field.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the text fields are too long together, [`Error::Malformed`] for what is not UTF-8.
    pub(crate) async fn text(mut self) -> Result<String> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            self.text.charge(chunk.len())?;
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes)
            .map_err(|error| Error::malformed(format!("field `{}`", self.name()), format!("it is not UTF-8: {error}")))
    }

    /// Reads a file into memory.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for one that is longer than `limit`.
    pub(crate) async fn bytes(mut self, what: &str, limit: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > limit {
                return Err(too_large(what, format!("{} bytes or more", bytes.len()), limit as u64));
            }
        }
        Ok(bytes)
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.field.chunk().await.map_err(broken_form)?;
        self.progress.made();
        Ok(chunk)
    }
}

/// Reads a form whose files become artifacts. A file part's name within the version is its `filename`.
pub(crate) async fn read_form(
    service: &Arc<Service>,
    request: Request,
    limits: &Limits,
    permit: &Permit,
) -> Result<Form> {
    let mut reader = FormReader::new(request, limits).await?;
    let mut form = Form::default();
    while let Some(part) = reader.next().await? {
        match part.file_name() {
            Some(name) => {
                let path = name.parse()?;
                form.files.push(receive(service, path, part, permit.clone()).await?);
            }
            None => {
                let name = part.name().to_owned();
                refuse_file_without_name(&name)?;
                let text = part.text().await?;
                if form.fields.insert(name.clone(), Value::String(text)).is_some() {
                    return Err(given_twice(&name));
                }
            }
        }
    }
    Ok(form)
}

/// `curl -F 'file=<model.gguf'` sends the bytes as a text field; to ignore it would register a version without its file.
fn refuse_file_without_name(name: &str) -> Result<()> {
    match name {
        "file" | "image" => Err(Error::invalid(
            name,
            "a part without `filename`",
            "must be sent as a file, as `-F file=@model.gguf` does",
        )),
        _ => Ok(()),
    }
}

/// Returns the error about a field that stands twice in a form.
pub(crate) fn given_twice(field: &str) -> Error {
    Error::invalid(field, "given twice", "must be given once")
}

/// Streams a part into the service: chunks travel through a short channel to the thread that hashes and writes them.
async fn receive(service: &Arc<Service>, path: ManifestPath, mut part: Part<'_>, permit: Permit) -> Result<Received> {
    let service = service.clone();
    stream_into(permit, move |bytes| service.receive(path, bytes), async |sender| feed(&mut part, &sender).await).await
}

/// Streams a whole body into a blocking call.
pub(crate) async fn read_whole<T: Send + 'static>(
    request: Request,
    limits: &Limits,
    permit: Permit,
    take: impl FnOnce(&mut dyn Read) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (_, mut stream) = RequestStream::of(request, limits.upload_bytes, limits.idle)?;
    let progress = stream.progress();
    let feed = async |sender: mpsc::Sender<Chunk>| {
        while let Some(chunk) = stream.next().await {
            progress.made();
            if sender.send(Ok(chunk?)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    };
    stream_into(permit, take, feed).await
}

/// Runs `take` on a thread that may block, over what `feed` sends meanwhile. The sender's own error comes first.
async fn stream_into<T: Send + 'static>(
    permit: Permit,
    take: impl FnOnce(&mut dyn Read) -> Result<T> + Send + 'static,
    feed: impl AsyncFnOnce(mpsc::Sender<Chunk>) -> Result<()>,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let mut reader = ChunkReader { receiver, chunk: Bytes::new() };
    let writer = tokio::spawn(blocking::run_admitted(permit, move || take(&mut reader)));
    let fed = feed(sender.clone()).await;
    if fed.is_err() {
        // The writer must not take the end of the channel for the end of the file.
        let _ = sender.send(Err(io::ErrorKind::ConnectionAborted.into())).await;
    }
    drop(sender);
    let taken = writer.await.map_err(|error| Error::Internal(format!("an upload's task ended early: {error}")))?;
    fed.and(taken)
}

/// A few chunks, so that network and disk work at the same time; each is at most some tens of kilobytes.
const CHUNKS_IN_FLIGHT: usize = 16;

type Chunk = io::Result<Bytes>;

async fn feed(part: &mut Part<'_>, sender: &mpsc::Sender<Chunk>) -> Result<()> {
    while let Some(chunk) = part.chunk().await? {
        if sender.send(Ok(chunk)).await.is_err() {
            // The writer gave up; its own error says why.
            return Ok(());
        }
    }
    Ok(())
}

/// The writing side of [`receive`].
struct ChunkReader {
    receiver: mpsc::Receiver<Chunk>,
    chunk: Bytes,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        Ok(length)
    }
}

/// Turns a reader's error into ours: the one that our own stream gave, if that is the cause.
fn broken_form(error: MultipartError) -> Error {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(ours) = source.downcast_ref::<Error>() {
            return ours.clone();
        }
        cause = source.source();
    }
    Error::malformed("the multipart body", error.body_text())
}
