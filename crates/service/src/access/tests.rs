use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use seedhouse_core::Code;
use seedhouse_store::MemoryTokens;

use super::*;

/// A clock that stands still until it is moved.
struct HandClock(Mutex<Timestamp>);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// Counts the reads, and can be made to fail.
#[derive(Default)]
struct WatchedTokens {
    inner: MemoryTokens,
    reads: AtomicUsize,
    broken: Mutex<bool>,
}

impl TokenStore for WatchedTokens {
    fn create(&self, token: Token) -> Result<()> {
        self.inner.create(token)
    }

    fn revoke(&self, name: &TokenName, at: Timestamp) -> Result<Token> {
        self.inner.revoke(name, at)
    }

    fn tokens(&self) -> Result<Vec<Token>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if *self.broken.lock().unwrap() {
            return Err(Error::Unavailable { what: "database".into(), reason: "broken on purpose".into() });
        }
        self.inner.tokens()
    }
}

struct Fixture {
    access: Access,
    store: Arc<WatchedTokens>,
    clock: Arc<HandClock>,
}

fn fixture() -> Fixture {
    let store = Arc::new(WatchedTokens::default());
    let clock = Arc::new(HandClock(Mutex::new(Timestamp::parse("2026-03-01T12:00:00Z").unwrap().0)));
    Fixture { access: Access::new(store.clone(), clock.clone()), store, clock }
}

impl Fixture {
    fn create(&self, name: &str, role: Role, expires_in: Option<u64>) -> Credentials {
        let expires_in = expires_in.map(Duration::from_secs);
        Credentials::Secret(self.access.create_token(name.parse().unwrap(), role, expires_in).unwrap().secret)
    }

    fn ask(&self, credentials: &Credentials) -> Result<Caller> {
        self.access.authenticate(credentials, Reach::Loopback)
    }
}

#[track_caller]
fn assert_refused(outcome: Result<Caller>, part: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    assert!(error.to_string().contains(part), "`{part}` is missing in: {error}");
}

#[test]
fn registry_without_tokens_has_one_local_administrator_and_no_public() {
    let fixture = fixture();
    for credentials in
        [Credentials::None, Credentials::Secret(Secret::presented("x")), Credentials::Unreadable("odd".into())]
    {
        let caller = fixture.ask(&credentials).unwrap();
        assert_eq!((caller.name.as_str(), caller.role), ("local", Role::Admin));
        assert_refused(fixture.access.authenticate(&credentials, Reach::Public), "no token left");
    }
    let error = fixture.access.check_reach(Reach::Public, "0.0.0.0:7333").unwrap_err();
    assert!(error.to_string().contains("0.0.0.0:7333") && error.hint().unwrap().contains("token create"), "{error}");
}

#[test]
fn first_token_closes_the_door_at_once_and_lets_its_holder_in() {
    let fixture = fixture();
    fixture.ask(&Credentials::None).unwrap();
    let ci = fixture.create("ci", Role::Writer, None);
    assert_refused(fixture.ask(&Credentials::None), "no token");
    assert_refused(fixture.ask(&Credentials::Unreadable("it is odd".into())), "it is odd");
    assert_refused(fixture.ask(&Credentials::Secret(Secret::generate().unwrap())), "not known");
    assert_refused(fixture.ask(&Credentials::Secret(Secret::presented("长".repeat(10_000)))), "not known");
    for reach in [Reach::Loopback, Reach::Public] {
        let caller = fixture.access.authenticate(&ci, reach).unwrap();
        assert_eq!((caller.name.as_str(), caller.role), ("ci", Role::Writer));
    }
    fixture.access.check_reach(Reach::Public, "0.0.0.0:7333").unwrap();
}

