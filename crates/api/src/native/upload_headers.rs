//! The headers of the tus protocol 1.0.0 (<https://tus.io/protocols/resumable-upload>): read, checked and written.

use std::collections::HashSet;

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use seedhouse_service::core::{Checksum, ChecksumAlgorithm, Error, ManifestPath, NewUpload, Part, Result};

use crate::problem::problem;

/// The version of the protocol that is spoken here.
pub(crate) const VERSION: &str = "1.0.0";
/// The extensions that are spoken here.
pub(crate) const EXTENSIONS: &str = "creation,termination,checksum,expiration";
/// The type of a part's bytes.
const PART_TYPE: &str = "application/offset+octet-stream";
/// The most that is kept of what a client says about an upload.
const LONGEST_METADATA: usize = 8 << 10;

pub(crate) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(crate) const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(crate) const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
pub(crate) const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub(crate) const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
pub(crate) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(crate) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(crate) const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub(crate) const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const METHOD_OVERRIDE: &str = "x-http-method-override";

/// What a web page of another origin must be able to read for a tus client in it to work.
pub(crate) const EXPOSED: [&str; 10] = [
    "tus-resumable",
    "tus-version",
    "tus-extension",
    "tus-max-size",
    "tus-checksum-algorithm",
    "upload-length",
    "upload-offset",
    "upload-metadata",
    "upload-expires",
    "cache-control",
];

fn is_ours(path: &str) -> bool {
    path == "/api/uploads" || path.starts_with("/api/uploads/")
}

/// Middleware: refuses other versions of the protocol and names ours in every answer. A client that names none is served.
pub(crate) async fn speak(request: Request, next: Next) -> Response {
    if !is_ours(request.uri().path()) {
        return next.run(request).await;
    }
    let asked = request.headers().get(TUS_RESUMABLE).filter(|asked| *asked != VERSION);
    let mut response = match asked {
        // Who asks for the versions need not know one.
        Some(asked) if request.method() != Method::OPTIONS => {
            let asked = String::from_utf8_lossy(asked.as_bytes()).into_owned();
            let error = Error::invalid("Tus-Resumable", asked, format!("this server speaks {VERSION}"));
            let mut response = refusal(StatusCode::PRECONDITION_FAILED, &error);
            response.headers_mut().insert(TUS_VERSION, HeaderValue::from_static(VERSION));
            response
        }
        _ => next.run(request).await,
    };
    response.headers_mut().insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
    response
}

/// Takes the method from `X-HTTP-Method-Override`, for clients that can only send POST. All methods here need one permission.
pub(crate) fn with_overridden_method(mut request: Request) -> Request {
    let asked = request.headers().get(METHOD_OVERRIDE).and_then(|method| method.to_str().ok());
    if request.method() == Method::POST && is_ours(request.uri().path()) {
        let methods = [Method::PATCH, Method::DELETE, Method::HEAD];
        if let Some(method) = methods.into_iter().find(|method| asked == Some(method.as_str())) {
            *request.method_mut() = method;
        }
    }
    request
}

/// Answers with a status that tus chose for an error of ours.
pub(crate) fn refusal(status: StatusCode, error: &Error) -> Response {
    let mut response = status.into_response();
    response.extensions_mut().insert(problem(error, status));
    response
}

/// Returns whether the body is a part.
pub(crate) fn check_part_type(headers: &HeaderMap) -> Result<()> {
    let given = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
    match given.trim().eq_ignore_ascii_case(PART_TYPE) {
        true => Ok(()),
        false => Err(Error::invalid("Content-Type", given, format!("must be `{PART_TYPE}`"))),
    }
}

