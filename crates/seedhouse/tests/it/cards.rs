//! Model cards: among the files, over HTTP, on the command line; hostile front matter.

use serde_json::json;

use crate::support::{Form, Seedhouse};

const CARD: &str = "---\nlicense: apache-2.0\ntags: [农业, wheat]\n---\n# 小麦分类\n\nWhat it is for.\n";

#[test]
fn card_among_the_files_is_read_and_its_front_matter_can_be_searched() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let form = Form::new().text("name", "wheat").file("weights.bin", b"bytes").file("README.md", CARD.as_bytes());
    assert_eq!(server.post_form("/api/models", &form).status, 201);
    let card = server.get("/api/models/wheat/card");
    assert_eq!((card.status, card.text.as_str()), (200, CARD));
    assert!(card.content_type.starts_with("text/markdown"));
    let found = server.fetch("/api/models?filter=card_data.license%20=%20'apache-2.0'").json();
    assert_eq!(found[0]["card_data"], json!({"license": "apache-2.0", "tags": ["农业", "wheat"]}));
    assert!(found[0].get("card").is_none(), "lists leave the text out");
    assert_eq!(server.get("/api/models/wheat").json()["card"], CARD);
}

#[test]
fn file_whose_front_matter_is_broken_is_taken_and_says_why() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let form = Form::new().text("name", "m").file("w.bin", b"x").file("README.md", b"---\na: [\n---\ntext");
    let model = server.post_form("/api/models", &form);
    assert_eq!(model.status, 201, "{}", model.text);
    assert!(model.json()["card_unreadable"].is_string());
    assert_eq!(server.get("/api/models/m/card").text, "---\na: [\n---\ntext");
}

#[test]
fn card_is_set_replaced_and_removed_and_its_history_kept() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let model = server.post_json("/api/models", &json!({"name": "m"})).json();
    server.get("/api/models/m/card").assert_problem(404, &["m_v1"]);
    let client = server.client();
    let set = client.put_text("/api/models/m/card", &[("if-match", &format!("\"{}\"", model["revision"]))], CARD);
    assert_eq!(set.status, 200, "{}", set.text);
    assert_eq!(set.header("etag"), format!("\"{}\"", set.json()["revision"]));
    let stale = client.put_text("/api/models/m/card", &[("if-match", "\"1\"")], "other");
    stale.assert_problem(409, &["m_v1"]);
    let again = client.put_text("/api/models/m/card", &[], "# no front matter");
    assert!(again.json().get("card_data").is_none(), "{}", again.text);
    assert_eq!(server.send("DELETE", "/api/models/m/card", &[], &json!(null)).status, 200);
    server.get("/api/models/m/card").assert_problem(404, &["m_v1"]);
    assert_eq!(seedhouse.json(&["history", "m_v1"]).as_array().unwrap().len(), 4);
}

#[test]
fn hostile_card_is_refused_and_nothing_changes() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    server.post_json("/api/models", &json!({"name": "m"}));
    let bomb = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |yaml, level| {
        yaml + &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(","))
    });
    let deep = format!("a: {}{}", "[".repeat(30_000), "]".repeat(30_000));
    for (text, status, part) in [
        (format!("---\n{bomb}---\n"), 400, "front matter"),
        (format!("---\n{deep}\n---\n"), 400, "front matter"),
        ("---\nnever: ended\n".to_owned(), 400, "second line"),
        ("x".repeat(70_000), 413, "65536"),
        ("a\u{1b}[2Jb".to_owned(), 400, "card"),
    ] {
        let answer = server.client().put_text("/api/models/m/card", &[], &text);
        answer.assert_problem(status, &[part]);
    }
    assert_eq!(server.get("/api/models/m").json()["revision"], 1);
}

#[test]
fn command_line_sets_and_prints_the_card() {
    let seedhouse = Seedhouse::new();
    let path = seedhouse.file("card.md", CARD.as_bytes());
    let weights = seedhouse.file("w.bin", b"x");
    seedhouse.json(&["register", "m", &weights]);
    assert_eq!(seedhouse.run(&["card", "m"]).code, 3);
    assert_eq!(seedhouse.json(&["card", "m", "--set", &path])["card_data"]["license"], "apache-2.0");
    assert_eq!(seedhouse.run(&["card", "m"]).stdout, CARD);
    seedhouse.json(&["card", "m", "--remove"]);
    assert_eq!(seedhouse.run(&["card", "m"]).code, 3);
}