#[test]
fn expired_and_revoked_tokens_are_refused_with_name_and_time() {
    let fixture = fixture();
    let short = fixture.create("short", Role::Reader, Some(60));
    let long = fixture.create("long", Role::Reader, None);
    fixture.ask(&short).unwrap();
    *fixture.clock.0.lock().unwrap() = Timestamp::parse("2026-03-01T12:01:00Z").unwrap().0;
    assert_refused(fixture.ask(&short), "`short` expired 2026-03-01T12:01:00Z");
    fixture.ask(&long).unwrap();
    fixture.access.revoke_token(&"long".parse().unwrap()).unwrap();
    assert_refused(fixture.ask(&long), "`long` was revoked 2026-03-01T12:01:00Z");
}

#[test]
fn expiry_of_the_last_token_opens_nothing_but_revoking_it_does() {
    let fixture = fixture();
    fixture.create("only", Role::Admin, Some(60));
    *fixture.clock.0.lock().unwrap() = Timestamp::parse("2027-01-01T00:00:00Z").unwrap().0;
    assert_refused(fixture.ask(&Credentials::None), "no token");
    assert!(fixture.access.check_reach(Reach::Public, "0.0.0.0:1").is_err());
    fixture.access.revoke_token(&"only".parse().unwrap()).unwrap();
    assert_eq!(fixture.ask(&Credentials::None).unwrap().name, "local");
    assert_refused(fixture.access.authenticate(&Credentials::None, Reach::Public), "no token left");
}

#[test]
fn tokens_are_read_once_for_many_requests_and_again_when_that_is_old() {
    let fixture = fixture();
    let ci = fixture.create("ci", Role::Reader, None);
    assert!(fixture.access.authenticate_now(&ci, Reach::Loopback).is_none(), "nothing was read yet");
    for _ in 0..1000 {
        fixture.ask(&ci).unwrap();
        assert_refused(fixture.ask(&Credentials::Secret(Secret::presented("sdh_unknown"))), "not known");
    }
    let reads = fixture.store.reads.load(Ordering::Relaxed);
    assert!((1..=20).contains(&reads), "{reads} reads for 2000 requests");
    // Another process revokes it: this one has to notice by itself.
    let started = std::time::Instant::now();
    fixture.store.inner.revoke(&"ci".parse().unwrap(), fixture.clock.now()).unwrap();
    fixture.store.inner.create(Token { digest: seedhouse_core::Digest::of("x"), ..other_token() }).unwrap();
    while fixture.ask(&ci).is_ok() {
        assert!(started.elapsed() < Duration::from_secs(1), "it still holds after a second");
        std::thread::yield_now();
    }
}

fn other_token() -> Token {
    let created_at = Timestamp::parse("2026-03-01T12:00:00Z").unwrap().0;
    Token {
        name: "other".parse().unwrap(),
        role: Role::Reader,
        digest: seedhouse_core::Digest::of("other"),
        ending: "ther".into(),
        created_at,
        expires_at: None,
        revoked_at: None,
    }
}

#[test]
fn store_that_cannot_be_read_lets_nobody_in() {
    let fixture = fixture();
    *fixture.store.broken.lock().unwrap() = true;
    assert_eq!(fixture.ask(&Credentials::None).unwrap_err().code(), Code::Unavailable);
    *fixture.store.broken.lock().unwrap() = false;
    fixture.ask(&Credentials::None).unwrap();
}

#[test]
fn role_that_does_not_suffice_is_named() {
    let caller = Caller { name: "ci".into(), role: Role::Reader };
    caller.check(Permission::Read).unwrap();
    let error = caller.check(Permission::Write).unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert_eq!(error.to_string(), "token `ci` has the role `reader`, which may not write");
    assert!(error.hint().unwrap().contains("--role writer"));
}

#[test]
fn time_that_is_over_at_once_or_beyond_the_calendar_is_refused() {
    let fixture = fixture();
    for expires_in in [Duration::ZERO, Duration::MAX] {
        let outcome = fixture.access.create_token("ci".parse().unwrap(), Role::Reader, Some(expires_in));
        assert_eq!(outcome.unwrap_err().field(), Some("expires_in"));
    }
    assert_eq!(fixture.access.list_tokens().unwrap(), []);
}
