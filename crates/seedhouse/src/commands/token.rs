//! `seedhouse token`: make, list and revoke the tokens that let others in.

use std::path::Path;

use seedhouse_core::{Token, TokenState};
use seedhouse_service::{Access, NewToken};
use serde_json::{Value, json};

use crate::cli::{TokenCommand, TokenCreateArguments, TokenRevokeArguments};
use crate::output::{Output, print_json, print_line, print_table};
use crate::registry::Registry;

pub(super) fn run(root: &Path, command: &TokenCommand, output: Output) -> anyhow::Result<()> {
    match command {
        // Before the first `serve` there may be no registry yet.
        TokenCommand::Create(arguments) => create(Registry::open_or_create(root)?.service.access(), arguments, output),
        TokenCommand::List => list(Registry::open(root)?.service.access(), output),
        TokenCommand::Revoke(arguments) => revoke(Registry::open(root)?.service.access(), arguments, output),
    }
}

fn create(access: &Access, arguments: &TokenCreateArguments, output: Output) -> anyhow::Result<()> {
    let expires_in = arguments.expires_in.map(|lifetime| lifetime.0);
    let NewToken { token, secret } = access.create_token(arguments.name.clone(), arguments.role, expires_in)?;
    match output {
        Output::Json => {
            let mut value = token_json(&token, TokenState::Active);
            value["secret"] = secret.reveal().into();
            print_json(&value)
        }
        Output::Text => {
            let end = token.expires_at.map_or_else(|| "never expires".to_owned(), |at| format!("expires {at}"));
            eprintln!("token `{}` ({}) {end}; its secret is shown only this once:", token.name, token.role);
            Ok(print_line(secret.reveal())?)
        }
    }
}

fn list(access: &Access, output: Output) -> anyhow::Result<()> {
    let tokens = access.list_tokens()?;
    match output {
        Output::Json => print_json(&tokens.iter().map(|(token, state)| token_json(token, *state)).collect::<Vec<_>>()),
        Output::Text => {
            let header = ["NAME", "ROLE", "STATE", "SECRET", "CREATED", "EXPIRES"];
            Ok(print_table(&header, &tokens.iter().map(row).collect::<Vec<_>>())?)
        }
    }
}

fn revoke(access: &Access, arguments: &TokenRevokeArguments, output: Output) -> anyhow::Result<()> {
    let token = access.revoke_token(&arguments.name)?;
    let left = access.list_tokens()?.into_iter().filter(|(token, _)| token.revoked_at.is_none()).count();
    if left == 0 {
        eprintln!("warning: no token is left: whoever reaches the server on this machine is its administrator");
    }
    match (output, token.revoked_at) {
        (Output::Text, Some(at)) => Ok(print_line(&format!("token `{}` is refused since {at}", token.name))?),
        (Output::Json, Some(at)) => print_json(&token_json(&token, TokenState::Revoked(at))),
        (_, None) => anyhow::bail!("token `{}` was revoked, but the registry does not say so", token.name),
    }
}

/// Says everything but the digest, which is of no use to anybody.
fn token_json(token: &Token, state: TokenState) -> Value {
    json!({
        "name": token.name,
        "role": token.role,
        "state": state.as_str(),
        "secret_ending": token.ending,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    })
}

fn row((token, state): &(Token, TokenState)) -> Vec<String> {
    vec![
        token.name.to_string(),
        token.role.to_string(),
        state.as_str().to_owned(),
        format!("…{}", token.ending),
        token.created_at.to_string(),
        token.expires_at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
    ]
}
