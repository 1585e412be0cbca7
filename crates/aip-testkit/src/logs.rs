//! Everything that was logged, at trace level, to be searched for what must not be there.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use tracing_subscriber::fmt::MakeWriter;

static CAPTURED: OnceLock<Captured> = OnceLock::new();

/// The log of this test process so far. Capturing begins with the first call of
/// [`Captured::begin`] and covers every crate, at trace level, with all fields.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Begins to capture, once per process, and returns the one log.
    ///
    /// # Panics
    /// If something else installed a subscriber before: then nothing would be captured.
    pub fn begin() -> Self {
        CAPTURED
            .get_or_init(|| {
                let captured = Self::default();
                tracing_subscriber::fmt()
                    .json()
                    .with_max_level(tracing::Level::TRACE)
                    .with_writer(captured.clone())
                    .init();
                captured
            })
            .clone()
    }

    /// What was logged so far.
    pub fn text(&self) -> String {
        self.since(0)
    }

    /// Where the log stands, for [`Self::since`].
    pub fn position(&self) -> usize {
        self.0.lock().expect("no panic while logging").len()
    }

    /// What was logged after that position.
    pub fn since(&self, position: usize) -> String {
        let log = self.0.lock().expect("no panic while logging");
        String::from_utf8_lossy(&log[position..]).into_owned()
    }
}

impl io::Write for Captured {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("no panic while logging")
            .extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}
