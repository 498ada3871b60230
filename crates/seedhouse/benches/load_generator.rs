//! Sends prepared HTTP/1.1 requests over keep-alive connections and says how fast the answers came.
//!
//! `bench/registry` uses it against every server alike. It needs nothing but the standard library, so that `rustc` alone
//! builds it within seconds: a load generator in Python takes as much of the processor as the server that it measures.
//!
//! ```text
//! load_generator ADDRESS FILE --connections N --seconds S   around and around through the requests for so long
//! load_generator ADDRESS FILE --connections N --once        every request once
//! load_generator --trivial-server                           answers every request with the same few bytes, at once
//! ```
//!
//! The file holds one request after another, each behind its length in decimal digits and a line feed. Connections take the
//! next request from one common row and wait for the whole answer, one thread each. `TCP_NODELAY` is set, and `TCP_QUICKACK`
//! before every read: a server that sends the head and the body of an answer apart would otherwise be charged the 40 ms
//! for which Linux delays an acknowledgement.

#![expect(clippy::unwrap_used, reason = "a measurement that goes wrong ends with a panic")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
#[cfg(target_os = "linux")]
use std::os::linux::net::TcpStreamExt;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// What the trivial server answers, about as long as a short answer of a real one.
const TRIVIAL_ANSWER: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 101\r\n\r\n\
    {\"success\":true,\"model_id\":\"model_v1\",\"version\":\"1\",\"ordinal\":1,\"message\":\"`model_v1` is registered\"}";

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--trivial-server"] => serve_trivially(),
        [address, file, "--connections", connections, "--seconds", seconds] => {
            let limit = Duration::from_secs_f64(seconds.parse().unwrap());
            print(&run(address, &requests(file), connections.parse().unwrap(), Until::Time(limit)));
        }
        [address, file, "--connections", connections, "--once"] => {
            print(&run(address, &requests(file), connections.parse().unwrap(), Until::End));
        }
        // Cargo runs every target of this kind with this argument; without a server there is nothing to do.
        ["--bench"] | [] => {}
        _ => panic!("unknown arguments {arguments:?}"),
    }
}

/// When a run ends.
#[derive(Clone, Copy)]
enum Until {
    Time(Duration),
    End,
}

/// What came of a run, or of one connection of it.
#[derive(Default)]
struct Outcome {
    seconds: f64,
    latencies: Vec<Duration>,
    answer_bytes: usize,
    failures: usize,
    first_failure: Option<String>,
}

/// Reads the prepared requests.
fn requests(file: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(file).unwrap();
    let mut rest = &bytes[..];
    let mut requests = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let length: usize = std::str::from_utf8(&rest[..end]).unwrap().parse().unwrap();
        let (request, behind) = rest[end + 1..].split_at(length);
        requests.push(request.to_vec());
        rest = behind;
    }
    assert!(!requests.is_empty() && rest.is_empty(), "`{file}` holds no requests, or a part of one");
    requests
}

fn run(address: &str, requests: &[Vec<u8>], connections: usize, until: Until) -> Outcome {
    let next = AtomicUsize::new(0);
    let ready = Barrier::new(connections + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    let connection = Connection::open(address);
                    ready.wait();
                    converse(connection, requests, &next, until)
                })
            })
            .collect();
        ready.wait();
        let begin = Instant::now();
        let mut all = Outcome::default();
        for thread in threads {
            let one = thread.join().unwrap();
            all.latencies.extend(one.latencies);
            all.answer_bytes += one.answer_bytes;
            all.failures += one.failures;
            all.first_failure = all.first_failure.or(one.first_failure);
        }
        all.seconds = begin.elapsed().as_secs_f64();
        all
    })
}

/// Sends one request after another over one connection.
fn converse(mut connection: Connection, requests: &[Vec<u8>], next: &AtomicUsize, until: Until) -> Outcome {
    let begin = Instant::now();
    let mut outcome = Outcome::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let over = match until {
            Until::Time(limit) => begin.elapsed() >= limit,
            Until::End => number >= requests.len(),
        };
        if over {
            return outcome;
        }
        let sent = Instant::now();
        let answer = connection.ask(&requests[number % requests.len()]);
        outcome.latencies.push(sent.elapsed());
        outcome.answer_bytes += answer.body.len();
        if !(200..300).contains(&answer.status) {
            outcome.failures += 1;
            let text = || format!("{}: {}", answer.status, String::from_utf8_lossy(answer.body));
            outcome.first_failure.get_or_insert_with(text);
        }
    }
}

