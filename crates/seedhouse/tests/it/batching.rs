//! Requests of many clients for one model: joined, refused at once when there are too many, and the same whatever else runs; several inputs
//! in one request, of which a bad one fails alone.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use seedhouse_testkit::tiny_onnx::{tiny_image_classifier, tiny_linear};
use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

const BATCH: &str = "/api/inference/batch";

/// Registers a linear model whose rows are declared independent, an image classifier and a language model.
fn registry() -> Seedhouse {
    let seedhouse = Seedhouse::new();
    let linear = seedhouse.file("linear.onnx", &tiny_linear().bytes());
    seedhouse.json(&["register", "linear", &linear, "--metadata", r#"{"dynamic_batching": true}"#]);
    let colours = seedhouse.file("colours.onnx", &tiny_image_classifier().bytes());
    let metadata = r#"{"image_size": 4, "labels": ["red", "green", "blue"]}"#;
    seedhouse.json(&["register", "colours", &colours, "--metadata", metadata]);
    seedhouse.register("text", &seedhouse.file("text.gguf", &tiny_llama_gguf(1)));
    seedhouse
}

fn linear(x: &Value) -> Value {
    json!({"model_id": "linear", "input_data": {"x": x}})
}

#[test]
fn batch_with_one_bad_item_answers_the_others() {
    let seedhouse = registry();
    let server = seedhouse.serve();
    let inputs =
        json!([{"x": [[1, 0]]}, [[0, 1], [1, 1]], {"x": [[1, 2, 3]]}, {"y": [[1, 2]]}, "text", {"x": [[1, 0], [1]]}]);
    let answer = server.post_json(BATCH, &json!({"model_id": "linear", "inputs": inputs, "batch_size": 2}));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    let counts = ["total_count", "success_count", "error_count"].map(|name| answer[name].as_u64().unwrap());
    assert_eq!(counts, [6, 2, 4]);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[0]["predictions"], json!({"y": [[1.5, 2.0, 2.5]]}));
    assert_eq!(results[1]["predictions"], json!({"y": [[4.5, 5.0, 5.5], [5.5, 7.0, 8.5]]}));
    for (result, part) in results[2..].iter().zip(["[?, 2]", "`y`", "`inputs[4]`", "inputs[5].x"]) {
        let metadata = &result["metadata"];
        assert_eq!((&result["predictions"], &metadata["error_code"]), (&Value::Null, &json!("invalid")), "{result}");
        assert!(metadata["error"].as_str().unwrap().contains(part), "{result} should say {part}");
        assert_eq!(metadata["model_id"], "linear_v1");
    }
    for (field, body) in [
        ("inputs", json!({"model_id": "linear", "inputs": []})),
        ("batch_size", json!({"model_id": "linear", "inputs": [[[1, 2]]], "batch_size": 0})),
        ("timeout_seconds", json!({"model_id": "linear", "inputs": [[[1, 2]]], "timeout_seconds": 0})),
    ] {
        server.post_json(BATCH, &body).assert_problem_about(400, field, &[]);
    }
    server.post_json(BATCH, &json!({"model_id": "nothing", "inputs": [1]})).assert_problem(404, &["nothing"]);
}

#[test]
fn batches_of_prompts_and_images_say_what_each_would_alone() {
    let seedhouse = registry();
    let server = seedhouse.serve();
    let prompts: Vec<String> = (0..20).map(|number| format!("hello {number}")).collect();
    let mut inputs: Vec<Value> = prompts.iter().map(|prompt| json!({"prompt": prompt, "max_length": 5})).collect();
    inputs.push(json!({"prompt": "hello", "max_length": 0}));
    inputs.push(json!({"prompt": "hello", "stream": true}));
    let answer = server.post_json(BATCH, &json!({"model_id": "text", "inputs": inputs})).json();
    assert_eq!((&answer["success_count"], &answer["error_count"]), (&json!(20), &json!(2)), "{answer}");
    for (prompt, result) in prompts.iter().zip(answer["results"].as_array().unwrap()) {
        let body = json!({"model_id": "text", "prompt": prompt, "max_length": 5});
        let alone = server.post_json("/api/inference/text/generation", &body).json();
        assert_eq!(alone["predictions"], result["predictions"], "{prompt}");
        assert_eq!(alone["metadata"]["digest"], result["metadata"]["digest"]);
    }
    let image = |colour: [u8; 3]| vec![vec![colour; 2]; 2];
    let inputs = json!([image([255, 0, 0]), {"image_data": image([0, 0, 255]), "top_k": 1}, [[[300, 0, 0]]]]);
    let answer = server.post_json(BATCH, &json!({"model_id": "colours", "inputs": inputs})).json();
    let class = |place: usize| &answer["results"][place]["predictions"][0]["class_name"];
    assert_eq!((class(0), class(1)), (&json!("red"), &json!("blue")), "{answer}");
    assert_eq!(answer["results"][2]["metadata"]["error_code"], "invalid");
}

#[test]
fn texts_of_a_batch_and_of_many_clients_have_the_vectors_that_each_has_alone() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "sentences", &crate::embedding::folder(&seedhouse, "bert-mean", &[])]);
    // They wait for each other, so that batches of several come about.
    let server = Server::start_with(seedhouse.command(), &["--batch-delay", "2ms"]);
    let texts = ["wheat", "rice and wheat", "a", "drought"];
    let ask = |input: &Value| {
        let body = json!({"model_id": "sentences", "input": input});
        let answer = server.client().try_send(
            "POST",
            "/api/inference/embeddings",
            &[("content-type", "application/json")],
            &body,
        );
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["predictions"].clone()
    };
    let alone: Vec<Value> = texts.iter().map(|text| ask(&json!(text))[0].clone()).collect();
    let inputs = json!([texts[0], {"text": texts[1]}, texts[2], 7, texts[3]]);
    let batch = server.post_json(BATCH, &json!({"model_id": "sentences", "inputs": inputs})).json();
    assert_eq!((&batch["success_count"], &batch["error_count"]), (&json!(4), &json!(1)), "{batch}");
    for (place, vector) in [0, 1, 2, 4].into_iter().zip(&alone) {
        assert_eq!(&batch["results"][place]["predictions"], vector);
    }
    thread::scope(|scope| {
        for client in 0..8 {
            let (ask, alone) = (&ask, &alone);
            scope.spawn(move || {
                for turn in 0..10 {
                    let which = (client + turn) % texts.len();
                    assert_eq!(ask(&json!(texts[which]))[0], alone[which]);
                }
            });
        }
    });
}

