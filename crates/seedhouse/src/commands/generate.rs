//! `seedhouse generate`: text on standard output as it grows, figures on standard error.

use std::io::{self, Write};
use std::ops::ControlFlow;

use seedhouse_core::{Error, Result};
use seedhouse_service::{
    Answer, Beams, ChosenToken, Continuation, EarlyStopping, GenerateRequest, Generation, Message, Prompt, Sampling,
    SamplingParameters, Service, TokenLogprob,
};
use serde_json::{Value, json};

use crate::cli::{EarlyStoppingArgument, GenerateArguments};
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
    let answers = arguments.num_return_sequences;
    if answers > 1 && arguments.temperature.is_none() && arguments.beam_width.is_none() {
        let rule = "needs `--temperature` or `--beam-width`: without them the answers would all be the same";
        return Err(Error::invalid("--num-return-sequences", answers, rule));
    }
    Ok(GenerateRequest {
        sampling: sampling(arguments)?,
        stop: arguments.stop.clone(),
        answers,
        logprobs: arguments.logprobs,
        ..GenerateRequest::new(prompt, arguments.max_tokens)
    })
}

fn sampling(arguments: &GenerateArguments) -> Result<Sampling> {
    let sampling = Sampling::new(&SamplingParameters {
        temperature: arguments.temperature.unwrap_or(0.0),
        top_k: arguments.top_k.unwrap_or(0),
        top_p: arguments.top_p.unwrap_or(1.0),
        min_p: arguments.min_p.unwrap_or(0.0),
        repetition_penalty: arguments.repetition_penalty,
        presence_penalty: arguments.presence_penalty,
        frequency_penalty: arguments.frequency_penalty,
        no_repeat_ngram_size: arguments.no_repeat_ngram_size,
        logit_bias: arguments.logit_bias.iter().copied().collect(),
        seed: arguments.seed.unwrap_or(0),
        beams: arguments.beam_width.map(|width| beams(arguments, width)),
    })?;
    if arguments.temperature.is_none() {
        let given = [
            ("--top-k", arguments.top_k.map(|value| value.to_string())),
            ("--top-p", arguments.top_p.map(|value| value.to_string())),
            ("--min-p", arguments.min_p.map(|value| value.to_string())),
            ("--seed", arguments.seed.map(|value| value.to_string())),
        ];
        if let Some((option, value)) = given.into_iter().find_map(|(option, value)| Some((option, value?))) {
            let rule = "needs `--temperature`, e.g. `--temperature 1`: without it no token is drawn";
            return Err(Error::invalid(option, value, rule));
        }
    }
    Ok(sampling)
}

fn beams(arguments: &GenerateArguments, width: usize) -> Beams {
    let early_stopping = match arguments.early_stopping {
        EarlyStoppingArgument::Always => EarlyStopping::Always,
        EarlyStoppingArgument::Likely => EarlyStopping::Likely,
        EarlyStoppingArgument::Never => EarlyStopping::Never,
    };
    Beams { width, length_penalty: arguments.length_penalty, early_stopping }
}

/// The first answer is written while it grows, further ones below it when they are complete.
fn print_text(
    service: &Service,
    arguments: &GenerateArguments,
    request: &GenerateRequest,
) -> anyhow::Result<Answer<Generation>> {
    let mut stdout = io::stdout().lock();
    let mut written = Ok(());
    let answer = service.generate(&arguments.reference, request, &mut |piece| {
        if piece.answer == 0 {
            written = stdout.write_all(piece.text.as_bytes()).and_then(|()| stdout.flush());
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    writeln!(stdout)?;
    for further in answer.value.answers.iter().skip(1) {
        writeln!(stdout, "\n{}", further.text)?;
    }
    Ok(answer)
}

fn print_figures(answer: &Answer<Generation>) {
    let generation = &answer.value;
    let tokens = generation.new_tokens();
    // The first token comes out of the prompt; the rate is that of the tokens after it.
    let rate = tokens.saturating_sub(1) as f64 / generation.decode_seconds.max(f64::EPSILON);
    eprintln!(
        "{} {}: {} prompt tokens in {:.3} s, {tokens} new tokens in {:.3} s ({rate:.1} tokens/s)",
        answer.model_id, answer.digest, generation.prompt_tokens, generation.prompt_seconds, generation.decode_seconds,
    );
}

fn answer_json(answer: &Answer<Generation>) -> Value {
    let generation = &answer.value;
    let first = generation.first();
    let mut json = json!({
        "model_id": answer.model_id,
        "version": answer.version,
        "digest": answer.digest,
        "text": first.text,
        "token_ids": first.token_ids,
        "prompt_tokens": generation.prompt_tokens,
        "generated_tokens": generation.new_tokens(),
        "finish": first.finish,
        "runtime": answer.runtime,
        "load_seconds": answer.load_seconds,
        "prompt_seconds": generation.prompt_seconds,
        "first_token_seconds": generation.first_token_seconds,
        "decode_seconds": generation.decode_seconds,
    });
    if !first.logprobs.is_empty() {
        json["logprobs"] = logprobs_json(&first.logprobs);
    }
    if first.score.is_some() {
        json["score"] = json!(first.score);
    }
    if generation.answers.len() > 1 {
        json["answers"] = generation.answers.iter().map(continuation_json).collect();
    }
    json
}

fn continuation_json(answer: &Continuation) -> Value {
    let mut json = json!({ "text": answer.text, "token_ids": answer.token_ids, "finish": answer.finish });
    if !answer.logprobs.is_empty() {
        json["logprobs"] = logprobs_json(&answer.logprobs);
    }
    if answer.score.is_some() {
        json["score"] = json!(answer.score);
    }
    json
}

fn logprobs_json(tokens: &[ChosenToken]) -> Value {
    let token = |token: &TokenLogprob| {
        let text = String::from_utf8_lossy(&token.bytes);
        json!({ "token_id": token.id, "token": text, "bytes": token.bytes, "logprob": token.logprob })
    };
    let chosen = |of: &ChosenToken| {
        let mut json = token(&of.chosen);
        json["top_logprobs"] = of.top.iter().map(token).collect();
        json
    };
    tokens.iter().map(chosen).collect()
}
