//! Credentials from the headers that existing clients send.
//!
//! ```text
//! Authorization: Bearer K                  OpenAI's, the hub's and MLflow's clients
//! Authorization: Basic base64(user:K)      MLflow's with user and password; the user's name is ignored
//! X-API-KEY: K                             the original's web client
//! api-key: K                               the original's inference routes
//! ```

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seedhouse_service::{Credentials, Secret};

/// Returns what the headers say about the sender. Reasons never repeat what was sent.
pub(crate) fn credentials(headers: &HeaderMap) -> Credentials {
    let authorization = headers.get_all(AUTHORIZATION).iter().map(|value| ("authorization", from_authorization(value)));
    let keys = ["x-api-key", "api-key"]
        .into_iter()
        .flat_map(|name| headers.get_all(name).iter().map(move |value| (name, text(value).map(str::to_owned))));
    let mut found: Option<(&str, String)> = None;
    for (name, secret) in authorization.chain(keys) {
        let secret = match secret {
            Ok(secret) if secret.is_empty() => return unreadable(name, "has an empty token"),
            Ok(secret) => secret,
            Err(reason) => return unreadable(name, reason),
        };
        match &found {
            Some((first, other)) if *other != secret => {
                return Credentials::Unreadable(format!("headers `{first}` and `{name}` have different tokens"));
            }
            _ => found = Some((name, secret)),
        }
    }
    found.map_or(Credentials::None, |(_, secret)| Credentials::Secret(Secret::presented(secret)))
}

fn unreadable(header: &str, reason: &str) -> Credentials {
    Credentials::Unreadable(format!("header `{header}` {reason}"))
}

fn text(value: &HeaderValue) -> Result<&str, &'static str> {
    value.to_str().map(str::trim).map_err(|_| "has bytes that are not ASCII")
}

fn from_authorization(value: &HeaderValue) -> Result<String, &'static str> {
    let value = text(value)?;
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Ok(rest.to_owned()),
        "basic" => password(rest),
        _ => Err("has a scheme other than `Bearer` and `Basic`"),
    }
}

/// RFC 7617: `user:password` in base64; the password may contain colons.
fn password(encoded: &str) -> Result<String, &'static str> {
    let decoded = STANDARD.decode(encoded).map_err(|_| "has broken base64 after `Basic`")?;
    let decoded = String::from_utf8(decoded).map_err(|_| "has a password that is not UTF-8")?;
    let (_, password) = decoded.split_once(':').ok_or("has no `user:password` after `Basic`")?;
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &[u8])]) -> Credentials {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(axum::http::HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        credentials(&map)
    }

    #[test]
    fn every_form_gives_the_same_secret() {
        let basic = format!("Basic {}", STANDARD.encode("user:k:1"));
        let without_user = format!("basic {}", STANDARD.encode(":k:1"));
        for headers in [
            vec![("authorization", b"Bearer k:1".as_slice())],
            vec![("authorization", b"bearer   k:1 ")],
            vec![("authorization", basic.as_bytes())],
            vec![("authorization", without_user.as_bytes())],
            vec![("x-api-key", b"k:1")],
            vec![("api-key", b"k:1")],
            vec![("api-key", b"k:1"), ("x-api-key", b"k:1"), ("authorization", b"Bearer k:1")],
        ] {
            match of(&headers) {
                Credentials::Secret(secret) => assert_eq!(secret.reveal(), "k:1", "{headers:?}"),
                other => panic!("{headers:?}: {other:?}"),
            }
        }
        assert!(matches!(of(&[]), Credentials::None));
    }

    #[test]
    fn what_cannot_be_read_is_said_by_header_and_never_repeated() {
        let broken = format!("Basic {}", STANDARD.encode("geheim"));
        for (headers, parts) in [
            (vec![("authorization", b"Bearer ".as_slice())], ["authorization", "empty"]),
            (vec![("authorization", b"Bearer")], ["authorization", "empty"]),
            (vec![("x-api-key", b"")], ["x-api-key", "empty"]),
            (vec![("authorization", b"Digest geheim")], ["authorization", "`Bearer` and `Basic`"]),
            (vec![("authorization", b"geheim")], ["authorization", "`Bearer` and `Basic`"]),
            (vec![("authorization", b"Basic ge!heim")], ["authorization", "broken base64"]),
            (vec![("authorization", broken.as_bytes())], ["authorization", "`user:password`"]),
            (vec![("api-key", b"geh\xffeim")], ["api-key", "not ASCII"]),
            (vec![("api-key", b"geheim"), ("x-api-key", b"geheim2")], ["x-api-key", "different tokens"]),
            (vec![("authorization", b"Bearer geheim"), ("authorization", b"Bearer x")], ["authorization", "different"]),
        ] {
            match of(&headers) {
                Credentials::Unreadable(reason) => {
                    assert!(parts.iter().all(|part| reason.contains(part)), "{headers:?}: {reason}");
                    assert!(!reason.contains("geheim"), "{reason}");
                }
                other => panic!("{headers:?}: {other:?}"),
            }
        }
    }
}