/// Reads what a client says about a new upload.
///
/// # Errors
/// [`Error::Invalid`] naming the header, [`Error::TooLarge`] for more than `most_bytes`.
pub(crate) fn new_upload(headers: &HeaderMap, most_bytes: u64) -> Result<NewUpload> {
    for (header, extension) in [(UPLOAD_CONCAT, "concatenation"), (UPLOAD_DEFER_LENGTH, "creation-defer-length")] {
        if headers.contains_key(&header) {
            let reason = format!("the extensions spoken here are {EXTENSIONS}");
            return Err(Error::unsupported(format!("the tus extension `{extension}` (`{header}`)"), reason));
        }
    }
    if number(headers, &HeaderName::from_static("content-length"))?.is_some_and(|length| length > 0) {
        let reason = "send the bytes with PATCH to the address in `Location`";
        return Err(Error::unsupported("the tus extension `creation-with-upload` (a body)", reason));
    }
    let length = number(headers, &UPLOAD_LENGTH)?
        .ok_or_else(|| Error::invalid("Upload-Length", "", "must say how many bytes the upload will have"))?;
    if length > most_bytes {
        return Err(Error::TooLarge {
            what: "the upload".into(),
            size: format!("{length} bytes"),
            limit: format!("{most_bytes} bytes"),
        });
    }
    let metadata = text(headers, &UPLOAD_METADATA)?.filter(|text| !text.trim().is_empty());
    let name = metadata.as_deref().map(filename).transpose()?.flatten();
    Ok(NewUpload { length, name, metadata })
}

/// Reads what a client says about a part.
///
/// # Errors
/// [`Error::Invalid`] naming the header.
pub(crate) fn part(headers: &HeaderMap) -> Result<Part> {
    let offset = number(headers, &UPLOAD_OFFSET)?
        .ok_or_else(|| Error::invalid("Upload-Offset", "", "must say at which byte the part begins"))?;
    let length = number(headers, &HeaderName::from_static("content-length"))?;
    let checksum = text(headers, &UPLOAD_CHECKSUM)?.as_deref().map(checksum).transpose()?;
    Ok(Part { offset, length, checksum })
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid(name.as_str(), "given twice", "must be given once"));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(Error::invalid(name.as_str(), String::from_utf8_lossy(value.as_bytes()), "must be ASCII")),
    }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    // `parse` would take `+1`.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(Some(number)),
        _ => Err(Error::invalid(name.as_str(), text, "must be a whole number from 0")),
    }
}

/// Reads `sha256 <base64>`.
fn checksum(text: &str) -> Result<Checksum> {
    let names = ChecksumAlgorithm::ALL.map(ChecksumAlgorithm::as_str).join(" or ");
    let refuse =
        || Error::invalid("Upload-Checksum", text, format!("must be {names}, a space and a checksum in base64"));
    let (name, value) = text.split_once(' ').ok_or_else(refuse)?;
    let algorithm = ChecksumAlgorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name);
    let bytes = BASE64_STANDARD.decode(value).map_err(|_| refuse())?;
    Checksum::new(algorithm.ok_or_else(refuse)?, bytes).map_err(|error| match error {
        Error::Invalid { rule, .. } => Error::invalid("Upload-Checksum", text, rule),
        other => other,
    })
}

/// Checks all metadata (`key base64, key base64, …`) and returns the one that matters here.
fn filename(text: &str) -> Result<Option<ManifestPath>> {
    if text.len() > LONGEST_METADATA {
        let (what, size) = ("`Upload-Metadata`".into(), format!("{} bytes", text.len()));
        return Err(Error::TooLarge { what, size, limit: format!("{LONGEST_METADATA} bytes") });
    }
    let refuse = |rule: &str| Error::invalid("Upload-Metadata", text, rule);
    let (mut seen, mut filename) = (HashSet::new(), None);
    for pair in text.split(',') {
        let (key, value) = pair.trim().split_once(' ').unwrap_or((pair.trim(), ""));
        if key.is_empty() || !seen.insert(key) {
            return Err(refuse("must be pairs of a key, each once, and a value in base64, with commas between them"));
        }
        let value = BASE64_STANDARD.decode(value.trim()).map_err(|_| refuse("must have its values in base64"))?;
        if key == "filename" {
            filename = Some(path(value)?);
        }
    }
    Ok(filename)
}

