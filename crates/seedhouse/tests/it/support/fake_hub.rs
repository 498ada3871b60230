//! A stand-in for a hub of models: one repository, served as the Hugging Face Hub serves it, with faults on request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use seedhouse_core::{ChecksumAlgorithm, Checksummer, Digest};
use serde_json::{Value, json};

pub(crate) const REPOSITORY: &str = "seeds/tiny-llama";

/// A hub on a free port.
pub(crate) struct FakeHub {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

/// What goes wrong with a file.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The connection ends after so many bytes, each time.
    CutAfter(usize),
    /// Nothing comes after so many bytes.
    StallAfter(usize),
    /// Other bytes come.
    Instead(Vec<u8>),
    /// The whole file comes, whatever was asked for.
    NoParts,
    /// Another answer.
    Status(u16, &'static str),
    /// It is somewhere else.
    Moved(String),
}

/// A request, as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    url: String,
}

#[derive(Default)]
struct State {
    commit: u8,
    files: BTreeMap<String, File>,
    faults: BTreeMap<String, Fault>,
    /// Answers in place of those to the path that begins like this.
    answers: BTreeMap<String, Value>,
    asked: Vec<Asked>,
    stalled: bool,
    /// Where the next page is said to be, in place of the second one; `{path}` stands for the path that was asked for.
    next_pages: Option<String>,
}

struct File {
    bytes: Vec<u8>,
    is_large: bool,
}

impl FakeHub {
    pub(crate) fn start() -> FakeHub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { url: url.clone(), ..Shared::default() });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, serving) = (stream.unwrap(), serving.clone());
                // Whoever asks may leave at any time.
                std::thread::spawn(move || serving.answer(stream).ok());
            }
        });
        FakeHub { url, shared }
    }

    /// Puts a large file into the repository.
    pub(crate) fn large(&self, path: &str, bytes: &[u8]) {
        self.shared.lock().files.insert(path.to_owned(), File { bytes: bytes.to_vec(), is_large: true });
    }

    /// Puts a file into the repository that Git keeps itself.
    pub(crate) fn small(&self, path: &str, bytes: &[u8]) {
        self.shared.lock().files.insert(path.to_owned(), File { bytes: bytes.to_vec(), is_large: false });
    }

    /// Makes another commit of what is there.
    pub(crate) fn commit(&self) {
        self.shared.lock().commit += 1;
    }

    pub(crate) fn fault(&self, path: &str, fault: Fault) {
        self.shared.lock().faults.insert(path.to_owned(), fault);
    }

    pub(crate) fn mend(&self, path: &str) {
        self.shared.lock().faults.remove(path);
    }

    /// Answers requests whose path begins like this with something else.
    pub(crate) fn answer(&self, path: &str, answer: Value) {
        self.shared.lock().answers.insert(path.to_owned(), answer);
    }

    /// Says of each page of the list of files that another one follows there; nothing says that none does.
    pub(crate) fn next_pages(&self, address: &str) {
        self.shared.lock().next_pages = Some(address.to_owned());
    }

    /// Returns how a record names the present commit.
    pub(crate) fn pinned(&self) -> String {
        format!("{}/{REPOSITORY}@{}", self.url, commit_name(self.shared.lock().commit))
    }

    /// Returns what was asked for since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.lock().asked)
    }

    /// Waits until a file has stalled.
    pub(crate) fn wait_for_stall(&self) {
        let waited =
            self.shared.changed.wait_timeout_while(self.shared.lock(), Duration::from_secs(60), |state| !state.stalled);
        assert!(waited.unwrap().0.stalled, "nothing stalls");
    }
}

