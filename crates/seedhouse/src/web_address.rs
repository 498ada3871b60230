//! Addresses of other servers.

use seedhouse_core::{Error, Result};

/// Checks that a setting is the address of a server.
///
/// # Errors
/// [`Error::Invalid`] naming the setting.
pub(crate) fn check_url(setting: &'static str, url: &str, example: &str) -> Result<()> {
    let is_http = ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme));
    let uri =
        url.parse::<ureq::http::Uri>().ok().filter(|uri| is_http && uri.host().is_some_and(|host| !host.is_empty()));
    let Some(uri) = uri else {
        return Err(Error::invalid(setting, url, format!("must be a URL, like `{example}`")));
    };
    // Addresses are shown and written down; what lets somebody in is given otherwise, and is not repeated here.
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Error::invalid(
            setting,
            "an address with a name or a secret in it",
            format!("must be like `{example}`"),
        ));
    }
    match uri.query() {
        Some(_) => Err(Error::invalid(setting, url, "must have nothing after its path")),
        None => Ok(()),
    }
}

/// Returns a name as a part of a path.
pub(crate) fn encoded(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_one_part_of_a_path() {
        assert_eq!(encoded("小麦/3"), "%E5%B0%8F%E9%BA%A6%2F3");
    }

    #[test]
    fn address_needs_a_scheme_and_a_host() {
        for url in ["http://127.0.0.1:4318", "https://hub.example/hf"] {
            check_url("hub", url, "x").unwrap();
        }
        let error = check_url("hub", "https://user:secret@hub", "x").unwrap_err().to_string();
        assert!(!error.contains("secret@"), "{error}");
        for url in ["", "http://a?b=c", "hub", "http://", "https:///x", "file:///etc/passwd", "http://a b"] {
            assert_eq!(check_url("hub", url, "x").unwrap_err().field(), Some("hub"), "{url}");
        }
    }
}
