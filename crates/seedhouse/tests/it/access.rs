//! Access: tokens, roles, Host and Origin, over the real command line and the real server.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use seedhouse_core::MetadataStore;
use seedhouse_store::SqliteStore;
use serde_json::{Value, json};

use crate::support::{RawAnswer, RawRequest, Seedhouse, Server};

/// Makes a token and returns its secret.
fn token(seedhouse: &Seedhouse, name: &str, role: &str) -> String {
    token_with(seedhouse, &[name, "--role", role])
}

fn token_with(seedhouse: &Seedhouse, arguments: &[&str]) -> String {
    let run = seedhouse.run(&[&["token", "create"], arguments].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let secret = run.stdout.strip_suffix('\n').expect("one line").to_owned();
    assert!(secret.starts_with("sdh_") && secret.len() == 47, "the secret stands alone: {:?}", run.stdout);
    assert!(run.stderr.contains(arguments[0]) && !run.stderr.contains(&secret), "{}", run.stderr);
    secret
}

fn list(server: &Server) -> RawRequestTo<'_> {
    RawRequestTo { server, request: RawRequest::get("/api/models") }
}

/// A request and where it goes.
struct RawRequestTo<'a> {
    server: &'a Server,
    request: RawRequest,
}

impl RawRequestTo<'_> {
    fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        RawRequestTo { request: self.request.header(name, value), ..self }
    }

    fn bearer(self, secret: &str) -> Self {
        RawRequestTo { request: self.request.bearer(secret), ..self }
    }

    fn send(self) -> RawAnswer {
        self.request.send(&self.server.url)
    }
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |chunk: &[u8]| {
        let bits = (0..3).fold(0usize, |bits, index| bits << 8 | usize::from(*chunk.get(index).unwrap_or(&0)));
        (0..4)
            .map(|index| match index <= chunk.len() {
                true => char::from(ALPHABET[bits >> (18 - 6 * index) & 63]),
                false => '=',
            })
            .collect::<String>()
    };
    text.as_bytes().chunks(3).map(encode).collect()
}

#[test]
fn without_tokens_everybody_here_is_the_local_administrator() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    assert_eq!(list(&server).send().status, 200);
    assert_eq!(list(&server).bearer("whatever").send().status, 200, "clients that always send a key work");
    assert_eq!(server.post_json("/api/models", &json!({"name": "x"})).status, 201);
    assert_eq!(actors(&seedhouse), ["local"]);
}

/// Returns who made the changes, oldest first.
fn actors(seedhouse: &Seedhouse) -> Vec<String> {
    let store = SqliteStore::open(&seedhouse.root().join("seedhouse.db")).unwrap();
    store.events(0, 100).unwrap().into_iter().map(|event| event.happening.actor).collect()
}

#[test]
fn every_header_that_clients_send_is_understood() {
    let seedhouse = Seedhouse::new();
    let secret = token(&seedhouse, "ci", "reader");
    let server = seedhouse.serve();
    list(&server).send().assert_refused(401, "unauthenticated", &["no token"]);
    for (name, value) in [
        ("authorization", format!("Bearer {secret}")),
        ("Authorization", format!("bearer {secret}")),
        ("authorization", format!("Basic {}", base64(&format!("anybody:{secret}")))),
        ("X-API-KEY", secret.clone()),
        ("api-key", secret.clone()),
    ] {
        assert_eq!(list(&server).header(name, &value).send().status, 200, "{name}");
    }
    let twice = list(&server).bearer(&secret).header("x-api-key", &secret);
    assert_eq!(twice.send().status, 200, "the same token twice is one");
}

#[test]
fn every_documented_route_asks_for_the_permission_it_declares() {
    let seedhouse = Seedhouse::new();
    let roles = ["reader", "writer", "admin"].map(|role| (role, token(&seedhouse, role, role)));
    let server = seedhouse.serve();
    let document: Value = serde_json::from_str(&RawRequest::get("/openapi.json").send(&server.url).body).unwrap();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let permission = operation["x-permission"].as_str();
            let permission = permission.unwrap_or_else(|| panic!("{method} {path} declares no permission"));
            let ask = |secret: Option<&str>| {
                let request = RawRequest::new(&method.to_uppercase(), &without_parameters(path)).body(&json!({}));
                secret.into_iter().fold(request, RawRequest::bearer).send(&server.url)
            };
            let place = format!("{method} {path}");
            assert_eq!(ask(None).status == 401, permission != "open", "{place} without a token");
            assert_eq!(ask(Some("sdh_wrong")).status == 401, permission != "open", "{place} with an unknown token");
            assert_eq!(operation["security"].is_array(), permission != "open", "{place} says how to send a token");
            for (role, secret) in &roles {
                let allowed = match permission {
                    "open" | "read" => true,
                    "write" => *role != "reader",
                    "administer" => *role == "admin",
                    other => panic!("{place} declares `{other}`"),
                };
                let answer = ask(Some(secret));
                assert_ne!(answer.status, 401, "{place} as {role}");
                assert_eq!(answer.status == 403, !allowed, "{place} as {role}: {}", answer.body);
            }
            asked += 1;
        }
    }
    assert!(asked >= 9, "only {asked} operations are documented");
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    assert_eq!(schemes.len(), 4, "{schemes:?}");
}

