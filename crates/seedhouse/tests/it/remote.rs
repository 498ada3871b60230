//! Commands that ask a running server: `ps`, `load`, `unload`.

use std::net::TcpListener;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;

use crate::support::{Run, Seedhouse};

fn registered() -> Seedhouse {
    let seedhouse = Seedhouse::new();
    seedhouse.register("小麦", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    seedhouse
}

fn ask(seedhouse: &Seedhouse, url: &str, arguments: &[&str]) -> Run {
    Run::from(seedhouse.command().args(arguments).env("SEEDHOUSE_SERVER", url).output().unwrap())
}

#[test]
fn version_is_loaded_listed_and_unloaded() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    let run = |arguments: &[&str]| {
        let run = ask(&seedhouse, &server.url, arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        run.stdout
    };
    let lines = run(&["ps"]);
    assert_eq!(lines.lines().next().unwrap().split_whitespace().next(), Some("MODEL"));
    assert!(!lines.contains("小麦_v1"), "{lines}");
    assert_eq!(run(&["load", "小麦/1"]), "loaded 小麦_v1\n");
    let lines = run(&["ps"]);
    let line = lines.lines().find(|line| line.starts_with("小麦_v1")).unwrap();
    assert!(line.contains("ready") && line.contains(" MB "), "{line}");
    assert!(lines.lines().last().unwrap().contains(" of "), "{lines}");
    let report: serde_json::Value = serde_json::from_str(&run(&["ps", "--json"])).unwrap();
    assert_eq!(report, server.get("/api/slots").json());
    assert_eq!(run(&["unload", "小麦"]), "unloaded 小麦_v1\n");
    assert_eq!(run(&["unload", "小麦"]), "小麦_v1 was not loaded\n");
    assert!(!run(&["ps"]).contains("小麦_v1"));
}

#[test]
fn no_of_the_server_is_the_no_of_the_command() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    let run = ask(&seedhouse, &server.url, &["load", "absent"]);
    run.assert_failed(3, &["absent", "hint: `seedhouse list`"]);
}

#[test]
fn server_that_is_not_there_is_named_with_what_can_be_done() {
    let seedhouse = Seedhouse::new();
    // Bound and closed again: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}");
    let run = seedhouse.run(&["ps", "--server", &url]);
    run.assert_failed(15, &[&url, "no server answers", "hint: `seedhouse serve` starts one"]);
    let url = format!("https://{address}");
    seedhouse.run(&["ps", "--server", &url]).assert_failed(15, &[&url, "no server answers"]);
}

#[test]
fn token_comes_from_the_environment_or_a_file() {
    let seedhouse = registered();
    let reader = seedhouse.json(&["token", "create", "looks", "--role", "reader"])["secret"].clone();
    let writer = seedhouse.json(&["token", "create", "loads", "--role", "writer"])["secret"].clone();
    let server = seedhouse.serve();
    ask(&seedhouse, &server.url, &["ps"]).assert_failed(8, &["token"]);
    let mut command = seedhouse.command();
    command.args(["ps", "--server", &server.url]).env("SEEDHOUSE_TOKEN", reader.as_str().unwrap());
    assert_eq!(Run::from(command.output().unwrap()).code, 0);
    let mut command = seedhouse.command();
    command.args(["load", "小麦", "--server", &server.url]).env("SEEDHOUSE_TOKEN", reader.as_str().unwrap());
    Run::from(command.output().unwrap()).assert_failed(7, &["looks"]);
    let file = seedhouse.file("token", format!("{}\n", writer.as_str().unwrap()).as_bytes());
    let run = ask(&seedhouse, &server.url, &["load", "小麦", "--token-file", &file]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "loaded 小麦_v1\n"), "{}", run.stderr);
}
