//! Valkey (or Redis) servers for tests, each in a directory of its own, gone with the test.
//!
//! Without such a server on `PATH` the tests fail: what is not tested is not supported.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// Runs `"$@"` until standard input ends, so also when the test is killed, and cleans up.
const GUARD_SCRIPT: &str = r#"
dir=$1; shift
cd "$dir"
"$@" >log 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -KILL "$server" 2>/dev/null
wait "$server" 2>/dev/null
"#;

/// How long a server may take to start, to stop, or to agree with others.
pub const SERVER_TIMEOUT: Duration = Duration::from_secs(30);

static DIRECTORIES: AtomicU32 = AtomicU32::new(0);

/// A server.
pub struct ValkeyServer {
    directory: PathBuf,
    /// The program, or a shell that becomes it.
    program: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    /// How `valkey-cli` reaches it.
    reach: Vec<String>,
    guard: Option<Child>,
}

impl ValkeyServer {
    /// At a Unix socket.
    pub async fn start() -> Self {
        let directory = directory();
        let socket = directory.join("socket").display().to_string();
        let arguments = ["--port", "0", "--unixsocket", &socket];
        let arguments = arguments.map(str::to_owned).to_vec();
        Self::run(directory, arguments, vec!["-s".to_owned(), socket]).await
    }

    /// At a port of `127.0.0.1`, with further arguments.
    pub async fn listening(port: u16, arguments: &[&str]) -> Self {
        let port = port.to_string();
        let mut all = vec!["--port".to_owned(), port.clone()];
        all.extend(["--bind", "127.0.0.1"].map(str::to_owned));
        all.extend(arguments.iter().map(|&it| it.to_owned()));
        Self::run(directory(), all, vec!["-p".to_owned(), port]).await
    }

    /// At a port of `127.0.0.1`, over TLS, with the given PEM certificate and key.
    pub async fn with_tls(port: u16, certificate: &str, key: &str) -> Self {
        let directory = directory();
        let (cert_file, key_file) = (directory.join("cert.pem"), directory.join("key.pem"));
        std::fs::write(&cert_file, certificate).expect("the directory takes files");
        std::fs::write(&key_file, key).expect("the directory takes files");
        let (cert, key) = (
            cert_file.display().to_string(),
            key_file.display().to_string(),
        );
        let socket = directory.join("socket").display().to_string();
        let port = port.to_string();
        let arguments = [
            ["--port", "0"],
            ["--tls-port", &port],
            ["--tls-cert-file", &cert],
            ["--tls-key-file", &key],
            ["--tls-ca-cert-file", &cert],
            ["--tls-auth-clients", "no"],
            ["--unixsocket", &socket],
        ];
        let arguments = arguments.concat().into_iter().map(str::to_owned).collect();
        Self::run(directory, arguments, vec!["-s".to_owned(), socket]).await
    }

    /// A Sentinel with the given configuration, at a port of `127.0.0.1`.
    pub async fn sentinel(port: u16, configuration: &str) -> Self {
        let directory = directory();
        let file = directory.join("sentinel.conf");
        let text = format!("port {port}\nbind 127.0.0.1\n{configuration}");
        std::fs::write(&file, text).expect("the directory takes files");
        let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        Self::run(
            directory,
            arguments,
            vec!["-p".to_owned(), port.to_string()],
        )
        .await
    }

