//! Multipart bodies: text fields are collected, files are streamed into the service without being held in memory.

use std::io::{self, Read};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use seedhouse_service::core::{Error, ManifestPath, Result};
use seedhouse_service::{Received, Service};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::blocking;
use crate::limits::Limits;
use crate::request_body::content_length;

/// The text fields of a form, as a JSON object, and its files.
#[derive(Default)]
pub(crate) struct Form {
    pub(crate) fields: Map<String, Value>,
    pub(crate) files: Vec<Received>,
}

/// The longest text field: hyper-parameters with a thousand labels fit many times.
const LONGEST_TEXT_BYTES: u64 = 16 << 20;

/// Returns whether the body is a form.
pub(crate) fn is_multipart(request: &Request) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.to_ascii_lowercase().starts_with("multipart/form-data")
}

/// Returns the form's reader; a body that announces more than `limit` bytes is refused before it is read.
pub(crate) async fn multipart(request: Request, limit: u64) -> Result<Multipart> {
    if let Some(length) = content_length(&request).filter(|length| *length > limit) {
        return Err(too_large("the request body", length, limit));
    }
    Multipart::from_request(request, &())
        .await
        .map_err(|error| Error::malformed("the multipart body", error.body_text()))
}

/// Reads a form whose files become artifacts. A file part's name within the version is its `filename`.
pub(crate) async fn read_form(service: &Arc<Service>, request: Request, limits: &Limits) -> Result<Form> {
    let mut multipart = multipart(request, limits.upload_bytes).await?;
    let mut form = Form::default();
    let mut budget = limits.upload_bytes;
    while let Some(field) = multipart.next_field().await.map_err(broken_form)? {
        match field.file_name() {
            Some(name) => {
                let path = name.parse()?;
                form.files.push(receive(service, path, field, &mut budget, limits.upload_bytes).await?);
            }
            None => {
                let (name, text) = read_text(field).await?;
                form.fields.insert(name, Value::String(text));
            }
        }
    }
    Ok(form)
}

/// Reads a text field.
pub(crate) async fn read_text(field: Field<'_>) -> Result<(String, String)> {
    let name = field.name().unwrap_or_default().to_owned();
    let bytes = read_bytes(field, &format!("field `{name}`"), LONGEST_TEXT_BYTES).await?;
    let text = String::from_utf8(bytes)
        .map_err(|error| Error::malformed(format!("field `{name}`"), format!("it is not UTF-8: {error}")))?;
    Ok((name, text))
}

/// Reads a part into memory.
pub(crate) async fn read_bytes(mut field: Field<'_>, what: &str, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(broken_form)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(too_large(what, bytes.len() as u64, limit));
        }
    }
    Ok(bytes)
}

/// Streams a part into the service: chunks travel through a short channel to the thread that hashes and writes them.
async fn receive(
    service: &Arc<Service>,
    path: ManifestPath,
    mut field: Field<'_>,
    budget: &mut u64,
    limit: u64,
) -> Result<Received> {
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let writer = tokio::spawn({
        let service = service.clone();
        blocking::run(move || service.receive(path, &mut ChunkReader { receiver, chunk: Bytes::new() }))
    });
    let fed = feed(&mut field, &sender, budget, limit).await;
    if fed.is_err() {
        // The writer must not take the end of the channel for the end of the file.
        let _ = sender.send(Err(io::ErrorKind::ConnectionAborted.into())).await;
    }
    drop(sender);
    let received = writer.await.map_err(|error| Error::Internal(format!("an upload's task ended early: {error}")))?;
    fed.and(received)
}

/// A few chunks, so that network and disk work at the same time; each is at most some tens of kilobytes.
const CHUNKS_IN_FLIGHT: usize = 16;

type Chunk = io::Result<Bytes>;

async fn feed(field: &mut Field<'_>, sender: &mpsc::Sender<Chunk>, budget: &mut u64, limit: u64) -> Result<()> {
    while let Some(chunk) = field.chunk().await.map_err(broken_form)? {
        *budget = budget
            .checked_sub(chunk.len() as u64)
            .ok_or_else(|| too_large("the upload", limit - *budget + chunk.len() as u64, limit))?;
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

/// Turns a reader's error into ours.
pub(crate) fn broken_form(error: MultipartError) -> Error {
    Error::malformed("the multipart body", error.body_text())
}

fn too_large(what: &str, size: u64, limit: u64) -> Error {
    Error::TooLarge { what: what.into(), size: format!("{size} bytes or more"), limit: format!("{limit} bytes") }
}
