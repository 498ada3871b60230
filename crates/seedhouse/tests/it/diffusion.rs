//! Diffusion models through the program: drawing from the command line and over HTTP, with classes and without.

use std::io::Read as _;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

const ROUTE: &str = "/api/inference/image/generation";

fn fixture(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../native/fixtures/diffusion").join(name);
    file.to_str().unwrap().to_owned()
}

/// Registers a model of grey images of 12 x 12, and one of coloured images of 8 x 8 with three classes.
fn registered() -> Seedhouse {
    let seedhouse = Seedhouse::new();
    let record = seedhouse.json(&["register", "fields", &fixture("grey/model.safetensors")]);
    assert_eq!((&record["status"], &record["type"]), (&json!("ready"), &json!("diffusion")), "{record}");
    assert_eq!(
        (&record["inspected"]["architecture"], &record["metadata"]["num_timesteps"]),
        (&json!("unet"), &json!(40))
    );
    let labels = r#"{"labels": ["小麦", "maize", "rice"]}"#;
    let record = seedhouse.json(&["register", "crops", &fixture("classes/model.safetensors"), "--metadata", labels]);
    assert_eq!((&record["status"], &record["metadata"]["num_classes"]), (&json!("ready"), &json!(3)));
    seedhouse
}

/// Draws with the command line, and returns the answer and the pixels of the file.
fn imagine(seedhouse: &Seedhouse, arguments: &[&str]) -> (Value, image::RgbImage) {
    let file = seedhouse.file("out.png", b"");
    let answer = seedhouse.json(&[&["imagine"], arguments, &["-o", &file]].concat());
    (answer, image::open(&file).unwrap().to_rgb8())
}

/// Draws over HTTP, and returns the answer.
fn ask(server: &Server, fields: Value) -> Value {
    let answer = server.post_json(ROUTE, &fields);
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// Returns the numbers of an image of an answer.
fn pixels(image: &Value) -> Vec<u8> {
    let rows = image.as_array().unwrap().iter();
    let pixels = rows.flat_map(|row| row.as_array().unwrap());
    pixels.flat_map(|pixel| pixel.as_array().unwrap()).map(|number| number.as_u64().unwrap() as u8).collect()
}

#[test]
fn same_seed_draws_the_same_on_the_command_line_and_over_http_whatever_else_runs() {
    let seedhouse = registered();
    let arguments = ["crops", "--class", "maize", "--samples", "3", "--steps", "6", "--seed", "11", "--guidance", "2"];
    let (answer, grid) = imagine(&seedhouse, &arguments);
    assert_eq!((&answer["class"], &answer["guidance_applied"]), (&json!(1), &json!(true)), "{answer}");
    assert_eq!((&answer["height"], &answer["width"]), (&json!(16), &json!(16)), "three images in two rows");
    let server = seedhouse.serve();
    let body = json!({"model_id": "crops", "class": 1, "num_samples": 3, "steps": 6, "seed": 11, "guidance_scale": 2});
    let quiet = ask(&server, body.clone());
    for (place, image) in quiet["predictions"].as_array().unwrap().iter().enumerate() {
        let (left, top) = (place as u32 % 2 * 8, place as u32 / 2 * 8);
        let of_grid = image::imageops::crop_imm(&grid, left, top, 8, 8).to_image();
        assert_eq!(pixels(image), of_grid.into_raw(), "sample {place}");
    }
    thread::scope(|scope| {
        let others: Vec<_> = (0..4)
            .map(|seed| {
                let (server, model) = (&server, if seed % 2 == 0 { "fields" } else { "crops" });
                scope
                    .spawn(move || ask(server, json!({"model_id": model, "steps": 20, "num_samples": 5, "seed": seed})))
            })
            .collect();
        for _ in 0..5 {
            assert_eq!(ask(&server, body.clone())["predictions"], quiet["predictions"]);
        }
        others.into_iter().for_each(|other| drop(other.join().unwrap()));
    });
    let other = ask(&server, json!({"model_id": "crops", "class": 1, "num_samples": 1, "steps": 6, "seed": 12}));
    assert_ne!(other["predictions"][0], quiet["predictions"][0]);
}

#[test]
fn clients_of_the_original_draw_with_their_defaults_and_hear_what_had_no_effect() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    let body = json!({"model_id": "fields", "num_samples": 1, "image_size": 256, "guidance_scale": 7.5});
    let answer = ask(&server, body);
    let metadata = &answer["metadata"];
    assert_eq!((&metadata["image_size"], &metadata["guidance_applied"]), (&json!([12, 12]), &json!(false)));
    assert_eq!((&metadata["steps"], &answer["confidence"]), (&json!(40), &Value::Null));
    let image = answer["predictions"][0].as_array().unwrap();
    assert_eq!((image.len(), image[0].as_array().unwrap().len(), image[0][0].as_array().unwrap().len()), (12, 12, 1));
    assert!(metadata["digest"].as_str().unwrap().starts_with("sha256:"), "{metadata}");
    assert_eq!(ask(&server, json!({"model_id": "fields", "image_size": 12}))["predictions"], answer["predictions"]);
}

