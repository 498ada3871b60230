//! `seedhouse generate`: text on standard output as it grows, figures on standard error.

use std::io::{self, Write};
use std::ops::ControlFlow;

use seedhouse_core::{Error, Result};
use seedhouse_service::{Answer, GenerateRequest, Generation, Message, Prompt, Sampling, Service};
use serde_json::json;

use crate::cli::GenerateArguments;
use crate::output::{Output, print_json};

pub(super) fn run(service: &Service, arguments: &GenerateArguments, output: Output) -> anyhow::Result<()> {
    let request = request(arguments)?;
    match output {
        Output::Json => {
            let answer = service.generate(&arguments.reference, &request, &mut |_| ControlFlow::Continue(()))?;
            print_json(&answer_json(&answer))
        }
        Output::Text => {
            let answer = print_text(service, arguments, &request)?;
            print_figures(&answer);
            Ok(())
        }
    }
}

fn request(arguments: &GenerateArguments) -> Result<GenerateRequest> {
    let message = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
    let prompt = if arguments.chat {
        let system = arguments.system.iter().map(|text| message("system", text));
        Prompt::Chat(system.chain([message("user", &arguments.prompt)]).collect())
    } else {
        Prompt::Text(arguments.prompt.clone())
    };
    if arguments.max_tokens == 0 {
        return Err(Error::invalid("--max-tokens", 0, "must be at least 1"));
    }
    let sampling = sampling(arguments)?;
    Ok(GenerateRequest { prompt, max_new_tokens: arguments.max_tokens, sampling, stop: arguments.stop.clone() })
}

fn sampling(arguments: &GenerateArguments) -> Result<Sampling> {
    let temperature = arguments.temperature.unwrap_or(0.0);
    let (top_k, top_p) = (arguments.top_k.unwrap_or(0), arguments.top_p.unwrap_or(1.0));
    let sampling = Sampling::new(temperature, top_k, top_p, arguments.seed.unwrap_or(0))?;
    if arguments.temperature.is_none() {
        let given = [
            ("--top-k", arguments.top_k.map(|value| value.to_string())),
            ("--top-p", arguments.top_p.map(|value| value.to_string())),
            ("--seed", arguments.seed.map(|value| value.to_string())),
        ];
        if let Some((option, value)) = given.into_iter().find_map(|(option, value)| Some((option, value?))) {
            let rule = "needs `--temperature`, e.g. `--temperature 1`: without it no token is drawn";
            return Err(Error::invalid(option, value, rule));
        }
    }
    Ok(sampling)
}

fn print_text(
    service: &Service,
    arguments: &GenerateArguments,
    request: &GenerateRequest,
) -> anyhow::Result<Answer<Generation>> {
    let mut stdout = io::stdout().lock();
    let mut written = Ok(());
    let answer = service.generate(&arguments.reference, request, &mut |text| {
        written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    writeln!(stdout)?;
    Ok(answer)
}

fn print_figures(answer: &Answer<Generation>) {
    let generation = &answer.value;
    let tokens = generation.token_ids.len();
    // The first token comes out of the prompt; the rate is that of the tokens after it.
    let rate = tokens.saturating_sub(1) as f64 / generation.decode_seconds.max(f64::EPSILON);
    eprintln!(
        "{} {}: {} prompt tokens in {:.3} s, {tokens} new tokens in {:.3} s ({rate:.1} tokens/s)",
        answer.model_id, answer.digest, generation.prompt_tokens, generation.prompt_seconds, generation.decode_seconds,
    );
}

fn answer_json(answer: &Answer<Generation>) -> serde_json::Value {
    let generation = &answer.value;
    json!({
        "model_id": answer.model_id,
        "version": answer.version,
        "digest": answer.digest,
        "text": generation.text,
        "token_ids": generation.token_ids,
        "prompt_tokens": generation.prompt_tokens,
        "generated_tokens": generation.token_ids.len(),
        "finish": generation.finish,
        "load_seconds": answer.load_seconds,
        "prompt_seconds": generation.prompt_seconds,
        "first_token_seconds": generation.first_token_seconds,
        "decode_seconds": generation.decode_seconds,
    })
}
