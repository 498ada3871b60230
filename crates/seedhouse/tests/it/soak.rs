//! Clients that start, stop and vanish at random. Everything that is answered must be right, and memory must not grow.
//!
//! `bench/soak` runs it for minutes.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_testkit::tiny_gguf::tiny_llama;
use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

const PATH: &str = "/api/inference/text/generation";
const CLIENTS: u64 = 8;
const DIFFERENT_REQUESTS: u64 = 60;

/// How long, in seconds.
fn duration() -> Duration {
    let seconds = std::env::var("SEEDHOUSE_TEST_SOAK_SECONDS").map_or(6, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

/// What all clients share.
struct Soak {
    server: Server,
    /// The answer to each request, as it was first given.
    answers: Mutex<HashMap<u64, Value>>,
    is_over: AtomicBool,
    done: AtomicUsize,
}

#[test]
fn clients_that_come_and_go_get_the_same_answers_and_leave_nothing() {
    let seedhouse = Seedhouse::new();
    let mut builder = tiny_llama(5);
    builder.number("llama.context_length", 512);
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &builder.build()));
    let soak = Soak {
        server: Server::start_with(seedhouse.command(), &["--max-running-sequences", "6"]),
        answers: Mutex::default(),
        is_over: AtomicBool::new(false),
        done: AtomicUsize::new(0),
    };
    let memory = thread::scope(|scope| {
        for client in 0..CLIENTS {
            let soak = &soak;
            scope.spawn(move || {
                let mut random = Random(client + 1);
                while !soak.is_over.load(Ordering::Relaxed) {
                    soak.act(&mut random);
                    soak.done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let memory = watch(&soak.server, duration());
        soak.is_over.store(true, Ordering::Relaxed);
        memory
    });
    let done = soak.done.load(Ordering::Relaxed);
    println!("{done} requests of {CLIENTS} clients; resident MB at each tenth of the time: {memory:?}");
    assert!(done > 50, "{done} requests");
    // By the middle every kind of request has come many times.
    let (middle, end) = (memory[5], memory[9]);
    assert!(end <= middle * 1.1 + 16.0, "{memory:?}");
    assert_eq!(soak.server.get("/health").text, "OK");
}

impl Soak {
    fn act(&self, random: &mut Random) {
        let number = random.below(DIFFERENT_REQUESTS);
        match random.below(10) {
            0..=4 => self.check(number, self.whole(number)),
            5..=6 => self.check(number, self.streamed(number)),
            7 => self.vanish(number, random.below(3000)),
            8 => self.read_slowly(number),
            _ => self.ask_for_nonsense(number),
        }
    }

    fn check(&self, number: u64, answer: Value) {
        let mut answers = self.answers.lock().unwrap();
        let first = answers.entry(number).or_insert_with(|| answer.clone());
        assert_eq!(*first, answer, "the answer to {}", body(number));
    }

    fn whole(&self, number: u64) -> Value {
        let answer = self.server.post_json(PATH, &body(number));
        assert_eq!(answer.status, 200, "{}: {}", body(number), answer.text);
        answer.json()["predictions"].clone()
    }

    fn streamed(&self, number: u64) -> Value {
        let mut request = body(number);
        request["stream"] = true.into();
        let answer = self.server.post_json(PATH, &request);
        assert_eq!(answer.status, 200, "{request}: {}", answer.text);
        let (pieces, _) = answer.text.split_once("event: done\n").expect(&answer.text);
        let mut texts = vec![String::new(); request["num_return_sequences"].as_u64().unwrap_or(1) as usize];
        for data in pieces.lines().filter_map(|line| line.strip_prefix("data: ")) {
            let piece: Value = serde_json::from_str(data).unwrap();
            texts[piece["index"].as_u64().unwrap_or(0) as usize] += piece["text"].as_str().unwrap();
        }
        if texts.len() == 1 { texts.remove(0).into() } else { texts.into() }
    }

    fn vanish(&self, number: u64, after_bytes: u64) {
        let connection = self.open_stream(number);
        let mut read = Vec::new();
        // The answer may be shorter.
        let _ = connection.take(after_bytes).read_to_end(&mut read);
    }

    fn read_slowly(&self, number: u64) {
        let mut connection = self.open_stream(number);
        let mut byte = [0];
        for _ in 0..20 {
            connection.read_exact(&mut byte).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn ask_for_nonsense(&self, number: u64) {
        let nonsense = [json!({"temperature": -1}), json!({"stop": [""]}), json!({"prompt": "x ".repeat(4000)})];
        let mut request = body(number);
        request.as_object_mut().unwrap().extend(nonsense[number as usize % 3].as_object().unwrap().clone());
        assert_eq!(self.server.post_json(PATH, &request).status, 400);
    }

    fn open_stream(&self, number: u64) -> std::net::TcpStream {
        let mut request = body(number);
        request["stream"] = true.into();
        let text = request.to_string();
        let length = text.len();
        self.server.connect(
            format!(
                "POST {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n{text}"
            )
            .as_bytes(),
        )
    }
}

/// One of the requests: with common beginnings, of all lengths, drawn and not, several answers and beams.
fn body(number: u64) -> Value {
    let begin = ["Wheat is", "The field lies by the river, and in it there are", "小麦"][number as usize % 3];
    let prompt = format!("{begin} {}", "and so on ".repeat(number as usize % 7));
    let mut body = json!({"model_id": "tiny", "prompt": prompt, "max_length": 5 + number % 60});
    let fields = match number % 6 {
        0 | 1 => json!({"do_sample": true, "temperature": 2.0, "seed": number, "top_p": 0.9}),
        2 => json!({"do_sample": true, "temperature": 3.0, "seed": number, "num_return_sequences": 3}),
        3 => json!({"beam_search": true, "beam_width": 3}),
        4 => json!({"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "stop": ["the"]}),
        _ => json!({}),
    };
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

/// Returns the resident memory of the server in MB at each tenth of the time.
fn watch(server: &Server, time: Duration) -> Vec<f64> {
    let begun = Instant::now();
    (1..=10)
        .map(|tenth| {
            thread::sleep((time * tenth / 10).saturating_sub(begun.elapsed()));
            server.resident_megabytes()
        })
        .collect()
}

/// Knuth's linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
