//! What containers write, line by line, kept in memory as long as their Pod.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::jiff::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::watch;

use super::time;

/// Older lines are dropped, as a container runtime rotates its files.
const MAX_LOG_LINES: usize = 20_000;

/// The output of one run of one container.
#[derive(Clone)]
pub(crate) struct Log(Arc<Inner>);

struct Inner {
    lines: Mutex<Lines>,
    /// How many lines were ever written; closed when the container has ended.
    written: watch::Sender<usize>,
}

#[derive(Default)]
struct Lines {
    dropped: usize,
    kept: VecDeque<Line>,
    ended: bool,
}

#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    /// With its line feed, if it had one.
    pub(crate) text: Vec<u8>,
}

/// The present and the previous run of each container.
#[derive(Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<HashMap<Key, Runs>>>);

type Key = (String, String, String);

struct Runs {
    now: Log,
    previous: Option<Log>,
}

impl Logs {
    /// A new run of a container.
    pub(crate) fn open(&self, namespace: &str, pod: &str, container: &str) -> Log {
        let log = Log::new();
        let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = logs.remove(&key).map(|runs| runs.now);
        let now = log.clone();
        logs.insert(key, Runs { now, previous });
        log
    }

    pub(crate) fn get(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Option<Log> {
        let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        let logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = logs.get(&key)?;
        if previous {
            runs.previous.clone()
        } else {
            Some(runs.now.clone())
        }
    }

    pub(crate) fn forget(&self, namespace: &str, pod: &str) {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.retain(|key, _| (key.0.as_str(), key.1.as_str()) != (namespace, pod));
    }
}

impl Log {
    fn new() -> Self {
        Self(Arc::new(Inner {
            lines: Mutex::default(),
            written: watch::Sender::new(0),
        }))
    }

    /// Keeps everything that comes from `output`, until it is closed.
    pub(crate) async fn capture(&self, output: impl AsyncRead + Unpin) {
        let mut output = BufReader::new(output);
        loop {
            let mut text = Vec::new();
            match output.read_until(b'\n', &mut text).await {
                Ok(1..) => self.push(text),
                Ok(0) | Err(_) => return,
            }
        }
    }

    pub(crate) fn push(&self, text: Vec<u8>) {
        let at = time::now();
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.kept.push_back(Line { at, text });
        if lines.kept.len() > MAX_LOG_LINES {
            lines.kept.pop_front();
            lines.dropped += 1;
        }
        drop(lines);
        self.0.written.send_modify(|written| *written += 1);
    }

    /// No more will come.
    pub(crate) fn end(&self) {
        self.0
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ended = true;
        self.0.written.send_modify(|_| ());
    }

    /// Whether the container has ended, the lines from number `from` on, and the next number.
    pub(crate) fn read(&self, from: usize) -> (bool, Vec<Line>, usize) {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = from.saturating_sub(lines.dropped);
        let new = lines.kept.iter().skip(skipped).cloned().collect();
        (lines.ended, new, lines.dropped + lines.kept.len())
    }

    /// Changes with every line and at the end.
    pub(crate) fn changes(&self) -> watch::Receiver<usize> {
        self.0.written.subscribe()
    }

    /// The last lines, as one text.
    pub(crate) fn tail(&self, count: usize) -> String {
        let (_, lines, _) = self.read(0);
        let last = &lines[lines.len().saturating_sub(count)..];
        let bytes: Vec<u8> = last.iter().flat_map(|line| line.text.clone()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
