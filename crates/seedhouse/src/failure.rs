//! How a failed command ends: message, causes and hint on standard error, exit code by the error's code.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use seedhouse_core::{Code, Error};
use serde_json::json;

use crate::exit_code::exit_code;
use crate::output::Output;

/// Prints why the command failed and returns its exit code.
pub(crate) fn report(error: &anyhow::Error, output: Output) -> ExitCode {
    if is_broken_pipe(error) {
        // The reader had enough (`seedhouse list | head`): that is success.
        return ExitCode::SUCCESS;
    }
    print(error, output);
    ExitCode::from(exit_code(known(error).map_or(Code::Internal, Error::code)))
}

/// Prints an error with its causes and its hint.
pub(crate) fn print(error: &anyhow::Error, output: Output) {
    let known = known(error);
    let code = known.map_or(Code::Internal, Error::code);
    let hint = known.and_then(Error::hint);
    let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    match output {
        Output::Json => {
            let field = known.and_then(Error::field);
            let body = json!({ "error": error.to_string(), "code": code.as_str(), "field": field, "hint": hint, "causes": causes });
            eprintln!("{body}");
        }
        Output::Text => {
            eprintln!("error: {error}");
            for cause in causes {
                eprintln!("  caused by: {cause}");
            }
            if let Some(hint) = hint {
                eprintln!("hint: {hint}");
            }
        }
    }
}

/// Ends a program whose command line was not understood, or that was asked for help.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    // Whether JSON is wanted stands on the command line that was not understood.
    let json = std::env::args_os().skip(1).take_while(|argument| argument != "--").any(|argument| argument == "--json");
    if json && error.use_stderr() {
        return report(&usage_mistake(error).into(), Output::Json);
    }
    match error.print() {
        Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
        Err(error) => report(&error.into(), Output::Text),
    }
}

/// Returns the mistake in our words; a value that our own rules refuse is reported under the name of its argument.
fn usage_mistake(error: &clap::Error) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg).map(|argument| {
        let name = argument.split([' ', '=']).next().unwrap_or(argument);
        name.trim_matches(['<', '>', '[', ']', '.']).to_owned()
    });
    if error.kind() == ErrorKind::ValueValidation
        && let (Some(argument), Some(value)) = (&argument, text(ContextKind::InvalidValue))
    {
        let rule = std::error::Error::source(error).map_or_else(
            || "is not understood".to_owned(),
            |source| match source.downcast_ref::<Error>() {
                Some(Error::Invalid { rule, .. }) => rule.clone(),
                _ => format!("is not understood: {source}"),
            },
        );
        return Error::invalid(argument, value, rule);
    }
    let rendered = error.to_string();
    let first = rendered.split("\n\n").next().unwrap_or(&rendered);
    let words: Vec<&str> = first.trim_start_matches("error: ").split_whitespace().collect();
    Error::malformed("the command line", words.join(" "))
}

fn known(error: &anyhow::Error) -> Option<&Error> {
    error.chain().find_map(|cause| cause.downcast_ref::<Error>())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
