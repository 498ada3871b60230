//! What can be asked of a text generation, over HTTP and on the command line, and what cannot.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_testkit::tiny_gguf::{tiny_llama, tiny_llama_gguf};
use serde_json::{Value, json};

use crate::support::{Run, Seedhouse, Server};

const PATH: &str = "/api/inference/text/generation";

fn serving() -> (Seedhouse, Server) {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let server = seedhouse.serve();
    (seedhouse, server)
}

fn ask(server: &Server, fields: &Value) -> Value {
    let mut body = json!({"model_id": "tiny", "prompt": "hello", "max_length": 16});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let answer = server.post_json(PATH, &body);
    assert_eq!(answer.status, 200, "{fields}: {}", answer.text);
    answer.json()
}

#[test]
fn parameters_mean_the_same_over_http_and_on_the_command_line() {
    let (seedhouse, server) = serving();
    let drawn = |fields: Value| {
        let mut all = json!({"do_sample": true, "temperature": 3.0, "seed": 11});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        all
    };
    let plain = &ask(&server, &json!({}))["predictions"];
    let level = &ask(&server, &drawn(json!({})))["predictions"];
    let cases: [(Value, &[&str], bool); 9] = [
        (drawn(json!({"min_p": 0.5})), &["--temperature", "3", "--seed", "11", "--min-p", "0.5"], true),
        (drawn(json!({"top_k": 2})), &["--temperature", "3", "--seed", "11", "--top-k", "2"], true),
        (json!({"repetition_penalty": 1.9}), &["--repetition-penalty", "1.9"], false),
        (json!({"presence_penalty": 2.0}), &["--presence-penalty", "2"], false),
        (json!({"frequency_penalty": 2.0}), &["--frequency-penalty", "2"], false),
        (json!({"no_repeat_ngram_size": 1}), &["--no-repeat-ngram-size", "1"], false),
        (json!({"logit_bias": {"68": 100.0}}), &["--logit-bias", "68=100"], false),
        (json!({"beam_search": true, "beam_width": 3}), &["--beam-width", "3", "--early-stopping", "always"], false),
        (
            json!({"beam_search": true, "beam_width": 2, "length_penalty": -2.0, "early_stopping": "never"}),
            &["--beam-width", "2", "--length-penalty", "-2", "--early-stopping", "never"],
            false,
        ),
    ];
    for (fields, options, is_drawn) in cases {
        let over_http = ask(&server, &fields);
        let arguments = [&["generate", "tiny", "hello", "--max-tokens", "16"], options].concat();
        let by_command = seedhouse.json(&arguments);
        assert_eq!(over_http["predictions"], by_command["text"], "{fields}");
        let without = if is_drawn { level } else { plain };
        let changes = fields.get("beam_search").is_none() && fields.get("presence_penalty").is_none();
        assert!(!changes || over_http["predictions"] != *without, "{fields} changes nothing");
    }
    assert_eq!(ask(&server, &json!({"logit_bias": {"68": 100.0}}))["predictions"], "A".repeat(16));
}

#[test]
fn several_answers_come_as_a_list_and_the_first_is_the_single_one() {
    let (seedhouse, server) = serving();
    let drawn = json!({"do_sample": true, "temperature": 5.0, "seed": 4});
    let single = ask(&server, &drawn);
    let mut fields = drawn.clone();
    fields["num_return_sequences"] = 4.into();
    let many = ask(&server, &fields);
    let predictions = many["predictions"].as_array().unwrap();
    assert_eq!((predictions.len(), &predictions[0]), (4, &single["predictions"]));
    assert_eq!(many["metadata"]["finish_reason"].as_array().unwrap().len(), 4);
    assert_ne!(predictions[1], predictions[2]);
    let arguments = ["--max-tokens", "16", "--temperature", "5", "--seed", "4", "--num-return-sequences", "4"];
    let by_command = seedhouse.json(&[&["generate", "tiny", "hello"], &arguments[..]].concat());
    let texts: Vec<&Value> = by_command["answers"].as_array().unwrap().iter().map(|answer| &answer["text"]).collect();
    assert_eq!(texts, predictions.iter().collect::<Vec<_>>());

    fields["stream"] = true.into();
    let mut body = json!({"model_id": "tiny", "prompt": "hello", "max_length": 16});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let streamed = server.post_json(PATH, &body);
    let (pieces, _) = streamed.text.split_once("event: done\n").expect("the stream ends with `done`");
    let mut texts = vec![String::new(); 4];
    for data in pieces.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let piece: Value = serde_json::from_str(data).unwrap();
        texts[piece["index"].as_u64().unwrap() as usize] += piece["text"].as_str().unwrap();
    }
    assert_eq!(json!(texts), many["predictions"]);
}

