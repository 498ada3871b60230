//! The limits of the HTTP interface, by name.

/// How much a client may send. Sizes in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest JSON body; a nested image of the original's shape fits well.
    pub json_bytes: usize,
    /// The longest multipart body, files included.
    pub upload_bytes: u64,
    /// The longest encoded image.
    pub image_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { json_bytes: 64 << 20, upload_bytes: 64 << 30, image_bytes: 64 << 20 }
    }
}
