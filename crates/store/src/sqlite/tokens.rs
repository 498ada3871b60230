//! Tokens. They are few and seldom change, so they have one connection of their own beside the writer's queue.

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use seedhouse_core::{Error, Kind, Result, Timestamp, Token, TokenName, TokenStore};

use super::SqliteStore;
use super::own_connection::OwnConnection;

/// The table of tokens. Their order of creation is that of `id`.
pub(super) const TABLE: &str = "
    CREATE TABLE token (
        id         INTEGER PRIMARY KEY,
        name       TEXT NOT NULL UNIQUE,
        role       TEXT NOT NULL,
        digest     TEXT NOT NULL UNIQUE,
        ending     TEXT NOT NULL,
        created_at TEXT NOT NULL,
        expires_at TEXT,
        revoked_at TEXT
    ) STRICT;
";

const COLUMNS: &str = "name, role, digest, ending, created_at, expires_at, revoked_at";

/// The tokens of one store.
pub(super) struct Tokens(OwnConnection);

impl Tokens {
    /// Returns the tokens behind a connection.
    pub(super) fn new(connection: OwnConnection) -> Tokens {
        Tokens(connection)
    }

    fn create(&self, token: &Token) -> Result<()> {
        self.0.write("create a token", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if let Some(taken) = named(&transaction, &token.name)? {
                let name = token.name.to_string();
                return Ok(taken
                    .into_token()
                    .and_then(|taken| Err(Error::AlreadyExists { kind: Kind::Token, name, since: taken.created_at })));
            }
            transaction.execute(
                &format!("INSERT INTO token ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
                params![
                    token.name.as_str(),
                    token.role.as_str(),
                    token.digest.to_string(),
                    token.ending,
                    token.created_at.to_string(),
                    token.expires_at.map(String::from),
                    token.revoked_at.map(String::from),
                ],
            )?;
            transaction.commit().map(Ok)
        })
    }

    fn revoke(&self, name: &TokenName, at: Timestamp) -> Result<Token> {
        self.0.write("revoke a token", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sql = "UPDATE token SET revoked_at = ?2 WHERE name = ?1 AND revoked_at IS NULL";
            transaction.execute(sql, params![name.as_str(), at.to_string()])?;
            let row = named(&transaction, name)?;
            transaction.commit()?;
            Ok(row.ok_or_else(|| Error::not_found(Kind::Token, name)).and_then(TokenRow::into_token))
        })
    }

    fn all(&self) -> Result<Vec<Token>> {
        self.0.with("read the tokens", |connection| {
            let sql = format!("SELECT {COLUMNS} FROM token ORDER BY id");
            let rows: Vec<TokenRow> =
                connection.prepare_cached(&sql)?.query_map([], TokenRow::read)?.collect::<rusqlite::Result<_>>()?;
            Ok(rows.into_iter().map(TokenRow::into_token).collect())
        })
    }
}

fn named(connection: &Connection, name: &TokenName) -> rusqlite::Result<Option<TokenRow>> {
    let sql = format!("SELECT {COLUMNS} FROM token WHERE name = ?1");
    connection.query_row(&sql, [name.as_str()], TokenRow::read).optional()
}

/// A row as it is stored.
struct TokenRow {
    name: String,
    role: String,
    digest: String,
    ending: String,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

impl TokenRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
        Ok(TokenRow {
            name: row.get(0)?,
            role: row.get(1)?,
            digest: row.get(2)?,
            ending: row.get(3)?,
            created_at: row.get(4)?,
            expires_at: row.get(5)?,
            revoked_at: row.get(6)?,
        })
    }

    fn into_token(self) -> Result<Token> {
        let what = format!("token `{}`", self.name);
        self.parsed().map_err(|error| Error::CorruptState { what, reason: error.to_string() })
    }

    fn parsed(self) -> Result<Token> {
        Ok(Token {
            name: self.name.parse()?,
            role: self.role.parse()?,
            digest: self.digest.parse()?,
            ending: self.ending,
            created_at: self.created_at.try_into()?,
            expires_at: self.expires_at.map(Timestamp::try_from).transpose()?,
            revoked_at: self.revoked_at.map(Timestamp::try_from).transpose()?,
        })
    }
}

impl TokenStore for SqliteStore {
    fn create(&self, token: Token) -> Result<()> {
        self.tokens.create(&token)
    }

    fn revoke(&self, name: &TokenName, at: Timestamp) -> Result<Token> {
        self.tokens.revoke(name, at)
    }

    fn tokens(&self) -> Result<Vec<Token>> {
        self.tokens.all()
    }
}
