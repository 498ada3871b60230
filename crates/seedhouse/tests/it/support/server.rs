//! A server on a free port.

use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Form;

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    child: Child,
    client: Client,
}

/// A client of a server, which may outlive it.
#[derive(Clone)]
pub(crate) struct Client {
    url: String,
    agent: ureq::Agent,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) request_id: String,
    pub(crate) allow: String,
    pub(crate) retry_after: String,
    pub(crate) link: String,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) location: String,
    pub(crate) text: String,
}

impl Server {
    /// Starts `command serve` and waits until it says where it listens.
    pub(crate) fn start(command: Command) -> Server {
        Server::start_with(command, &[])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(command: Command, arguments: &[&str]) -> Server {
        let mut log = tempfile::tempfile().unwrap();
        Server::launch("127.0.0.1:0", command, arguments, log.try_clone().unwrap().into()).unwrap_or_else(|| {
            let mut text = String::new();
            log.rewind().and_then(|()| log.read_to_string(&mut text)).unwrap();
            panic!("the server did not start: {text}")
        })
    }

    /// The same on another address, with a place for the log. The URL is on 127.0.0.1 in any case.
    pub(crate) fn start_on(listen: &str, command: Command, arguments: &[&str], log: Stdio) -> Server {
        Server::launch(listen, command, arguments, log).expect("the server starts")
    }

    /// Returns nothing when the program ends instead of listening.
    fn launch(listen: &str, mut command: Command, arguments: &[&str], log: Stdio) -> Option<Server> {
        command.args(["serve", "--listen", listen]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().replace("0.0.0.0", "127.0.0.1");
        if !url.starts_with("http://127.0.0.1:") {
            child.wait().unwrap();
            return None;
        }
        let client = Client::new(url.clone());
        Some(Server { url, child, client })
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Returns how much memory the process has in use.
    pub(crate) fn resident_megabytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<f64>().unwrap() * 1024.0 / 1e6
    }

    /// Opens a connection and sends these bytes, nothing more.
    pub(crate) fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    }

    /// Posts a body in chunks, without announcing its length.
    pub(crate) fn post_chunked(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let request = self.client.agent.post(format!("{}{path}", self.url)).header("content-type", content_type);
        Answer::from(request.send(ureq::SendBody::from_reader(&mut &body[..])).unwrap())
    }

    /// Gets a path with characters that must be encoded.
    pub(crate) fn fetch(&self, path: &str) -> Answer {
        self.send("GET", path, &[], &Value::Null)
    }

    /// Sends a JSON body with any method and further headers; a null body is none.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.client.try_send(method, path, headers, body).unwrap()
    }

    /// Sends bytes with any method and these headers.
    pub(crate) fn send_bytes(&self, method: &str, path: &str, headers: &[(&str, &str)], bytes: &[u8]) -> Answer {
        self.client.try_send_bytes(method, path, headers, bytes).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.client.get(path)
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.client.post(path, body)
    }

    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.client.post(path, &body.to_string())
    }

    pub(crate) fn post_form(&self, path: &str, form: &Form) -> Answer {
        self.client.try_post_form(path, form).unwrap()
    }

    /// Kills the process at once, as the kernel or a power failure would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end after a polite signal, but not longer than `limit`.
    pub(crate) fn wait_at_most(&mut self, limit: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < limit, "the server still runs after {limit:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end after a polite signal.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let status = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }
}

impl Client {
    fn new(url: String) -> Client {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .build()
            .into();
        Client { url, agent }
    }

    fn get(&self, path: &str) -> Answer {
        Answer::from(self.agent.get(format!("{}{path}", self.url)).call().unwrap())
    }

    /// Posts a body without a content type, as many tools do.
    fn post(&self, path: &str, body: &str) -> Answer {
        Answer::from(self.agent.post(format!("{}{path}", self.url)).send(body.as_bytes()).unwrap())
    }

    /// Sends a JSON body to a server that may be killed meanwhile.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer, ureq::Error> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.try_send_bytes(method, path, headers, &bytes)
    }

    fn try_send_bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        bytes: &[u8],
    ) -> Result<Answer, ureq::Error> {
        let path: String =
            path.chars().map(|c| if c.is_ascii() { c.to_string() } else { percent_encoded(c) }).collect();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = self.agent.run(request.body(bytes.to_vec()).unwrap())?;
        Answer::read(&mut response)
    }

    /// Puts a text.
    pub(crate) fn put_text(&self, path: &str, headers: &[(&str, &str)], text: &str) -> Answer {
        let request = self.agent.put(format!("{}{path}", self.url));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Answer::from(request.send(text).unwrap())
    }

    /// Posts a form to a server that may be killed meanwhile.
    pub(crate) fn try_post_form(&self, path: &str, form: &Form) -> Result<Answer, ureq::Error> {
        self.try_post_form_with(path, &[], form)
    }

    /// The same with further headers.
    pub(crate) fn try_post_form_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        form: &Form,
    ) -> Result<Answer, ureq::Error> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("content-type", form.content_type());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut response = request.send(form.body().as_slice())?;
        Answer::read(&mut response)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone when the test killed it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl From<ureq::http::Response<ureq::Body>> for Answer {
    fn from(mut response: ureq::http::Response<ureq::Body>) -> Answer {
        Answer::read(&mut response).unwrap()
    }
}

impl Answer {
    fn read(response: &mut ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let (content_type, request_id, link) = (header("content-type"), header("x-request-id"), header("link"));
        let (allow, retry_after, location) = (header("allow"), header("retry-after"), header("location"));
        let mut text = String::new();
        response.body_mut().as_reader().read_to_string(&mut text)?;
        let headers = response.headers().clone();
        let status = response.status().as_u16();
        Ok(Answer { status, content_type, request_id, link, location, allow, retry_after, headers, text })
    }

    /// Returns a header as text; empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Checks that the request was refused about this field, with this status and a problem whose text has all of these parts.
    pub(crate) fn assert_problem_about(&self, status: u16, field: &str, parts: &[&str]) {
        self.assert_problem(status, parts);
        assert_eq!(self.json()["field"], field, "{}", self.text);
    }

    /// Checks that the request was refused with this status and a problem whose text has all of these parts.
    pub(crate) fn assert_problem(&self, status: u16, parts: &[&str]) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.content_type, "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["detail"], problem["error"]);
        assert_eq!(problem["request_id"], self.request_id.as_str());
        assert!(problem["type"].as_str().unwrap().starts_with("urn:seedhouse:error:"));
        for part in parts {
            assert!(problem["detail"].as_str().unwrap().contains(part), "`{part}` is missing in {problem}");
        }
    }
}

fn percent_encoded(character: char) -> String {
    character.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
}
