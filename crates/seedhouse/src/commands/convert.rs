//! `seedhouse convert`: a version in another format.

use seedhouse_service::{Conversion, IfTaken, Service};

use crate::cli::ConvertArguments;
use crate::output::{Output, human_size, print_json, print_line};
use crate::progress_bar::StageBar;

pub(super) fn run(service: &Service, arguments: &ConvertArguments, output: Output) -> anyhow::Result<()> {
    let made: Conversion =
        service.convert(&arguments.model, arguments.format, &arguments.output, IfTaken::Refuse, &StageBar::new())?;
    match output {
        Output::Json => print_json(&made),
        Output::Text => {
            print_line(&format!("wrote {} ({})", made.path.display(), human_size(made.size_bytes)))?;
            print_line(&format!("  digest   {}", made.digest))?;
            if let Some(difference) = made.greatest_difference {
                print_line(&format!("  checked  outputs differ from the version's own by at most {difference:.2e}"))?;
            }
            Ok(())
        }
    }
}