fn without_parameters(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "nothing" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn reading_and_inference_need_a_reader_and_changes_a_writer_whose_name_the_history_keeps() {
    let seedhouse = Seedhouse::new();
    let [reader, writer] = [("看客", "reader"), ("小王", "writer")].map(|(name, role)| token(&seedhouse, name, role));
    let server = seedhouse.serve();
    let create = || RawRequest::new("POST", "/api/models").body(&json!({"name": "小麦"}));
    let refused = create().bearer(&reader).send(&server.url);
    refused.assert_refused(403, "permission_denied", &["`看客`", "`reader`", "write"]);
    assert!(refused.body.contains("--role writer"), "the hint names what is needed: {}", refused.body);
    create().send(&server.url).assert_refused(401, "unauthenticated", &[]);
    assert_eq!(create().bearer(&writer).send(&server.url).status, 201);
    assert_eq!(list(&server).bearer(&reader).send().status, 200);
    let ask = json!({"model_id": "小麦", "prompt": "hi"});
    let ask = RawRequest::new("POST", "/api/inference/text/generation").body(&ask).bearer(&reader);
    ask.send(&server.url).assert_refused(409, "failed_precondition", &["小麦_v1"]);
    assert_eq!(actors(&seedhouse), ["小王"]);
}

#[test]
fn health_and_the_document_are_open_and_what_is_not_there_tells_nothing() {
    let seedhouse = Seedhouse::new();
    token(&seedhouse, "ci", "admin");
    let server = seedhouse.serve();
    for path in ["/health", "/openapi.json"] {
        let answer = RawRequest::get(path).header("host", "probe.example").send(&server.url);
        assert_eq!(answer.status, 200, "{path}");
    }
    RawRequest::get("/api/nothing").send(&server.url).assert_refused(404, "not_found", &["/api/nothing"]);
}

#[test]
fn revoking_from_another_process_holds_within_a_second() {
    let seedhouse = Seedhouse::new();
    token(&seedhouse, "stays", "reader");
    let secret = token(&seedhouse, "goes", "reader");
    let server = seedhouse.serve();
    assert_eq!(list(&server).bearer(&secret).send().status, 200);
    let revoked = seedhouse.json(&["token", "revoke", "goes"]);
    let since = Instant::now();
    let refused = loop {
        let asked = since.elapsed();
        let answer = list(&server).bearer(&secret).send();
        if answer.status != 200 {
            break answer;
        }
        assert!(asked < Duration::from_secs(1), "the token still holds");
    };
    refused.assert_refused(401, "unauthenticated", &["`goes`", "revoked", revoked["revoked_at"].as_str().unwrap()]);
    let again = seedhouse.json(&["token", "revoke", "goes"]);
    assert_eq!(again["revoked_at"], revoked["revoked_at"], "the first time stays");
}

#[test]
fn first_token_closes_a_running_server_within_a_second() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    assert_eq!(list(&server).send().status, 200);
    let secret = token(&seedhouse, "ci", "reader");
    let since = Instant::now();
    while list(&server).send().status == 200 {
        assert!(since.elapsed() < Duration::from_secs(1), "it is still open");
    }
    assert_eq!(list(&server).bearer(&secret).send().status, 200);
}

#[test]
fn expired_token_is_refused_with_its_time_and_still_keeps_the_door_closed() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let secret = token_with(&seedhouse, &["short", "--role", "admin", "--expires-in", "3s"]);
    let made = Instant::now();
    while list(&server).send().status == 200 {
        assert!(made.elapsed() < Duration::from_secs(1), "it is still open");
    }
    assert_eq!(list(&server).bearer(&secret).send().status, 200);
    let refused = loop {
        let answer = list(&server).bearer(&secret).send();
        if answer.status != 200 {
            break answer;
        }
        assert!(made.elapsed() < Duration::from_secs(10), "it never expires");
        std::thread::sleep(Duration::from_millis(50));
    };
    let listed = seedhouse.json(&["token", "list"]);
    assert_eq!(listed[0]["state"], "expired");
    refused.assert_refused(401, "unauthenticated", &["`short`", "expired", listed[0]["expires_at"].as_str().unwrap()]);
    list(&server).send().assert_refused(401, "unauthenticated", &["no token"]);
}

