//! Image classifiers of several families through the program: folders and files, labels, features, grey pictures, batches.

use std::path::Path;

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use serde_json::{Value, json};

use crate::support::Seedhouse;

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../native/fixtures/vision").join(name);
    folder.to_str().unwrap().to_owned()
}

/// Writes a picture as a PNG file.
fn png(seedhouse: &Seedhouse, name: &str, image: impl Into<DynamicImage>) -> String {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
    seedhouse.file(name, &bytes.into_inner())
}

fn colours(seed: u32) -> RgbImage {
    RgbImage::from_fn(15, 17, |x, y| Rgb([(x * 16 + seed) as u8, (y * 14) as u8, (x * y + seed * 40) as u8]))
}

/// Copies a folder without the values it is compared with.
pub(crate) fn folder(seedhouse: &Seedhouse, name: &str) -> String {
    let mut copied = String::new();
    for entry in std::fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("expected.json") {
            let file = path.file_name().unwrap().to_str().unwrap();
            copied = seedhouse.file(&format!("{name}/{file}"), &std::fs::read(&path).unwrap());
        }
    }
    Path::new(&copied).parent().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn folder_of_a_vision_transformer_is_registered_and_classifies_with_its_own_labels() {
    let seedhouse = Seedhouse::new();
    let record = seedhouse.json(&["register", "wheat-vit", &folder(&seedhouse, "hf-vit")]);
    assert_eq!((&record["status"], &record["type"]), (&json!("ready"), &json!("vision")));
    assert_eq!(record["inspected"]["architecture"], "vit");
    let picture = png(&seedhouse, "a.png", colours(0));
    let answer = seedhouse.json(&["classify", "wheat-vit", &picture]);
    let names: Vec<&str> =
        answer["predictions"].as_array().unwrap().iter().filter_map(|one| one["class_name"].as_str()).collect();
    assert_eq!(names.len(), 3, "{answer}");
    assert!(names.contains(&"小麦"), "{names:?}");
    assert_eq!(answer["input_shape"], json!([1, 3, 12, 12]));
}

#[test]
fn several_pictures_have_the_classes_and_features_that_each_has_alone() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "vit", &folder(&seedhouse, "hf-vit")]);
    let pictures: Vec<String> = (0..3).map(|seed| png(&seedhouse, &format!("{seed}.png"), colours(seed))).collect();
    for flags in [&[][..], &["--features"]] {
        let of = |pictures: &[String]| {
            let mut arguments = vec!["classify", "vit"];
            arguments.extend(pictures.iter().map(String::as_str));
            arguments.extend(flags);
            seedhouse.json(&arguments)
        };
        let together = of(&pictures);
        for (place, picture) in pictures.iter().enumerate() {
            let alone = of(std::slice::from_ref(picture));
            match flags {
                [] => assert_eq!(alone["predictions"], together["images"][place]),
                _ => assert_eq!(alone["features"][0], together["features"][place]),
            }
        }
    }
}

#[test]
fn features_over_http_are_those_of_the_command_line() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "vit", &folder(&seedhouse, "hf-vit")]);
    let picture = RgbImage::from_fn(12, 12, |x, y| Rgb([x as u8 * 20, y as u8 * 20, 7]));
    let pixels: Vec<Vec<[u8; 3]>> = picture.rows().map(|row| row.map(|pixel| pixel.0).collect()).collect();
    let expected = seedhouse.json(&["classify", "vit", &png(&seedhouse, "a.png", picture), "--features"]);
    let server = seedhouse.serve();
    let body = json!({"model_id": "vit", "image_data": pixels});
    let answer = server.post_json("/api/inference/image/features", &body).json();
    assert_eq!(answer["predictions"][0], expected["features"][0]);
}

#[test]
fn model_of_one_channel_takes_grey_and_coloured_pictures() {
    let seedhouse = Seedhouse::new();
    let model = format!("{}/model.pth", fixture("cnn"));
    let metadata = r#"{"image_size": 22, "labels": ["T恤", "trouser", "pullover", "dress", "coat"]}"#;
    let record = seedhouse.json(&["register", "clothes", &model, "--metadata", metadata]);
    assert_eq!((&record["status"], &record["inspected"]["architecture"]), (&json!("ready"), &json!("cnn")));
    let grey = GrayImage::from_fn(22, 22, |x, y| Luma([(x * 11) as u8 ^ (y * 9) as u8]));
    let coloured = RgbImage::from_fn(22, 22, |x, y| Rgb([grey.get_pixel(x, y).0[0]; 3]));
    let pixels: Vec<Vec<[u8; 1]>> = grey.rows().map(|row| row.map(|pixel| pixel.0).collect()).collect();
    let of_grey = seedhouse.json(&["classify", "clothes", &png(&seedhouse, "grey.png", grey)]);
    let of_coloured = seedhouse.json(&["classify", "clothes", &png(&seedhouse, "coloured.png", coloured)]);
    assert_eq!(of_grey["input_shape"], json!([1, 1, 22, 22]));
    assert_eq!(of_grey["predictions"], of_coloured["predictions"]);
    let server = seedhouse.serve();
    let body = json!({"model_id": "clothes", "image_data": pixels});
    let answer = server.post_json("/api/inference/image/classification", &body).json();
    assert_eq!(answer["predictions"][0]["class_name"], of_grey["predictions"][0]["class_name"]);
}

#[test]
fn what_the_record_claims_against_the_tensors_is_refused_with_both_values() {
    let seedhouse = Seedhouse::new();
    let model = format!("{}/model.safetensors", fixture("vit"));
    // The shapes leave the number of heads open.
    let record = seedhouse.json(&["register", "seeds", &model, "--metadata", r#"{"num_heads": 2}"#]);
    assert_eq!(record["status"], "ready", "{record}");
    let cases: [(&str, Value, &[&str]); 2] = [
        ("wide", json!({"num_heads": 2, "image_size": 24}), &["24", "12"]),
        ("many", json!({"num_heads": 2, "labels": ["a", "b"]}), &["2"]),
    ];
    let picture = png(&seedhouse, "a.png", colours(1));
    for (name, metadata, expected) in cases {
        let metadata = metadata.to_string();
        let registered = seedhouse.run(&["register", name, &model, "--metadata", &metadata]);
        let failed = if registered.code == 0 { seedhouse.run(&["classify", name, &picture]) } else { registered };
        assert!(
            failed.code != 0 && expected.iter().all(|part| failed.stderr.contains(part)),
            "{name}: {}",
            failed.stderr
        );
    }
}
