//! Registering files that stand in the folder of imports: what somebody with access to the server's disk put there.

use std::fs::File;

use seedhouse_core::{Entry, Error, Result};

use crate::{RegisterRequest, Service, collect_files, missing_or_unreadable};

impl Service {
    /// Registers a file or a folder in the folder of imports, which stays as it is. `name` is what the request field
    /// `field` says; `request` is asked for when it is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that leads elsewhere or to nothing, and those of [`register`](Service::register).
    pub fn register_import(
        &self,
        field: &'static str,
        name: &str,
        request: impl FnOnce() -> Result<RegisterRequest>,
    ) -> Result<Entry> {
        let folder = self.import_folder()?.about(field);
        let path = folder.existing_file_or_folder(name).map_err(|error| match error {
            Error::NotFound { .. } => {
                let rule = "must name a file or a folder in the registry's folder `imports`; nothing is downloaded";
                Error::invalid(field, name.escape_debug(), rule)
            }
            other => other,
        })?;
        let request = request()?;
        self.check_free(&request)?;
        let shown = |error| match error {
            Error::Invalid { field, value, rule } => {
                let place = folder.path().display().to_string();
                Error::Invalid { field, value: value.replace(&place, "imports"), rule: rule.replace(&place, "imports") }
            }
            other => other,
        };
        let mut received = Vec::new();
        for source in collect_files(&[path]).map_err(shown)? {
            let mut file = File::open(&source.local).map_err(|error| missing_or_unreadable(&source.local, error))?;
            received.push(self.receive(source.path, &mut file)?);
        }
        self.register(request, received)
    }
}
