//! What every token store promises, whatever it keeps its tokens in.

#![expect(clippy::unwrap_used, reason = "a promise that is not kept shows as a panic")]

use std::sync::Arc;
use std::thread;

use seedhouse_core::{Digest, Error, Kind, Role, Timestamp, Token, TokenStore};

use crate::suite::{Claim, check};

type Store = Arc<dyn TokenStore>;

/// Checks every promise of the port on stores that `make` gives: a new, empty one per promise.
///
/// # Panics
/// When a promise is not kept; the message names each that is not.
pub fn token_store_suite(make: &dyn Fn() -> Store) {
    macro_rules! claims {
        ($($claim:ident,)*) => {
            [$((stringify!($claim), Box::new(|| $claim(make())) as Box<dyn Fn() + '_>),)*]
        };
    }
    let claims: [Claim<'_>; _] = claims![
        tokens_come_back_as_they_were_oldest_first,
        taken_name_is_refused_with_its_date,
        name_of_a_revoked_token_stays_taken,
        taken_digest_is_refused,
        one_of_many_at_once_gets_the_name,
        revoked_token_keeps_its_first_time,
        revoking_what_is_not_there_says_so,
    ];
    check("token store", &claims);
}

fn time(minute: u32) -> Timestamp {
    Timestamp::parse(&format!("2026-03-01T12:{minute:02}:00.000001Z")).unwrap().0
}

fn token(name: &str) -> Token {
    Token {
        name: name.parse().unwrap(),
        role: Role::Writer,
        digest: Digest::of(name),
        ending: "wxyz".into(),
        created_at: time(0),
        expires_at: None,
        revoked_at: None,
    }
}

#[track_caller]
fn assert_taken(outcome: Result<(), Error>, name: &str, since: Timestamp) {
    match outcome {
        Err(Error::AlreadyExists { kind: Kind::Token, name: taken, since: taken_since }) => {
            assert_eq!((taken.as_str(), taken_since), (name, since));
        }
        other => panic!("token `{name}` should be taken, but the answer is {other:?}"),
    }
}

fn tokens_come_back_as_they_were_oldest_first(store: Store) {
    assert_eq!(store.tokens().unwrap(), []);
    let expiring = Token { role: Role::Reader, expires_at: Some(time(9)), ..token("b") };
    let all = [expiring, token("小王"), Token { role: Role::Admin, ..token("a") }];
    for token in &all {
        store.create(token.clone()).unwrap();
    }
    assert_eq!(store.tokens().unwrap(), all);
}

fn taken_name_is_refused_with_its_date(store: Store) {
    store.create(token("ci")).unwrap();
    let other = Token { digest: Digest::of("other"), created_at: time(1), ..token("ci") };
    assert_taken(store.create(other), "ci", time(0));
    assert_eq!(store.tokens().unwrap(), [token("ci")]);
}

fn name_of_a_revoked_token_stays_taken(store: Store) {
    store.create(token("ci")).unwrap();
    store.revoke(&"ci".parse().unwrap(), time(1)).unwrap();
    assert_taken(store.create(Token { digest: Digest::of("other"), ..token("ci") }), "ci", time(0));
}

fn taken_digest_is_refused(store: Store) {
    store.create(token("ci")).unwrap();
    store.create(Token { digest: Digest::of("ci"), ..token("other") }).unwrap_err();
    assert_eq!(store.tokens().unwrap(), [token("ci")]);
}

fn one_of_many_at_once_gets_the_name(store: Store) {
    let outcomes: Vec<bool> = thread::scope(|scope| {
        let create = |number: usize| {
            let store = &store;
            scope.spawn(move || store.create(Token { digest: Digest::of([number as u8]), ..token("ci") }).is_ok())
        };
        let threads: Vec<_> = (0..8).map(create).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|created| **created).count(), 1);
    assert_eq!(store.tokens().unwrap().len(), 1);
}

fn revoked_token_keeps_its_first_time(store: Store) {
    store.create(token("ci")).unwrap();
    store.create(token("other")).unwrap();
    let name = "ci".parse().unwrap();
    let revoked = Token { revoked_at: Some(time(1)), ..token("ci") };
    assert_eq!(store.revoke(&name, time(1)).unwrap(), revoked);
    assert_eq!(store.revoke(&name, time(2)).unwrap(), revoked);
    assert_eq!(store.tokens().unwrap(), [revoked, token("other")]);
}

fn revoking_what_is_not_there_says_so(store: Store) {
    let error = store.revoke(&"nobody".parse().unwrap(), time(1)).unwrap_err();
    assert!(matches!(&error, Error::NotFound { kind: Kind::Token, name } if name == "nobody"), "{error}");
}