#[test]
fn ten_thousand_tensor_requests_at_once_are_answered_or_refused_at_once_and_memory_stays_flat() {
    const ALL: usize = 10_000;
    const CLIENTS: usize = 50;
    let seedhouse = registry();
    let server =
        Server::start_with(seedhouse.command(), &["--max-inference-requests", "4", "--max-waiting-requests", "2"]);
    let ask = |server: &Server| server.post_json("/api/inference", &linear(&json!([[1, 0]])));
    for _ in 0..200 {
        assert_eq!(ask(&server).status, 200);
    }
    let before = server.resident_megabytes();
    let (answered, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let client = server.client();
            let (answered, refused) = (&answered, &refused);
            scope.spawn(move || {
                for number in 0..ALL / CLIENTS {
                    let (x, header) = (number as f64, [("content-type", "application/json")]);
                    let body = linear(&json!([[x, 0]]));
                    let answer = client.try_send("POST", "/api/inference", &header, &body).unwrap();
                    match answer.status {
                        200 => {
                            assert_eq!(answer.json()["result"]["y"], json!([[x + 0.5, 2.0 * x, 3.0 * x - 0.5]]));
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        429 => {
                            assert_eq!(answer.retry_after, "1");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        other => panic!("{other}: {}", answer.text),
                    }
                }
            });
        }
    });
    let grown = server.resident_megabytes() - before;
    let (answered, refused) = (answered.into_inner(), refused.into_inner());
    println!("{answered} answered, {refused} refused, {grown:.1} MB more");
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
    // Threads of the pool and buffers of connections; kept requests would take more.
    assert!(grown < 64.0, "{grown} MB more");
    assert_eq!(ask(&server).status, 200);
}