#[test]
fn images_come_as_files_alone_or_in_a_grid() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    let fields = json!({"model_id": "crops", "class": "小麦", "num_samples": 2, "steps": 4, "seed": 3});
    let with = |more: Value| {
        let mut fields = fields.clone();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    let files = ask(&server, with(json!({"format": "png"})));
    let files = files["predictions"].as_array().unwrap();
    assert!(files.len() == 2 && files.iter().all(|file| file.as_str().unwrap().starts_with("iVBORw0KGgo")));
    let grid = ask(&server, with(json!({"grid": true})));
    assert_eq!((grid["predictions"].as_array().unwrap().len(), &grid["metadata"]["num_samples"]), (1, &json!(2)));
    assert_eq!(grid["predictions"][0][0].as_array().unwrap().len(), 16);
    let body = fields.to_string();
    let request = format!(
        "POST {ROUTE} HTTP/1.1\r\nhost: localhost\r\naccept: image/png\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    server.connect(request.as_bytes()).read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: image/png"), "{head}");
    let image = image::load_from_memory(&answer[end + 4..]).unwrap().to_rgb8();
    assert_eq!(pixels(&grid["predictions"][0]), image.into_raw());
}

#[test]
fn stream_tells_each_step_and_ends_with_the_whole_answer() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    let fields =
        json!({"model_id": "fields", "steps": 5, "seed": 2, "sampler": "ddpm", "stream": true, "preview": true});
    let streamed = server.post_json(ROUTE, &fields);
    assert_eq!(streamed.content_type, "text/event-stream");
    let (pieces, end) = streamed.text.split_once("event: done\n").expect(&streamed.text);
    let pieces: Vec<Value> = pieces
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let steps: Vec<&Value> = pieces.iter().map(|piece| &piece["step"]).collect();
    assert_eq!(json!(steps), json!([1, 2, 3, 4, 5]));
    assert!(
        pieces.iter().all(|piece| piece["of"] == 5 && piece["preview"].as_str().unwrap().starts_with("iVBORw0KGgo"))
    );
    let end: Value = serde_json::from_str(end.trim().strip_prefix("data: ").unwrap()).unwrap();
    let whole = ask(&server, json!({"model_id": "fields", "steps": 5, "seed": 2, "sampler": "ddpm"}));
    assert_eq!(end["predictions"], whole["predictions"]);
    let refused = server.post_json(ROUTE, &json!({"model_id": "fields", "steps": 0, "stream": true}));
    refused.assert_problem_about(400, "steps", &["`0`", "40"]);
}

#[test]
fn requests_that_do_not_fit_are_refused_with_both_values() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    let cases = [
        (json!({"model_id": "fields", "steps": 41}), "steps", "40"),
        (json!({"model_id": "fields", "num_samples": 0}), "num_samples", "64"),
        (json!({"model_id": "fields", "num_samples": 65}), "num_samples", "64"),
        (json!({"model_id": "fields", "image_size": 64}), "image_size", "12 x 12"),
        (json!({"model_id": "fields", "class": 0}), "class", "without classes"),
        (json!({"model_id": "crops", "class": 3}), "class", "below 3"),
        (json!({"model_id": "crops", "class": "barley"}), "class", "a label of the model"),
        (json!({"model_id": "crops", "guidance_scale": 101}), "guidance_scale", "100"),
        (json!({"model_id": "crops", "sampler": "ddpm", "eta": 0.5}), "eta", "ddpm"),
        (json!({"model_id": "crops", "eta": -1}), "eta", "0 to 1"),
        (json!({"model_id": "crops", "timeout_seconds": 0}), "timeout_seconds", "above 0"),
        (json!({"model_id": "crops", "preview": true}), "preview", "stream"),
    ];
    for (fields, field, part) in cases {
        server.post_json(ROUTE, &fields).assert_problem_about(400, field, &[part]);
    }
    let late = json!({"model_id": "fields", "num_samples": 64, "timeout_seconds": 1e-6});
    server.post_json(ROUTE, &late).assert_problem(504, &["0.000001"]);
    let classified = json!({"model_id": "fields", "image_data": [[[0.0]]]});
    server.post_json("/api/inference/image/classification", &classified).assert_problem(409, &["it draws images"]);
    let text = json!({"model_id": "fields", "prompt": "wheat"});
    server.post_json("/api/inference/text/generation", &text).assert_problem(409, &["it draws images"]);
}

#[test]
fn checkpoint_needs_what_shapes_do_not_say() {
    let seedhouse = Seedhouse::new();
    let model = fixture("transposed/model.pth");
    let settings = |without: &str| {
        let mut settings = json!({"image_size": 8, "num_timesteps": 40, "num_groups": 2, "prediction_type": "sample"});
        settings.as_object_mut().unwrap().remove(without);
        settings.to_string()
    };
    let record = seedhouse.json(&["register", "leaves", &model, "--metadata", &settings("")]);
    assert_eq!(record["status"], "ready", "{record}");
    let (answer, picture) = imagine(&seedhouse, &["leaves", "--steps", "3"]);
    assert_eq!((&answer["guidance_applied"], picture.dimensions()), (&json!(false), (8, 8)));
    let failed =
        seedhouse.run(&["register", "bare", &model, "--status", "ready", "--metadata", &settings("num_timesteps")]);
    assert!(failed.code != 0 && failed.stderr.contains("num_timesteps"), "{}", failed.stderr);
    // The file says it, so that nobody else may say otherwise.
    let wide =
        seedhouse.run(&["register", "wide", &fixture("grey/model.safetensors"), "--metadata", r#"{"image_size": 16}"#]);
    assert!(wide.code != 0 && wide.stderr.contains("16") && wide.stderr.contains("12"), "{}", wide.stderr);
}
