//! HTTP/1.1 by hand, for requests that no client would send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// A request in the making. `Host` is the server's own unless another is given.
pub(crate) struct RawRequest {
    head: Vec<u8>,
    has_host: bool,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl RawRequest {
    pub(crate) fn new(method: &str, path: &str) -> RawRequest {
        let head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n").into_bytes();
        RawRequest { head, has_host: false, body: Vec::new() }
    }

    pub(crate) fn get(path: &str) -> RawRequest {
        RawRequest::new("GET", path)
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> RawRequest {
        self.has_host |= name.eq_ignore_ascii_case("host");
        self.head.extend_from_slice(name.as_bytes());
        self.head.extend_from_slice(b": ");
        self.head.extend_from_slice(value.as_ref());
        self.head.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn bearer(self, secret: &str) -> RawRequest {
        self.header("authorization", format!("Bearer {secret}"))
    }

    pub(crate) fn body(mut self, body: &Value) -> RawRequest {
        self.body = body.to_string().into_bytes();
        let length = self.body.len().to_string();
        self.header("content-length", length)
    }

    /// Sends the request to a server's URL and reads until it closes the connection.
    pub(crate) fn send(self, url: &str) -> RawAnswer {
        let address = url.trim_start_matches("http://");
        let request = if self.has_host { self } else { self.header("host", address) };
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(&[&request.head[..], b"\r\n", &request.body[..]].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        RawAnswer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

impl RawAnswer {
    /// Returns a header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Checks that the request was refused with this status and a problem of this code whose text has all of these parts.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, code: &str, parts: &[&str]) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.header("www-authenticate"), (status == 401).then_some("bearer"));
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["type"], format!("urn:seedhouse:error:{code}"));
        for part in parts {
            assert!(problem["detail"].as_str().unwrap().contains(part), "`{part}` is missing in {problem}");
        }
    }
}
