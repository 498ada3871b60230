//! `multipart/form-data` bodies (RFC 7578).

/// A form in the making.
pub(crate) struct Form {
    body: Vec<u8>,
}

const BOUNDARY: &str = "seedhouse-test-boundary-7333";

impl Form {
    pub(crate) fn new() -> Form {
        Form { body: Vec::new() }
    }

    /// Adds a text field.
    pub(crate) fn text(mut self, name: &str, value: &str) -> Form {
        let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        self.body.extend_from_slice(head.as_bytes());
        self
    }

    /// Adds a file under the field name `file`.
    pub(crate) fn file(self, file_name: &str, bytes: &[u8]) -> Form {
        self.named_file("file", file_name, bytes)
    }

    /// Adds a file.
    pub(crate) fn named_file(mut self, name: &str, file_name: &str, bytes: &[u8]) -> Form {
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(bytes);
        self.body.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    /// Returns the whole body.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = self.body.clone();
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        body
    }
}
