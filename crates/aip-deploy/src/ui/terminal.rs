//! Where a command reads and writes: data to standard output, status messages to standard error, answers from
//! a person if there is one.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::sync::Arc;

use pulumi_files::Prompt;
use secrecy::SecretString;

use super::screen::Screen;
use super::style::{PROMPT, paint};

/// Input and output of a command.
pub trait Terminal: Send + Sync {
    /// Writes a line of data to standard output.
    fn data(&self, line: &str);
    /// Writes a status line to standard error.
    fn status(&self, line: &str);
    /// Whether prompts are possible.
    fn is_interactive(&self) -> bool;
    /// Prompts without echo.
    fn read_secret(&self, label: &str) -> io::Result<SecretString>;
    /// Prompts for a line.
    fn read_line(&self, label: &str) -> io::Result<String>;
    /// Reads standard input to its end; `None` if it is a terminal.
    fn read_stdin(&self) -> io::Result<Option<String>>;
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
const MAX_STDIN_BYTES: u64 = 4 * 1024 * 1024;

impl Terminal for Console {
    fn data(&self, line: &str) {
        self.screen.line(line);
    }

    fn status(&self, line: &str) {
        self.screen.status(line);
    }

    fn is_interactive(&self) -> bool {
        self.interactive
    }

    fn read_secret(&self, label: &str) -> io::Result<SecretString> {
        let _ = write!(anstream::stderr().lock(), "{}: ", paint(PROMPT, label));
        console::Term::stderr()
            .read_secure_line()
            .map(SecretString::from)
    }

    fn read_line(&self, label: &str) -> io::Result<String> {
        let _ = write!(anstream::stderr().lock(), "{}: ", paint(PROMPT, label));
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn read_stdin(&self) -> io::Result<Option<String>> {
        if io::stdin().is_terminal() {
            return Ok(None);
        }
        let mut text = String::new();
        io::stdin()
            .take(MAX_STDIN_BYTES)
            .read_to_string(&mut text)?;
        Ok(Some(text))
    }
}

/// Asks for passphrases at a terminal.
pub struct PassphrasePrompt(pub Arc<dyn Terminal>);

impl Prompt for PassphrasePrompt {
    fn is_interactive(&self) -> bool {
        self.0.is_interactive()
    }

    fn secret(&self, label: &str) -> io::Result<SecretString> {
        self.0.read_secret(label)
    }
}