#[test]
fn public_address_is_refused_without_an_active_token_and_served_with_one() {
    let seedhouse = Seedhouse::new();
    let refuse = || {
        let run = seedhouse.run(&["serve", "--listen", "0.0.0.0:0"]);
        run.assert_failed(2, &["0.0.0.0:0", "loopback", "hint: ", "seedhouse token create"]);
    };
    refuse();
    token(&seedhouse, "old", "admin");
    assert_eq!(seedhouse.run(&["token", "revoke", "old"]).code, 0);
    refuse();
    let secret = token(&seedhouse, "ci", "admin");
    let server = Server::start_on("0.0.0.0:0", seedhouse.command(), &[], std::process::Stdio::null());
    list(&server).send().assert_refused(401, "unauthenticated", &[]);
    assert_eq!(list(&server).bearer(&secret).send().status, 200);
    let by_name = list(&server).bearer(&secret).header("host", "models.example");
    assert_eq!(by_name.send().status, 200, "a public server has whatever name it is called by");
    let run = seedhouse.run(&["token", "revoke", "ci"]);
    assert!(run.stderr.contains("no token is left"), "{}", run.stderr);
    std::thread::sleep(Duration::from_secs(1));
    for request in [list(&server), list(&server).bearer(&secret)] {
        request.send().assert_refused(401, "unauthenticated", &["no token left"]);
    }
}

#[test]
fn secret_is_kept_nowhere() {
    let seedhouse = Seedhouse::new();
    let created = seedhouse.json(&["token", "create", "admin", "--role", "admin"]);
    let admin = created["secret"].as_str().unwrap().to_owned();
    let goes = token(&seedhouse, "goes", "writer");
    let log = seedhouse.file("log", b"");
    let mut command = seedhouse.command();
    command.env("SEEDHOUSE_LOG", "trace");
    let mut server = Server::start_on("127.0.0.1:0", command, &[], File::create(&log).unwrap().into());
    seedhouse.run(&["token", "revoke", "goes"]);
    for secret in [&admin, &goes] {
        list(&server).bearer(secret).send();
        list(&server).header("x-api-key", secret).send();
        list(&server).header("authorization", format!("Basic {secret}")).send();
        list(&server).bearer(&format!("{secret}x")).send();
        RawRequest::new("POST", "/api/models").body(&json!({"name": "x"})).bearer(secret).send(&server.url);
    }
    let listed = seedhouse.run(&["token", "list", "--json"]).stdout + &seedhouse.run(&["token", "list"]).stdout;
    server.terminate();
    server.wait();
    let log = std::fs::read(log).unwrap();
    assert!(log.windows(7).any(|bytes| bytes == b"request"), "the log has something to look through");
    let mut places = vec![("the log".to_owned(), log), ("the list".to_owned(), listed.into_bytes())];
    files_below(&seedhouse.root(), &mut places);
    assert!(places.iter().any(|(name, _)| name.ends_with("seedhouse.db")));
    for secret in [&admin, &goes] {
        let needle = &secret.as_bytes()[4..];
        for (name, bytes) in &places {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "the secret is in {name}");
        }
    }
}

