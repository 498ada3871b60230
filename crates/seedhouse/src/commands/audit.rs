//! `seedhouse audit verify`: the chain of events, and every version against its last event.

use std::process::ExitCode;

use seedhouse_core::Code;
use seedhouse_service::Service;

use crate::exit_code::exit_code;
use crate::output::{Output, print_json, print_line};

pub(super) fn run(service: &Service, output: Output) -> anyhow::Result<ExitCode> {
    let audit = service.audit()?;
    match output {
        Output::Json => print_json(&audit)?,
        Output::Text => {
            print_line(&format!("{} events and {} versions checked", audit.events, audit.versions))?;
            if let Some(head) = audit.head {
                print_line(&format!("head {head}"))?;
            }
            for finding in &audit.findings {
                print_line(&format!("WRONG {finding}"))?;
            }
            print_line(&format!("{} findings", audit.findings.len()))?;
        }
    }
    Ok(if audit.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit_code(Code::Corrupt)) })
}
