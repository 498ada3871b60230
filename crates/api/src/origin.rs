//! Host and Origin: a web page that somebody opens must not speak to the server on their machine behind their back.
//!
//! A page's own name can be made to point at 127.0.0.1 (DNS rebinding); the browser then sends the page's name as `Host`.
//! And a page may send requests elsewhere without being allowed to read the answers; the browser then says so in `Origin`.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use seedhouse_service::Reach;
use seedhouse_service::core::{Error, Result};
use tower_http::cors::{AllowHeaders, CorsLayer};

use crate::access::Doors;
use crate::native::upload_headers::EXPOSED;

/// A name by which clients may call the server, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost(String);

/// A web page's origin, `https://example.org` or with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigin(String);

impl FromStr for AllowedHost {
    type Err = Error;

    fn from_str(text: &str) -> Result<AllowedHost> {
        match host_of(text) {
            Some((host, None)) => Ok(AllowedHost(host)),
            _ => Err(Error::invalid("allow-host", text, "must be a host's name or address without a port")),
        }
    }
}

impl FromStr for AllowedOrigin {
    type Err = Error;

    fn from_str(text: &str) -> Result<AllowedOrigin> {
        let refuse =
            || Error::invalid("allow-origin", text, "must be like `https://example.org` or `http://localhost:3000`");
        let origin = Origin::parse(text.strip_suffix('/').unwrap_or(text)).ok_or_else(refuse)?;
        Ok(AllowedOrigin(origin.text()))
    }
}

/// Checks by which name the client calls, and returns it with its port. `authority` is that of the request's target, which
/// HTTP/2 has in place of the header.
pub(crate) fn check_host<'a>(
    authority: Option<&'a str>,
    headers: &'a HeaderMap,
    doors: &Doors,
) -> Result<Option<Cow<'a, str>>> {
    let mut given: Vec<Cow<'a, str>> = authority.map(Cow::Borrowed).into_iter().collect();
    given.extend(headers.get_all(HOST).iter().map(|value| String::from_utf8_lossy(value.as_bytes())));
    for name in &given {
        if given.iter().any(|other| !other.eq_ignore_ascii_case(name)) {
            return Err(Error::foreign_request("Host", given.join(", "), "a request has one host"));
        }
        check_name(name, doors)?;
    }
    if given.is_empty() && doors.reach == Reach::Loopback {
        return Err(Error::foreign_request("Host", "", "the request must say by which name it calls the server"));
    }
    Ok(given.into_iter().next())
}

fn check_name(name: &str, doors: &Doors) -> Result<()> {
    let (host, _) = host_of(name).ok_or_else(|| Error::foreign_request("Host", name, "must be a name and a port"))?;
    let everybody = doors.reach == Reach::Public && doors.hosts.is_empty();
    if everybody || is_loopback(&host) || doors.hosts.iter().any(|allowed| allowed.0 == host) {
        return Ok(());
    }
    let rule = match doors.reach {
        Reach::Loopback => "must be `localhost`, a loopback address or an allowed name",
        Reach::Public => "must be an allowed name",
    };
    Err(Error::foreign_request("Host", name, rule))
}

/// Checks which web page sends the request, when one does.
pub(crate) fn check_origin(host: Option<&str>, headers: &HeaderMap, doors: &Doors) -> Result<()> {
    for value in headers.get_all(ORIGIN) {
        let text = String::from_utf8_lossy(value.as_bytes());
        let allowed = Origin::parse(&text).is_some_and(|origin| {
            doors.origins.iter().any(|allowed| allowed.0 == origin.text())
                || host.is_some_and(|host| origin.is_on(host))
        });
        if !allowed {
            return Err(Error::foreign_request("Origin", text, "must be the server itself or an allowed web page"));
        }
    }
    Ok(())
}

/// Answers browsers that ask beforehand whether a page may send a request; `None` when no page may.
pub(crate) fn cors(doors: &Doors) -> Option<CorsLayer> {
    /// How long browsers may remember the answer.
    const REMEMBERED: Duration = Duration::from_secs(600);

    let origins = doors.origins.iter().filter_map(|origin| HeaderValue::from_str(&origin.0).ok());
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let exposed = ["etag", "location", "retry-after", "www-authenticate", "x-request-id"];
    let layer = CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods(methods)
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.into_iter().chain(EXPOSED).map(HeaderName::from_static).collect::<Vec<_>>())
        .max_age(REMEMBERED);
    (!doors.origins.is_empty()).then_some(layer)
}

/// An origin as browsers write it (RFC 6454), in lower case.
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    fn parse(text: &str) -> Option<Origin> {
        let uri: Uri = text.parse().ok()?;
        let (scheme, rest) = text.split_once("://")?;
        // Nothing may follow the authority, and `Uri` does not tell `x` from `x/`.
        if rest != uri.authority()?.as_str() || !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return None;
        }
        let (host, port) = host_of(rest)?;
        Some(Origin { scheme: scheme.to_ascii_lowercase(), host, port })
    }

    /// Browsers leave the scheme's own port out.
    fn text(&self) -> String {
        match self.port {
            Some(port) if port != self.default_port() => format!("{}://{}:{port}", self.scheme, self.host),
            _ => format!("{}://{}", self.scheme, self.host),
        }
    }

    fn default_port(&self) -> u16 {
        if self.scheme == "https" { 443 } else { 80 }
    }

    /// Returns whether a page of this origin comes from the server called `host`. A proxy may end TLS, so both schemes can
    /// be the server's.
    fn is_on(&self, host: &str) -> bool {
        let port = |port: Option<u16>| port.unwrap_or(self.default_port());
        host_of(host).is_some_and(|(name, given)| name == self.host && port(given) == port(self.port))
    }
}