    /// What `script` becomes: a shell that finds `valkey-server` and `valkey-cli` on its path, and ends as the
    /// first. `reach` is how `valkey-cli` reaches the server.
    pub async fn of_script(
        script: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
        reach: &[&str],
    ) -> Self {
        let directory = directory();
        let path = std::env::var_os("PATH").unwrap_or_default();
        for part in ["server", "cli"] {
            let link = directory.join(format!("valkey-{part}"));
            let mut folders = std::env::split_paths(&path);
            let found = folders.find_map(|folder| {
                let there = folder.join(program(part));
                there.is_file().then_some(there)
            });
            let found = found.expect("`program` has found it");
            std::os::unix::fs::symlink(found, link).expect("the directory takes links");
        }
        let mut all = vec!["-c".to_owned(), script.to_owned(), "sh".to_owned()];
        all.extend(arguments.iter().map(|&it| it.to_owned()));
        let mut environment = vec![(
            "PATH".to_owned(),
            format!("{}:{}", directory.display(), path.display()),
        )];
        let variables = variables.iter();
        environment.extend(variables.map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let mut server = Self {
            directory,
            program: "sh".to_owned(),
            arguments: all,
            variables: environment,
            reach: reach.iter().map(|&it| it.to_owned()).collect(),
            guard: None,
        };
        server.begin().await;
        server
    }

    async fn run(directory: PathBuf, mut arguments: Vec<String>, reach: Vec<String>) -> Self {
        if !arguments.iter().any(|it| it == "--sentinel") {
            arguments.extend(["--save", ""].map(str::to_owned));
        }
        let mut server = Self {
            directory,
            program: program("server"),
            arguments,
            variables: Vec::new(),
            reach,
            guard: None,
        };
        server.begin().await;
        server
    }

    /// Starts the server again, with what it has written itself alone, after [`Self::kill`].
    pub async fn begin(&mut self) {
        let program = &self.program;
        let guard = Command::new("sh")
            .args(["-c", GUARD_SCRIPT, "sh"])
            .arg(&self.directory)
            .arg(program)
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .spawn();
        self.guard = Some(guard.expect("`sh` runs"));
        let deadline = Instant::now() + SERVER_TIMEOUT;
        while self.try_cli(&["PING"]).await.as_deref() != Some("PONG") {
            let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "`{program}` does not start: {log}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the server, and waits until it is gone.
    pub async fn kill(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            guard.wait().await.expect("the server can be waited for");
        }
    }

    /// Forgets everything.
    pub async fn wipe(&self) {
        self.cli(&["FLUSHALL"]).await;
    }

    /// Stops answering for so long, and keeps its connections.
    pub async fn stall(&self, pause: Duration) {
        let millis = pause.as_millis().to_string();
        self.cli(&["CLIENT", "PAUSE", &millis, "ALL"]).await;
    }

    /// Where it is, if that is a Unix socket.
    pub fn url(&self) -> String {
        format!("unix://{}/socket", self.directory.display())
    }

    /// Sends a command and returns the answer.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn cli(&self, command: &[&str]) -> String {
        let answer = self.try_cli(command).await;
        answer.unwrap_or_else(|| panic!("no answer to {command:?}"))
    }

    async fn try_cli(&self, command: &[&str]) -> Option<String> {
        let output = Command::new(program("cli"))
            .args(&self.reach)
            .args(command)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("the command line client of Valkey or Redis is installed");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }
}

impl Drop for ValkeyServer {
    fn drop(&mut self) {
        // The guard kills the server when its standard input ends, which is now.
        self.guard.take();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Ports of `127.0.0.1` that nobody listens on now.
pub fn free_ports<const N: usize>() -> [u16; N] {
    // All are held until all are known, so that they differ.
    let held = [(); N].map(|()| {
        std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback interface is there")
    });
    held.map(|listener| listener.local_addr().expect("it is bound").port())
}

fn directory() -> PathBuf {
    let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
    let name = format!("aip-valkey-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).expect("the temporary directory takes directories");
    path
}

/// `valkey-PART`, or `redis-PART` where that is what is installed.
fn program(part: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = ["valkey", "redis"].into_iter().find_map(|name| {
        let program = format!("{name}-{part}");
        let there = std::env::split_paths(&path).any(|folder| folder.join(&program).is_file());
        there.then_some(program)
    });
    found.unwrap_or_else(|| panic!("neither `valkey-{part}` nor `redis-{part}` is on PATH"))
}
