//! The token stores: the behaviour suite of the port, and what SQLite promises beyond it.

use std::cell::Cell;
use std::sync::Arc;

use rusqlite::Connection;
use seedhouse_core::{Code, Digest, Role, Timestamp, Token, TokenStore};
use seedhouse_store::{MemoryTokens, SqliteStore};
use seedhouse_testkit::token_store::token_store_suite;

fn token(name: &str) -> Token {
    Token {
        name: name.parse().unwrap(),
        role: Role::Admin,
        digest: Digest::of(name),
        ending: "wxyz".into(),
        created_at: Timestamp::now(),
        expires_at: None,
        revoked_at: None,
    }
}

#[test]
fn memory_tokens_keep_every_promise_of_the_port() {
    token_store_suite(&|| Arc::new(MemoryTokens::new()));
}

#[test]
fn sqlite_tokens_keep_every_promise_of_the_port() {
    let folder = tempfile::tempdir().unwrap();
    let count = Cell::new(0);
    token_store_suite(&|| {
        count.set(count.get() + 1);
        Arc::new(SqliteStore::open(&folder.path().join(format!("{}.db", count.get()))).unwrap())
    });
    assert!(count.get() >= 7, "each promise is checked on a store of its own");
}

#[test]
fn tokens_are_seen_by_others_at_once_and_outlive_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seedhouse.db");
    let [one, other] = [SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap()];
    assert_eq!(other.tokens().unwrap(), []);
    let created = token("小王");
    one.create(created.clone()).unwrap();
    assert_eq!(other.tokens().unwrap(), std::slice::from_ref(&created));
    let revoked = other.revoke(&created.name, Timestamp::now()).unwrap();
    assert_eq!(one.tokens().unwrap(), std::slice::from_ref(&revoked));
    drop((one, other));
    assert_eq!(SqliteStore::open(&path).unwrap().tokens().unwrap(), [revoked]);
}

#[test]
fn damaged_token_lets_nobody_in_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seedhouse.db");
    let store = SqliteStore::open(&path).unwrap();
    store.create(token("ci")).unwrap();
    let connection = Connection::open(&path).unwrap();
    for (column, value) in [("role", "root"), ("expires_at", "never"), ("digest", "sha256:ba78")] {
        connection.execute("UPDATE token SET role = 'reader', expires_at = NULL", []).unwrap();
        connection.execute(&format!("UPDATE token SET {column} = ?1"), [value]).unwrap();
        let error = store.tokens().unwrap_err();
        assert_eq!(error.code(), Code::Corrupt);
        assert!(error.to_string().contains("token `ci`") && error.to_string().contains(value), "{error}");
    }
}