fn commit_name(number: u8) -> String {
    format!("{number:02x}").repeat(20)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Answers one request and closes the connection.
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let Ok(asked) = read_request(&mut BufReader::new(stream.try_clone()?)) else {
            // Whoever speaks TLS is no text.
            return stream.write_all(b"HTTP/1.1 400 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        };
        self.lock().asked.push(asked.clone());
        let resolve = format!("/{REPOSITORY}/resolve/");
        match asked.path.strip_prefix(&resolve) {
            Some(rest) => self.send_file(&mut stream, rest.split_once('/').unwrap_or_default().1, &asked),
            None => {
                let (status, body) = self.lock().document(&asked.path);
                let body = body.to_string();
                let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
                let next = self.next_page(&asked.path);
                stream.write_all(format!("{head}{next}\r\n{body}").as_bytes())
            }
        }
    }

    fn next_page(&self, path: &str) -> String {
        if let Some(next) = self.lock().next_pages.clone().filter(|_| path.contains("/tree/")) {
            let next = next.replace("{path}", &format!("{}{path}", self.url));
            return if next.is_empty() { String::new() } else { format!("link: <{next}>; rel=next\r\n") };
        }
        match path.contains("/tree/") && !path.contains("cursor=2") {
            true => format!("link: <{}{path}&cursor=2>; rel=\"next\"\r\n", self.url),
            false => String::new(),
        }
    }

    fn send_file(&self, stream: &mut TcpStream, path: &str, asked: &Asked) -> std::io::Result<()> {
        let path = decoded(path);
        let (bytes, fault) = {
            let state = self.lock();
            (state.files.get(&path).map(|file| file.bytes.clone()), state.faults.get(&path).cloned())
        };
        let Some(mut bytes) = bytes else {
            return stream.write_all(
                b"HTTP/1.1 404 X\r\nconnection: close\r\nx-error-code: EntryNotFound\r\ncontent-length: 0\r\n\r\n",
            );
        };
        let mut offset = asked.range.as_deref().map_or(0, |range| {
            range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a range without an end")
        });
        match &fault {
            Some(Fault::Status(status, message)) => {
                let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\nx-error-message: {message}\r\n");
                return stream.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes());
            }
            Some(Fault::Moved(address)) => {
                let head = "HTTP/1.1 302 X\r\nconnection: close\r\ncontent-length: 0\r\n";
                return stream.write_all(format!("{head}location: {address}\r\n\r\n").as_bytes());
            }
            Some(Fault::Instead(other)) => bytes.clone_from(other),
            Some(Fault::NoParts) => offset = 0,
            _ => {}
        }
        let total = bytes.len();
        let (status, part) = match offset {
            0 => (200, String::new()),
            _ => (206, format!("content-range: bytes {offset}-{}/{total}\r\n", total - 1)),
        };
        let length = total - offset;
        let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{part}content-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        match fault {
            Some(Fault::CutAfter(count)) => stream.write_all(&bytes[offset..total.min(offset + count)]),
            Some(Fault::StallAfter(count)) => {
                stream.write_all(&bytes[offset..total.min(offset + count)])?;
                stream.flush()?;
                // Until the other side is gone, or the test is over.
                let mut gone = [0];
                std::thread::sleep(Duration::from_millis(200));
                self.lock().stalled = true;
                self.changed.notify_all();
                std::io::Read::read(stream, &mut gone).map(drop)
            }
            _ => stream.write_all(&bytes[offset..]),
        }
    }
}

impl State {
    fn document(&self, path: &str) -> (u16, Value) {
        if let Some((_, answer)) = self.answers.iter().find(|(prefix, _)| path.starts_with(prefix.as_str())) {
            return (200, answer.clone());
        }
        let commit = commit_name(self.commit);
        let revisions = ["main".to_owned(), commit.clone(), "refs%2Fpr%2F1".to_owned()];
        let about = format!("/api/models/{REPOSITORY}/");
        match path.strip_prefix(&about).and_then(|rest| rest.split_once('/')) {
            Some(("revision", revision)) if revisions.iter().any(|known| known == revision) => {
                (200, json!({"id": REPOSITORY, "sha": commit, "siblings": [], "private": false}))
            }
            Some(("tree", rest)) if rest.starts_with(&commit) => (200, self.page(path)),
            _ => (404, json!({"error": "Repository not found"})),
        }
    }

    /// Half of the files on each of two pages.
    fn page(&self, path: &str) -> Value {
        let entry = |(path, file): (&String, &File)| {
            let mut sum = Checksummer::new(ChecksumAlgorithm::Sha1);
            let content = match file.is_large {
                true => format!("version\noid {}\n", Digest::of(&file.bytes)).into_bytes(),
                false => file.bytes.clone(),
            };
            sum.update(format!("blob {}\0", content.len()).as_bytes());
            sum.update(&content);
            let oid = sum.finish().to_string().replace("sha1:", "");
            let mut entry = json!({"type": "file", "oid": oid, "size": file.bytes.len(), "path": path});
            if file.is_large {
                entry["lfs"] = json!({"oid": Digest::of(&file.bytes).hex(), "size": file.bytes.len(), "pointerSize": content.len()});
            }
            entry
        };
        let all: Vec<Value> = self.files.iter().map(entry).collect();
        let half = all.len() / 2;
        match path.contains("cursor=2") {
            true => json!(all[half..]),
            false => {
                let folder = json!({"type": "directory", "oid": "0".repeat(40), "size": 0, "path": "folder"});
                json!([&[folder], &all[..half]].concat())
            }
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut asked = Asked { path: line.split(' ').nth(1).unwrap_or_default().to_owned(), ..Asked::default() };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => asked.range = Some(value.to_owned()),
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                asked.authorization = Some(value.to_owned());
            }
            Some(_) => {}
            None => return Ok(asked),
        }
    }
}

fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}