fn files_below(folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else {
            files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn credentials_that_cannot_be_read_are_refused_without_repeating_them() {
    let seedhouse = Seedhouse::new();
    let secret = token(&seedhouse, "ci", "admin");
    let other = token(&seedhouse, "other", "admin");
    let server = seedhouse.serve();
    let long = "geheim".repeat(1700);
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("authorization", b"Bearer ".to_vec(), "empty"),
        ("x-api-key", b"".to_vec(), "empty"),
        ("authorization", format!("Bearer {long}").into_bytes(), "not known"),
        ("authorization", b"Basic geheim!".to_vec(), "broken base64"),
        ("authorization", format!("Basic {}", base64("geheim")).into_bytes(), "user:password"),
        ("authorization", b"Digest geheim".to_vec(), "`Bearer` and `Basic`"),
        ("authorization", b"Bearer geheim\xe9\xff".to_vec(), "not ASCII"),
        ("api-key", "秘密geheim".as_bytes().to_vec(), "not ASCII"),
        ("authorization", format!("Bearer {}", &secret[..46]).into_bytes(), "not known"),
        ("authorization", format!("Bearer {}", secret.to_uppercase()).into_bytes(), "not known"),
    ];
    for (name, value, part) in cases {
        let answer = list(&server).header(name, value).send();
        answer.assert_refused(401, "unauthenticated", &[part]);
        assert!(!answer.body.contains("geheim") && !answer.body.contains(&secret[..46]), "{}", answer.body);
    }
    let two = list(&server).bearer(&secret).header("x-api-key", &other).send();
    two.assert_refused(401, "unauthenticated", &["`authorization`", "`x-api-key`", "different"]);
    let two = list(&server).bearer(&secret).bearer(&other).send();
    two.assert_refused(401, "unauthenticated", &["different"]);
    assert_eq!(list(&server).bearer(&secret).send().status, 200);
}

#[test]
fn wrong_token_commands_have_messages_and_exit_codes() {
    let seedhouse = Seedhouse::new();
    seedhouse.run(&["token", "list"]).assert_failed(3, &["registry", "not found"]);
    token(&seedhouse, "ci", "reader");
    let create = |arguments: &[&str]| seedhouse.run(&[&["token", "create"], arguments].concat());
    create(&["ci", "--role", "admin"]).assert_failed(4, &["token `ci` already exists", "hint: ", "another name"]);
    create(&["x", "--role", "root"]).assert_failed(2, &["root", "`reader`, `writer` or `admin`"]);
    create(&["x"]).assert_failed(2, &["--role"]);
    for (time, part) in [("0", "like `90d`"), ("0d", "more than nothing"), ("-1d", "-1d"), ("9999999d", "10000")] {
        create(&["x", "--role", "reader", &format!("--expires-in={time}")]).assert_failed(2, &[part]);
    }
    for name in ["", "local", "CLI", "a\nb", "a/b", &"长".repeat(100)] {
        assert_eq!(create(&[name, "--role", "reader"]).code, 2, "{name:?}");
    }
    seedhouse.run(&["token", "revoke", "nobody"]).assert_failed(3, &["token `nobody` not found", "token list"]);
    seedhouse.run(&["token", "revoke", "ci"]);
    create(&["ci", "--role", "reader"]).assert_failed(4, &["`ci`"]);
    let listed = seedhouse.json(&["token", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 1, "what was refused is not there: {listed}");
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&json!("ci"), &json!("revoked")));
}

#[test]
fn foreign_hosts_and_pages_are_refused_on_loopback() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    for host in ["evil.example", "evil.example:7333", "127.0.0.1.evil.example", "a@localhost", "", "caf\u{e9}"] {
        list(&server).header("host", host).send().assert_refused(403, "permission_denied", &["`Host`", host]);
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:7333"] {
        assert_eq!(list(&server).header("host", host).send().status, 200, "{host}");
    }
    for origin in ["http://evil.example", "null", "http://localhost:1", "file://", "\u{e9}"] {
        let answer = list(&server).header("origin", origin).send();
        answer.assert_refused(403, "permission_denied", &["`Origin`", origin]);
        assert!(answer.header("access-control-allow-origin").is_none(), "{}", answer.head);
    }
    let own = list(&server).header("origin", &server.url).send();
    assert_eq!(own.status, 200, "a page of the server itself may send");
    let create =
        RawRequest::new("POST", "/api/models").body(&json!({"name": "x"})).header("origin", "http://evil.example");
    create.send(&server.url).assert_refused(403, "permission_denied", &["evil.example"]);
    assert_eq!(list(&server).send().body, "[]", "nothing was registered");
}

#[test]
fn allowed_hosts_and_pages_are_served_and_browsers_are_told() {
    let seedhouse = Seedhouse::new();
    token(&seedhouse, "ci", "reader");
    let mut command = seedhouse.command();
    command.env("SEEDHOUSE_ALLOW_HOST", "models.lan,registry.lan");
    let arguments = ["--allow-origin", "https://app.example", "--allow-origin", "http://localhost:3000"];
    let server = Server::start_with(command, &arguments);
    for host in ["models.lan", "registry.lan:80"] {
        list(&server).header("host", host).send().assert_refused(401, "unauthenticated", &[]);
    }
    list(&server).header("host", "other.lan").send().assert_refused(403, "permission_denied", &["other.lan"]);
    for origin in ["https://app.example", "http://localhost:3000"] {
        let answer = list(&server).header("origin", origin).send();
        answer.assert_refused(401, "unauthenticated", &[]);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "the page may read why");
        let preflight = RawRequest::new("OPTIONS", "/api/models").header("origin", origin);
        let preflight = preflight
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,x-api-key")
            .send(&server.url);
        assert_eq!(preflight.status, 200);
        assert_eq!(preflight.header("access-control-allow-origin"), Some(origin));
        assert!(preflight.header("access-control-allow-methods").unwrap().contains("post"), "{}", preflight.head);
        assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization,x-api-key"));
    }
    let preflight = RawRequest::new("OPTIONS", "/api/models").header("origin", "https://evil.example");
    let preflight = preflight.header("access-control-request-method", "POST").send(&server.url);
    assert!(preflight.header("access-control-allow-origin").is_none(), "{}", preflight.head);
    for (option, value) in [("--allow-host", "a:1"), ("--allow-origin", "*"), ("--allow-origin", "app.example")] {
        seedhouse.run(&["serve", option, value]).assert_failed(2, &[value]);
    }
}
