//! The limits of the HTTP interface, by name.

use std::time::Duration;

/// How much a client may send, how many at once, and how long nothing may happen. Sizes in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest JSON body; a nested image of the original's shape fits well.
    pub json_bytes: usize,
    /// The longest multipart body, files included, and the longest upload in parts.
    pub upload_bytes: u64,
    /// The longest encoded image.
    pub image_bytes: usize,
    /// All text fields of one form with the names of its parts: hyper-parameters with thousands of labels fit many times.
    pub form_text_bytes: u64,
    /// The most parts of one form.
    pub form_parts: usize,
    /// The most inference requests at once, streams included; the next one is refused.
    pub inference_requests: usize,
    /// The most registrations and parts of uploads at once; the next one is refused.
    pub uploads: usize,
    /// The most uploads in parts that are open, whether bytes arrive or not; the next one is refused.
    pub open_uploads: usize,
    /// How long a client may send nothing of its body, or take nothing of a stream.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            json_bytes: 64 << 20,
            upload_bytes: 64 << 30,
            image_bytes: 64 << 20,
            form_text_bytes: 16 << 20,
            form_parts: 10_000,
            inference_requests: 64,
            uploads: 32,
            open_uploads: 256,
            idle: Duration::from_secs(60),
        }
    }
}

/// Threads for requests that neither compute nor upload: they read the database and answer within milliseconds.
const READ_THREADS: usize = 64;

impl Limits {
    /// Returns how many blocking threads the server needs, so that admitted work never keeps reads waiting.
    pub fn blocking_threads(&self) -> usize {
        self.inference_requests.saturating_add(self.uploads).saturating_add(READ_THREADS)
    }
}
