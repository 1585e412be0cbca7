//! Where a command reads and writes: data to standard output, talk to standard error, answers from
//! a person if there is one.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::sync::Arc;

use pulumi_files::Prompt;
use secrecy::SecretString;

use super::screen::Screen;
use super::style::{PROMPT, paint};

/// A terminal, or what a test puts in its place.
pub trait Terminal: Send + Sync {
    /// A line of data.
    fn data(&self, line: &str);
    /// A line of talk.
    fn talk(&self, line: &str);
    /// Whether somebody can answer.
    fn interactive(&self) -> bool;
    /// Asks without echo.
    fn secret(&self, label: &str) -> io::Result<SecretString>;
    /// Asks for a line.
    fn line(&self, label: &str) -> io::Result<String>;
    /// Everything that is piped in; `None` at a terminal.
    fn piped(&self) -> io::Result<Option<String>>;
}

/// The process's own terminal.
pub struct Console {
    screen: Screen,
    interactive: bool,
}

impl Console {
    /// `non_interactive` forbids questions even at a terminal.
    ///
    /// Questions go to standard error, so the output may be piped away.
    pub fn new(screen: Screen, non_interactive: bool) -> Self {
        let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        Self {
            screen,
            interactive: terminal && !non_interactive,
        }
    }
}

/// More than any value of a configuration.
const MAX_PIPED: u64 = 4 * 1024 * 1024;

impl Terminal for Console {
    fn data(&self, line: &str) {
        self.screen.line(line);
    }

    fn talk(&self, line: &str) {
        self.screen.note(line);
    }

    fn interactive(&self) -> bool {
        self.interactive
    }

    fn secret(&self, label: &str) -> io::Result<SecretString> {
        let _ = write!(anstream::stderr().lock(), "{}: ", paint(PROMPT, label));
        console::Term::stderr()
            .read_secure_line()
            .map(SecretString::from)
    }

    fn line(&self, label: &str) -> io::Result<String> {
        let _ = write!(anstream::stderr().lock(), "{}: ", paint(PROMPT, label));
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn piped(&self) -> io::Result<Option<String>> {
        if io::stdin().is_terminal() {
            return Ok(None);
        }
        let mut text = String::new();
        io::stdin().take(MAX_PIPED).read_to_string(&mut text)?;
        Ok(Some(text))
    }
}

/// Asks for passphrases at a terminal.
pub struct PassphrasePrompt(pub Arc<dyn Terminal>);

impl Prompt for PassphrasePrompt {
    fn interactive(&self) -> bool {
        self.0.interactive()
    }

    fn secret(&self, label: &str) -> io::Result<SecretString> {
        self.0.secret(label)
    }
}
