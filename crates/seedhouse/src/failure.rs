//! How a failed command ends: message, causes and hint on standard error, exit code by the error's code.

use std::process::ExitCode;

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
    let known = error.chain().find_map(|cause| cause.downcast_ref::<Error>());
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
    ExitCode::from(exit_code(code))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