#[test]
fn beam_search_tells_the_score_of_each_answer_best_first() {
    let (_seedhouse, server) = serving();
    let found = ask(&server, &json!({"beam_search": true, "beam_width": 4, "num_return_sequences": 3}));
    let scores: Vec<f64> =
        found["metadata"]["score"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
    assert_eq!((scores.len(), found["predictions"].as_array().unwrap().len()), (3, 3));
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] < 0.0, "{scores:?}");
}

#[test]
fn logprobs_come_with_every_token() {
    let (_seedhouse, server) = serving();
    let answer = ask(&server, &json!({"logprobs": 3, "max_length": 5}));
    let tokens = answer["metadata"]["logprobs"].as_array().unwrap();
    assert_eq!(tokens.len() as u64, answer["metadata"]["output_length"].as_u64().unwrap());
    for token in tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(top[0]["token_id"], token["token_id"], "the most likely one is taken");
        assert_eq!(top[0]["logprob"], token["logprob"]);
        assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64());
        assert!(token["bytes"].is_array() && token["token"].is_string());
    }
}

#[test]
fn values_out_of_range_and_contradictions_are_refused_with_their_field() {
    let (_seedhouse, server) = serving();
    let cases = [
        (json!({"do_sample": true, "min_p": 1.5}), "min_p", "`1.5`"),
        (json!({"repetition_penalty": 0}), "repetition_penalty", "`0`"),
        (json!({"presence_penalty": -3}), "presence_penalty", "`-3`"),
        (json!({"frequency_penalty": 9}), "frequency_penalty", "`9`"),
        (json!({"logit_bias": {"x": 1}}), "logit_bias", "`x`"),
        (json!({"logit_bias": {"5": 200}}), "logit_bias.5", "`200`"),
        (json!({"logit_bias": {"100000": 1}}), "logit_bias", "`100000`"),
        (json!({"num_return_sequences": 0}), "num_return_sequences", "`0`"),
        (json!({"num_return_sequences": 2}), "num_return_sequences", "the same"),
        (json!({"do_sample": true, "num_return_sequences": 500}), "num_return_sequences", "`500`"),
        (json!({"beam_search": true, "num_return_sequences": 6}), "num_return_sequences", "5"),
        (json!({"beam_search": true, "beam_width": 0}), "beam_width", "`0`"),
        (json!({"beam_search": true, "beam_width": 1000}), "beam_width", "`1000`"),
        (json!({"beam_search": true, "early_stopping": "soon"}), "early_stopping", "never"),
        (json!({"beam_search": true, "length_penalty": 1e9}), "length_penalty", "`1000000000`"),
        (json!({"beam_search": true, "logprobs": 1}), "logprobs", "beam search"),
        (json!({"beam_search": true, "do_sample": true}), "do_sample", "beam_search"),
        (json!({"logprobs": 21}), "logprobs", "`21`"),
        (json!({"timeout_seconds": 0}), "timeout_seconds", "`0`"),
        (json!({"timeout_seconds": -1}), "timeout_seconds", "`-1`"),
        (json!({"stop": [""]}), "stop[0]", "1 to 256"),
    ];
    for (fields, field, part) in cases {
        let mut body = json!({"model_id": "tiny", "prompt": "hello"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        server.post_json(PATH, &body).assert_problem_about(400, field, &[part]);
    }
}

#[test]
fn time_that_is_up_is_answered_504() {
    let seedhouse = Seedhouse::new();
    let mut builder = tiny_llama(1);
    builder.number("llama.context_length", 100_000);
    seedhouse.register("tiny", &seedhouse.file("long.gguf", &builder.build()));
    let server = seedhouse.serve();
    // A bias keeps the model from ending its answer.
    let body = json!({"model_id": "tiny", "prompt": "hello", "max_length": 90_000, "timeout_seconds": 0.3,
                      "logit_bias": {"68": 100.0}});
    server.post_json(PATH, &body).assert_problem(504, &["0.3 s"]);
}

#[test]
fn many_requests_at_once_are_answered_or_refused_at_once() {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let limits = ["--max-inference-requests", "16", "--max-waiting-generations", "4", "--max-running-sequences", "2"];
    let server = Server::start_with(seedhouse.command(), &limits);
    let body = json!({"model_id": "tiny", "prompt": "hello", "max_length": 20}).to_string();
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    // All are sent before the first answer is read.
    let connections: Vec<_> = (0..400).map(|_| server.connect(request.as_bytes())).collect();
    let (mut answered, mut refused) = (0, 0);
    for mut connection in connections {
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        match text.split(' ').nth(1).unwrap() {
            "200" => answered += 1,
            "429" => {
                refused += 1;
                assert!(text.to_lowercase().contains("retry-after: 1"), "{text}");
            }
            other => panic!("answered with {other}: {text}"),
        }
    }
    assert!(answered > 0 && answered + refused == 400, "{answered} answered, {refused} refused");
    assert_eq!(server.post(PATH, &body).status, 200);
}

/// At once means: each of 100 clients sends 100 requests over its own connection without waiting for an answer. The server works on the
/// first of each connection; the others lie in its sockets. So nothing depends on how many files a process may open.
#[test]
fn ten_thousand_requests_at_once_are_answered_or_refused_and_leave_nothing() {
    const CLIENTS: usize = 100;
    const EACH: usize = 100;
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let limits = ["--max-inference-requests", "16", "--max-waiting-generations", "4", "--max-running-sequences", "2"];
    let server = Server::start_with(seedhouse.command(), &limits);
    let body = json!({"model_id": "tiny", "prompt": "hello", "max_length": 20}).to_string();
    let expected = server.post(PATH, &body).json()["predictions"].clone();
    let request = |connection: &str| {
        format!(
            "POST {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let requests = request("keep-alive").repeat(EACH - 1) + &request("close");
    let flood = || -> (usize, usize) {
        let connections: Vec<_> = (0..CLIENTS).map(|_| server.connect(requests.as_bytes())).collect();
        let readers: Vec<_> = connections
            .into_iter()
            .map(|mut connection| {
                thread::spawn(move || {
                    let mut text = String::new();
                    connection.read_to_string(&mut text).unwrap();
                    text
                })
            })
            .collect();
        let answers: Vec<String> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        answers.iter().fold((0, 0), |(answered, refused), text| {
            let (here, not_here) = count_answers(text, &expected);
            assert_eq!(here + not_here, EACH, "every request has its answer: {text}");
            (answered + here, refused + not_here)
        })
    };
    // The first flood fills the allocator's and the threads' places.
    let (answered, refused) = flood();
    let before = server.resident_megabytes();
    let begun = Instant::now();
    let (again, refused_again) = flood();
    let after = server.resident_megabytes();
    println!(
        "{answered} and {again} answered, {refused} and {refused_again} refused; {:?} for {} requests, resident {before:.1} MB, \
         then {after:.1} MB",
        begun.elapsed(),
        CLIENTS * EACH
    );
    assert!(answered > 0 && again > 0 && refused > 0 && refused_again > 0);
    assert!(after < before * 1.1 + 8.0, "resident {before} MB, then {after} MB");
    assert_eq!(server.post(PATH, &body).json()["predictions"], expected);
}

/// Counts the answers with the expected text, and the refusals that say when to come again, in what one connection gave.
fn count_answers(text: &str, expected: &Value) -> (usize, usize) {
    let (mut answered, mut refused) = (0, 0);
    for answer in text.split("HTTP/1.1 ").skip(1) {
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        match head.split(' ').next().unwrap() {
            "200" => {
                let body: Value = serde_json::from_str(body).unwrap();
                assert_eq!(body["predictions"], *expected);
                answered += 1;
            }
            "429" => {
                assert!(head.to_lowercase().contains("retry-after: 1"), "{answer}");
                refused += 1;
            }
            other => panic!("answered with {other}: {answer}"),
        }
    }
    (answered, refused)
}

#[test]
fn clients_that_read_a_byte_now_and_then_hold_nobody_up() {
    let seedhouse = Seedhouse::new();
    let mut builder = tiny_llama(1);
    builder.number("llama.context_length", 4000);
    seedhouse.register("tiny", &seedhouse.file("long.gguf", &builder.build()));
    let server = Server::start_with(seedhouse.command(), &["--max-running-sequences", "2"]);
    let body = json!({"model_id": "tiny", "prompt": "hello", "max_length": 3000, "stream": true,
                      "logit_bias": {"68": 100.0}})
    .to_string();
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let slow: Vec<_> = (0..3)
        .map(|_| {
            let mut connection = server.connect(request.as_bytes());
            thread::spawn(move || {
                let mut byte = [0];
                for _ in 0..20 {
                    connection.read_exact(&mut byte).unwrap();
                    thread::sleep(Duration::from_millis(100));
                }
            })
        })
        .collect();
    let begun = Instant::now();
    for _ in 0..5 {
        ask(&server, &json!({"max_length": 3}));
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    slow.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(server.get("/health").text, "OK");
}

#[test]
fn settings_of_language_models_come_from_options_or_the_environment() {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let text = |environment: &[(&str, &str)], options: &[&str]| {
        let mut command = seedhouse.command();
        command.args(["generate", "tiny", "hello", "--max-tokens", "24", "--json"]).args(options);
        let output = command.envs(environment.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{environment:?} {options:?}: {}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["text"].as_str().unwrap().to_owned()
    };
    let plain = text(&[], &[]);
    for threads in ["1", "2", "3"] {
        assert_eq!(text(&[], &["--threads", threads]), plain, "the number of threads changes no bit");
    }
    assert_eq!(text(&[], &["--pin-threads", "0"]), plain);
    let rounded = text(&[], &["--weights", "int4"]);
    assert_ne!(rounded, plain, "rounding to 4 bits without offsets changes this model's text");
    assert_eq!(text(&[("SEEDHOUSE_WEIGHTS", "int4"), ("SEEDHOUSE_THREADS", "2")], &[]), rounded);
    assert_eq!(text(&[("SEEDHOUSE_WEIGHTS", "int4")], &["--weights", "as-stored"]), plain, "an option counts more");
    let exact = text(&[], &["--activations", "f32"]);
    for weights in ["f32", "as-stored"] {
        assert_eq!(text(&[("SEEDHOUSE_ACTIVATIONS", "f32")], &["--weights", weights]), exact, "{weights}");
    }
    let server =
        Server::start_with(seedhouse.command(), &["--weights", "int4", "--threads", "2", "--pin-threads", "0,1"]);
    assert_eq!(ask(&server, &json!({"max_length": 24}))["predictions"], rounded.as_str());
}

#[test]
fn bad_settings_of_language_models_are_refused_with_what_is_allowed() {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let cases: [(&str, &str, &str, &[&str]); 8] = [
        ("--threads", "SEEDHOUSE_THREADS", "0", &["'0'", "--threads", "from 1 to 1024"]),
        ("--threads", "SEEDHOUSE_THREADS", "1025", &["'1025'", "from 1 to 1024"]),
        ("--threads", "SEEDHOUSE_THREADS", "two", &["'two'", "from 1 to 1024"]),
        ("--pin-threads", "SEEDHOUSE_PIN_THREADS", "0,x", &["'x'", "--pin-threads", "from 0 to 1023"]),
        ("--pin-threads", "SEEDHOUSE_PIN_THREADS", "0,1,0", &["--pin-threads", "`0,1,0`", "names core 0 twice"]),
        (
            "--weights",
            "SEEDHOUSE_WEIGHTS",
            "int3",
            &["'int3'", "--weights", "as-stored, f32, bf16, int8, int8-groups, int4"],
        ),
        ("--activations", "SEEDHOUSE_ACTIVATIONS", "bf16", &["'bf16'", "--activations", "fast, f32"]),
        ("", "SEEDHOUSE_ALLOW_NON_FINITE_WEIGHTS", "perhaps", &["'perhaps'", "true, false"]),
    ];
    for (option, variable, value, parts) in cases {
        for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["generate", "tiny", "hello"]] {
            if !option.is_empty() {
                seedhouse.run(&[command, &[option, value]].concat()).assert_failed(2, parts);
            }
            let output = seedhouse.command().args(command).env(variable, value).output().unwrap();
            Run::from(output).assert_failed(2, parts);
        }
    }
    let parts = ["`--pin-threads` is `0,1`", "as many cores as there are threads, which are 3"];
    let options = ["generate", "tiny", "hello", "--threads", "3", "--pin-threads", "0,1"];
    seedhouse.run(&options).assert_failed(2, &parts);
    let missing = ["generate", "tiny", "hello", "--pin-threads", "0,1023"];
    seedhouse.run(&missing).assert_failed(15, &["threads for models", "cannot run on core 1023"]);
}

#[test]
fn weights_that_are_no_numbers_are_refused_unless_a_setting_allows_them() {
    let seedhouse = Seedhouse::new();
    let mut builder = tiny_llama(1);
    builder.tensor_mut("output_norm.weight").data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let file = seedhouse.file("nan.gguf", &builder.build());
    seedhouse.run(&["register", "nan", &file]).assert_failed(2, &["`output_norm.weight`", "NaN"]);
    let allowed = seedhouse.run(&["register", "nan", &file, "--allow-non-finite-weights"]);
    assert_eq!(allowed.code, 0, "{}", allowed.stderr);
    assert!(allowed.stderr.contains("output_norm.weight"), "the log names the tensor: {}", allowed.stderr);
    seedhouse.run(&["generate", "nan", "hello"]).assert_failed(2, &["`output_norm.weight`", "NaN"]);
    let failed = seedhouse.run(&["generate", "nan", "hello", "--allow-non-finite-weights"]);
    assert_ne!(failed.code, 0, "logits that are no numbers fail the request");
    assert!(failed.stderr.contains("nan"), "{}", failed.stderr);
}