struct Answer<'c> {
    status: u16,
    body: &'c [u8],
}

/// A keep-alive connection and what came over it and is not used yet.
struct Connection {
    stream: TcpStream,
    address: String,
    received: Vec<u8>,
    used: usize,
    block: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> Connection {
        Connection {
            stream: connect(address),
            address: address.to_owned(),
            received: Vec::new(),
            used: 0,
            block: vec![0; 64 << 10],
        }
    }

    fn ask(&mut self, request: &[u8]) -> Answer<'_> {
        self.received.drain(..self.used);
        if self.send(request).is_err() {
            // A server may end a connection between two answers, as MLflow's does after some idle seconds.
            self.stream = connect(&self.address);
            self.send(request).unwrap();
        }
        let body = loop {
            match find(&self.received, b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.receive(),
            }
        };
        let head = String::from_utf8_lossy(&self.received[..body]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap();
        let end = match header(&head, "content-length") {
            Some(length) => body + length.parse::<usize>().unwrap(),
            None => {
                assert_eq!(header(&head, "transfer-encoding"), Some("chunked"), "an answer without an end: {head}");
                self.end_of_chunks(body)
            }
        };
        while self.received.len() < end {
            self.receive();
        }
        self.used = end;
        Answer { status, body: &self.received[body..end] }
    }

    /// Returns where a chunked body that begins at `at` ends; its chunks stay as they came.
    fn end_of_chunks(&mut self, mut at: usize) -> usize {
        loop {
            let line = loop {
                match find(&self.received[at.min(self.received.len())..], b"\r\n") {
                    Some(length) => break at + length,
                    None => self.receive(),
                }
            };
            let digits = std::str::from_utf8(&self.received[at..line]).unwrap().split(';').next().unwrap();
            let length = usize::from_str_radix(digits.trim(), 16).unwrap();
            at = line + 2 + length + 2;
            if length == 0 {
                return at;
            }
        }
    }

    /// Sends a request and waits for the first bytes of its answer.
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)?;
        self.receive_some()
    }

    fn receive(&mut self) {
        self.receive_some().unwrap();
    }

    fn receive_some(&mut self) -> io::Result<()> {
        acknowledge_at_once(&self.stream)?;
        match self.stream.read(&mut self.block)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.received.extend_from_slice(&self.block[..count]);
                Ok(())
            }
        }
    }
}

/// Has what comes next acknowledged without delay; the system forgets this setting again and again.
#[cfg(target_os = "linux")]
fn acknowledge_at_once(stream: &TcpStream) -> io::Result<()> {
    stream.set_quickack(true)
}

/// Other systems have no such setting; `bench/registry` needs Linux.
#[cfg(not(target_os = "linux"))]
fn acknowledge_at_once(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .find_map(|line| line.split_once(':').filter(|(found, _)| *found == name))
        .map(|(_, value)| value.trim())
}

fn print(outcome: &Outcome) {
    let mut sorted = outcome.latencies.clone();
    sorted.sort_unstable();
    let milliseconds = |share: usize| match sorted.get((sorted.len() * share / 100).min(sorted.len().saturating_sub(1)))
    {
        Some(latency) => latency.as_secs_f64() * 1e3,
        None => 0.0,
    };
    println!(
        "{{\"requests\": {}, \"seconds\": {}, \"p50_ms\": {}, \"p99_ms\": {}, \"answer_bytes\": {}, \"failures\": {}}}",
        sorted.len(),
        outcome.seconds,
        milliseconds(50),
        milliseconds(99),
        outcome.answer_bytes,
        outcome.failures
    );
    if let Some(failure) = &outcome.first_failure {
        eprintln!("{failure}");
    }
}

/// Shows what the generator itself can reach on this machine.
fn serve_trivially() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    for connection in listener.incoming() {
        let mut connection = connection.unwrap();
        connection.set_nodelay(true).unwrap();
        thread::spawn(move || {
            // Each request comes in one piece: the generator sends it so and waits for the answer.
            let mut block = vec![0; 64 << 10];
            while connection.read(&mut block).is_ok_and(|count| count > 0)
                && connection.write_all(TRIVIAL_ANSWER).is_ok()
            {}
        });
    }
}
