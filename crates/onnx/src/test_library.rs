//! ONNX Runtime for the tests of this crate, out of the wheel that SEEDHOUSE_TEST_ONNX_WHEEL names.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{LibraryChoice, OnnxRuntime, OnnxSettings, Package};

/// Returns the runtime with ONNX Runtime, or `None` after saying that the test is skipped.
///
/// # Panics
/// When `SEEDHOUSE_TEST_REQUIRE` lists `onnx-runtime` and there is no wheel.
pub(crate) fn runtime_with_library() -> Option<OnnxRuntime> {
    skip_unless(library_if_there(), "onnx-runtime", "SEEDHOUSE_TEST_ONNX_WHEEL does not name the wheel of ONNX Runtime")
}

/// The same for a test that goes on without it.
pub(crate) fn library_if_there() -> Option<OnnxRuntime> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let wheel = std::env::var_os("SEEDHOUSE_TEST_ONNX_WHEEL").filter(|wheel| !wheel.is_empty())?;
        let folder = Path::new(&wheel).with_file_name("unpacked");
        Some(Package::for_this_machine().unwrap().unpack(Path::new(&wheel), &folder).unwrap())
    });
    let library = LibraryChoice::File(library.clone()?);
    Some(OnnxRuntime::with(&OnnxSettings { library, threads: Some(2) }).unwrap())
}

/// Says that a test is skipped for want of something, which CI may forbid.
pub(crate) fn skip_unless<T>(found: Option<T>, what: &str, reason: &str) -> Option<T> {
    if found.is_none() {
        let required = std::env::var("SEEDHOUSE_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|required| required == what), "{reason}");
        println!("SKIPPED: {reason}");
    }
    found
}
