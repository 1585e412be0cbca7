//! `aip serve` as a process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::command::{Variables, command};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that has started.
pub(crate) struct Server {
    child: Child,
    log: Arc<Mutex<String>>,
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
}

impl Server {
    /// Starts it on free ports, with these variables more.
    pub(crate) fn start(folder: &Path, variables: Variables<'_>) -> Self {
        let serve = command(folder, &with_free_ports(variables), &["serve"]);
        Self::run(serve)
    }

    /// Starts it with files that cannot grow beyond so many KiB, as on a disk that is full.
    pub(crate) fn start_within(folder: &Path, variables: Variables<'_>, kilobytes: u32) -> Self {
        let aip = env!("CARGO_BIN_EXE_aip");
        // The shell counts blocks of 512 bytes. A write beyond the limit is to fail, not to kill.
        let script = format!(
            "trap '' XFSZ; ulimit -S -f {}; exec {aip} serve",
            2 * kilobytes
        );
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &script])
            .env_clear()
            .envs(with_free_ports(variables))
            .current_dir(folder);
        Self::run(shell)
    }

    /// Lets files grow again.
    pub(crate) fn make_room(&self) {
        let pid = self.child.id().to_string();
        let words = ["--pid", &*pid, "--fsize=unlimited"];
        let done = Command::new("prlimit").args(words).status();
        assert!(done.unwrap().success());
    }

    fn run(mut serve: Command) -> Self {
        let mut child = serve
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::<Mutex<String>>::default();
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Self {
            child,
            log,
            public: nowhere,
            internal: nowhere,
        };
        let serving = server.logged("serving");
        let address = |name: &str| serving[name].as_str().unwrap().parse().unwrap();
        server.public = address("public_at");
        server.internal = address("internal_at");
        server
    }

    /// Waits for a line of the log with that message.
    #[track_caller]
    pub(crate) fn logged(&mut self, message: &str) -> Value {
        let mut found = None;
        self.until(message, |server| {
            let log = server.log();
            let mut lines = log.lines().filter_map(|it| serde_json::from_str(it).ok());
            found = lines.find(|line: &Value| line["message"] == message);
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended before `{what}`: {}", self.log());
            assert!(Instant::now() < deadline, "not `{what}`: {}", self.log());
            pause();
        }
    }

    /// Everything that it logged and said.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended; its exit code.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().expect("no signal ended it");
            }
            assert!(Instant::now() < deadline, "it goes on: {}", self.log());
            pause();
        }
    }

    /// The status and the body of a `GET` at the public listener.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = request(self.public, path).expect("the server answers");
        (status, body)
    }

    /// The status of a probe; `None` when nobody answers.
    pub(crate) fn probe(&self, path: &str) -> Option<u16> {
        request(self.internal, path).map(|(status, ..)| status)
    }

    /// The status and the body of a `GET` at the internal listener.
    pub(crate) fn internal(&self, path: &str) -> (u16, String) {
        let (status, _, body) = request(self.internal, path).expect("the server answers");
        (status, body)
    }

    /// The ids of the keys that it publishes towards PDSs.
    pub(crate) fn published(&self) -> Vec<String> {
        let (status, body) = self.get("/oauth/upstream/jwks.json");
        assert_eq!(status, 200, "{body}");
        let set: Value = serde_json::from_str(&body).unwrap();
        let keys = set["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn with_free_ports(variables: Variables<'_>) -> Vec<(&str, &str)> {
    let mut all = vec![
        ("AIP_LISTEN", "127.0.0.1:0"),
        ("AIP_INTERNAL_LISTEN", "127.0.0.1:0"),
        ("AIP_EXTERNAL_BASE", "https://id.example.org"),
        ("AIP_LOG_FORMAT", "json"),
    ];
    all.retain(|(name, _)| !variables.iter().any(|(other, _)| name == other));
    all.extend_from_slice(variables);
    all
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status, head and body of a plain `GET`.
pub(crate) fn request(address: SocketAddr, path: &str) -> Option<(u16, String, String)> {
    let (status, head, body) = send(address, "GET", path, "", "")?;
    Some((status, head.to_ascii_lowercase(), body))
}

/// Status, head and body of any request; each of `headers` ends its line.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let asked = format!(
        "{method} {path} HTTP/1.1\r\nHost: id.example.org\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(asked.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_owned(), body.to_owned()))
}

#[allow(
    clippy::disallowed_methods,
    reason = "between two looks at another process"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