fn path(value: Vec<u8>) -> Result<ManifestPath> {
    let refuse = |value: &str, rule: &str| Error::invalid("filename", value.escape_debug(), rule);
    let value = String::from_utf8(value)
        .map_err(|error| refuse(&String::from_utf8_lossy(error.as_bytes()), "must be UTF-8 in base64"))?;
    value.parse().map_err(|error| match error {
        Error::Invalid { rule, .. } => refuse(&value, &rule),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use seedhouse_service::core::Code;

    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn metadata_of_real_clients_is_understood_and_kept() {
        let cases = [
            ("filename bW9kZWwuZ2d1Zg==", Some("model.gguf")),
            ("filename bW9kZWwuZ2d1Zg==,filetype YXBwbGljYXRpb24vb2N0ZXQtc3RyZWFt", Some("model.gguf")),
            ("is_confidential,filename 5p2D6YeNL20uYmlu", Some("权重/m.bin")),
            ("relativePath bnVsbA==, name eA==", None),
        ];
        for (text, name) in cases {
            let new = new_upload(&headers(&[("upload-length", "5"), ("upload-metadata", text)]), 10).unwrap();
            assert_eq!(new.length, 5);
            assert_eq!(new.name.as_ref().map(ManifestPath::as_str), name, "{text}");
            assert_eq!(new.metadata.as_deref(), Some(text));
        }
    }

    #[test]
    fn wrong_headers_of_a_new_upload_are_named() {
        let cases: [(Pairs, Code, &str); 12] = [
            (&[], Code::Invalid, "Upload-Length"),
            (&[("upload-length", "-1")], Code::Invalid, "upload-length"),
            (&[("upload-length", "+1")], Code::Invalid, "upload-length"),
            (&[("upload-length", "1e3")], Code::Invalid, "upload-length"),
            (&[("upload-length", "99999999999999999999")], Code::Invalid, "upload-length"),
            (&[("upload-length", "11")], Code::TooLarge, "11 bytes"),
            (&[("upload-defer-length", "1")], Code::Unsupported, "creation-defer-length"),
            (&[("upload-concat", "partial"), ("upload-length", "1")], Code::Unsupported, "concatenation"),
            (&[("upload-length", "1"), ("content-length", "1")], Code::Unsupported, "creation-with-upload"),
            (&[("upload-length", "1"), ("upload-metadata", "a YQ==,a YQ==")], Code::Invalid, "Upload-Metadata"),
            (&[("upload-length", "1"), ("upload-metadata", "a *")], Code::Invalid, "base64"),
            // `../../etc/passwd`
            (
                &[("upload-length", "1"), ("upload-metadata", "filename Li4vLi4vZXRjL3Bhc3N3ZA==")],
                Code::Invalid,
                "`filename`",
            ),
        ];
        for (pairs, code, part) in cases {
            let error = new_upload(&headers(pairs), 10).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn wrong_headers_of_a_part_are_named() {
        let good = headers(&[("upload-offset", "7"), ("upload-checksum", "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")]);
        let good = part(&good).unwrap();
        assert_eq!((good.offset, good.length), (7, None));
        assert_eq!(good.checksum.unwrap().to_string(), "sha1:a9993e364706816aba3e25717850c26c9cd0d89d");
        let cases: [(Pairs, &str); 6] = [
            (&[], "Upload-Offset"),
            (&[("upload-offset", "x")], "upload-offset"),
            (&[("upload-offset", "0"), ("upload-checksum", "sha256")], "Upload-Checksum"),
            (&[("upload-offset", "0"), ("upload-checksum", "md5 YQ==")], "sha256 or sha1"),
            (&[("upload-offset", "0"), ("upload-checksum", "sha256 *")], "base64"),
            (&[("upload-offset", "0"), ("upload-checksum", "sha256 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")], "32 bytes"),
        ];
        for (pairs, named) in cases {
            let error = part(&headers(pairs)).unwrap_err();
            assert_eq!(error.code(), Code::Invalid);
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