/// Splits `name:port`; the name in lower case, an IPv6 address in brackets.
fn host_of(text: &str) -> Option<(String, Option<u16>)> {
    let authority: Authority = text.parse().ok()?;
    if text.contains('@') || authority.host().is_empty() {
        return None;
    }
    let port = match text.strip_prefix(authority.host())? {
        "" => None,
        rest => Some(rest.strip_prefix(':')?.parse().ok()?),
    };
    Some((authority.host().to_ascii_lowercase(), port))
}

/// An address cannot be made to point elsewhere; `localhost` points here by RFC 6761.
fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors(reach: Reach, hosts: &[&str], origins: &[&str]) -> Doors {
        Doors {
            reach,
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            origins: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
        }
    }

    fn headers(pairs: &[(HeaderName, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        map
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_and_allowed_ones_are_answered() {
        let doors = doors(Reach::Loopback, &["models.lan"], &[]);
        for (host, allowed) in [
            ("localhost", true),
            ("LOCALHOST:7333", true),
            ("127.0.0.1:1", true),
            ("127.0.0.2", true),
            ("[::1]:7333", true),
            ("models.lan:80", true),
            ("Models.LAN", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evil.example@localhost", false),
            ("192.168.0.1", false),
            ("localhost:x", false),
            ("localhost:99999", false),
            ("::1", false),
            ("", false),
            ("a b", false),
        ] {
            let headers = headers(&[(HOST, host.as_bytes())]);
            assert_eq!(check_host(None, &headers, &doors).is_ok(), allowed, "{host:?}");
        }
        assert!(check_host(None, &headers(&[(HOST, b"\xff")]), &doors).is_err());
        assert!(check_host(None, &HeaderMap::new(), &doors).is_err());
        assert!(check_host(Some("localhost:1"), &HeaderMap::new(), &doors).is_ok());
        assert!(check_host(Some("localhost"), &headers(&[(HOST, b"evil.example")]), &doors).is_err());
        assert!(check_host(None, &headers(&[(HOST, b"localhost"), (HOST, b"models.lan")]), &doors).is_err());
    }

    #[test]
    fn public_server_answers_to_every_name_until_some_are_listed() {
        let named = |host: &[u8]| headers(&[(HOST, host)]);
        assert!(check_host(None, &named(b"models.example"), &doors(Reach::Public, &[], &[])).is_ok());
        let listed = doors(Reach::Public, &["models.example"], &[]);
        assert!(check_host(None, &named(b"models.example:443"), &listed).is_ok());
        assert!(check_host(None, &named(b"other.example"), &listed).is_err());
    }

    #[test]
    fn pages_of_the_server_itself_and_allowed_ones_may_send() {
        let doors = doors(Reach::Loopback, &[], &["https://app.example:443/", "http://localhost:3000"]);
        for (host, origin, allowed) in [
            ("localhost:7333", "http://localhost:7333", true),
            ("localhost:7333", "http://localhost:3000", true),
            ("localhost:7333", "http://localhost:3001", false),
            ("localhost:7333", "http://127.0.0.1:7333", false),
            ("localhost", "http://localhost", true),
            ("localhost:80", "http://localhost", true),
            ("localhost", "http://localhost:7333", false),
            ("localhost:7333", "https://app.example", true),
            ("localhost:7333", "HTTPS://APP.example", true),
            ("localhost:7333", "http://app.example", false),
            ("localhost:7333", "https://app.example.evil.example", false),
            ("localhost:7333", "null", false),
            ("localhost:7333", "", false),
            ("localhost:7333", "file://localhost:7333", false),
            ("localhost:7333", "http://localhost:7333/", false),
            ("localhost:7333", "http://x@localhost:7333", false),
        ] {
            let headers = headers(&[(ORIGIN, origin.as_bytes())]);
            assert_eq!(check_origin(Some(host), &headers, &doors).is_ok(), allowed, "{host} {origin:?}");
        }
        assert!(check_origin(Some("localhost"), &headers(&[(ORIGIN, b"\xff")]), &doors).is_err());
        assert!(check_origin(Some("localhost"), &HeaderMap::new(), &doors).is_ok());
    }

    #[test]
    fn lists_with_anything_else_are_refused() {
        for text in ["", "a:1", "http://a", "a/b", "a@b", "*"] {
            let accepted = text.parse::<AllowedHost>();
            assert_eq!(accepted.is_err(), text != "*", "{text:?}: {accepted:?}");
        }
        for text in ["", "*", "null", "example.org", "ftp://a", "https://a/b", "https://a?b", "https://u@a", "https://"]
        {
            assert_eq!(text.parse::<AllowedOrigin>().unwrap_err().field(), Some("allow-origin"), "{text:?}");
        }
    }
}