#[test]
fn answers_are_the_same_whatever_else_runs() {
    let seedhouse = registry();
    seedhouse.json(&["register", "vit", &crate::vision::folder(&seedhouse, "hf-vit")]);
    seedhouse.register("plain", &seedhouse.file("plain.onnx", &tiny_linear().bytes()));
    // They wait for each other, so that batches of several come about.
    let server = Server::start_with(seedhouse.command(), &["--batch-delay", "2ms"]);
    let image = json!({"model_id": "vit", "image_data": vec![vec![[200, 30, 7]; 3]; 3]});
    let text = json!({"model_id": "text", "prompt": "hello", "max_length": 8, "do_sample": true, "seed": 7});
    let requests = [
        ("/api/inference", json!({"model_id": "plain", "input_data": {"x": [[0.1, 0.7]]}}), "result"),
        ("/api/inference/image/classification", image, "predictions"),
        ("/api/inference/text/generation", text, "predictions"),
    ];
    let alone: Vec<Value> = requests
        .iter()
        .map(|(path, body, field)| {
            let answer = server.post_json(path, body);
            assert_eq!(answer.status, 200, "{}", answer.text);
            answer.json()[*field].clone()
        })
        .collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..12 {
            let client = server.client();
            let (next, requests, alone) = (&next, &requests, &alone);
            scope.spawn(move || {
                for _ in 0..25 {
                    let which = next.fetch_add(1, Ordering::Relaxed) % requests.len();
                    let (path, body, field) = &requests[which];
                    let header = [("content-type", "application/json")];
                    let answer = client.try_send("POST", path, &header, body).unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.text);
                    assert_eq!(answer.json()[*field], alone[which]);
                }
            });
        }
    });
}

#[test]
fn request_whose_time_is_up_gets_504_and_others_are_answered() {
    let seedhouse = registry();
    // A lone request waits for company longer than it may take, and its time ends the delay.
    let server = Server::start_with(seedhouse.command(), &["--batch-delay", "10s", "--max-batch", "2"]);
    let begun = Instant::now();
    let ask = || server.post_json("/api/inference", &linear(&json!([[1, 0]])));
    thread::scope(|scope| {
        let both = [scope.spawn(ask), scope.spawn(ask)];
        for answer in both {
            assert_eq!(answer.join().unwrap().json()["result"]["y"], json!([[1.5, 2.0, 2.5]]));
        }
    });
    // Two are a whole batch, which ends the delay.
    println!("{:.3} s", begun.elapsed().as_secs_f64());
    let mut late = linear(&json!([[1, 0]]));
    late["parameters"] = json!({"timeout_seconds": 1e-9});
    server.post_json("/api/inference", &late).assert_problem(504, &["linear_v1"]);
    late["parameters"] = json!({"timeout_seconds": -1});
    server.post_json("/api/inference", &late).assert_problem_about(400, "timeout_seconds", &["-1"]);
}

#[test]
fn unified_call_is_a_chat_and_past_calls_are_listed_without_what_was_said() {
    let seedhouse = registry();
    let server = seedhouse.serve();
    let body = json!({"model_id": "text", "prompt": "secret words", "system_prompt": "Be brief.", "max_tokens": 4, "temperature": 0});
    let answer = server.post_json("/api/inference/unified", &body);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let unified = answer.json();
    assert_eq!(
        (&unified["success"], &unified["model_source"], &unified["model_id"]),
        (&json!(true), &json!("local"), &json!("text_v1"))
    );
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "secret words"}]);
    let chat = json!({"model_id": "text", "messages": messages, "max_length": 4});
    let chat = server.post_json("/api/inference/text/generation", &chat).json();
    assert_eq!(unified["content"], chat["predictions"]);

    server.post_json("/api/inference", &linear(&json!([[1]]))).assert_problem(400, &["[?, 2]"]);
    let history = server.get("/api/inference/history");
    assert!(!history.text.contains("secret"), "{}", history.text);
    let calls: Vec<[Value; 3]> = history
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|call| ["model_id", "task", "status"].map(|field| call[field].clone()))
        .collect();
    let call = |model_id: &str, task: &str, status: &str| [json!(model_id), json!(task), json!(status)];
    let expected = [
        call("linear_v1", "inference", "invalid"),
        call("text_v1", "text generation", "ok"),
        call("text_v1", "text generation", "ok"),
    ];
    assert_eq!(calls, expected, "the latest first");
    assert_eq!(server.get("/api/inference/history?limit=1").json().as_array().unwrap().len(), 1);

    let asked =
        |model_id: &str| server.get(&format!("/api/inference/stats/{model_id}")).json()["total_inferences"].clone();
    assert_eq!((asked("text"), asked("linear")), (json!(2), json!(0)), "what failed is no inference");
    let forgotten = server.send("DELETE", "/api/inference/cache/text", &[], &Value::Null).json();
    assert_eq!(forgotten["unloaded"], json!(["text_v1"]), "{forgotten}");
    assert_eq!(asked("text"), json!(0));
    let forgotten = server.send("DELETE", "/api/inference/cache", &[], &Value::Null).json();
    assert_eq!(forgotten["unloaded"], json!(["linear_v1"]), "{forgotten}");
    server.send("DELETE", "/api/inference/cache/nothing", &[], &Value::Null).assert_problem(404, &["nothing"]);
}
