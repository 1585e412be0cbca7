//! What a person types, and what is piped in. Questions go to standard error, so that the output may
//! be piped away.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use console::Term;
use pulumi_files::Prompt;
use secrecy::SecretString;

use super::prompt::PromptError;
use super::screen::Screen;
use super::style::{PROMPT, paint};

/// More than any value of a configuration.
const MAX_STDIN_BYTES: u64 = 4 * 1024 * 1024;

#[allow(clippy::unused_self, reason = "only who has the screen may ask")]
impl Screen {
    /// Asks without echo.
    pub(crate) fn read_secret(&self, label: &str) -> io::Result<SecretString> {
        let _ = write!(anstream::stderr().lock(), "{}: ", paint(PROMPT, label));
        Term::stderr().read_secure_line().map(SecretString::from)
    }

    pub(crate) fn read_line(&self, label: &str) -> io::Result<String> {
        let _ = write!(anstream::stderr().lock(), "{}: ", paint(PROMPT, label));
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Standard input to its end; `None` if it is a terminal.
    pub(crate) fn read_stdin(&self) -> io::Result<Option<String>> {
        if io::stdin().is_terminal() {
            return Ok(None);
        }
        let mut text = String::new();
        io::stdin()
            .take(MAX_STDIN_BYTES)
            .read_to_string(&mut text)?;
        Ok(Some(text))
    }

    /// Says what will happen and asks for a word that shows that the operator knows what is meant,
    /// such as the name of the stack.
    pub(crate) fn confirm_by_typing(
        &self,
        consequence: &str,
        label: &str,
        word: &str,
    ) -> Result<bool, PromptError> {
        if !self.can_ask() {
            return Err(PromptError::NotInteractive);
        }
        self.status(consequence);
        let typed = self.read_line(label).map_err(PromptError::Terminal)?;
        Ok(typed.trim() == word)
    }
}

pub(crate) struct PassphrasePrompt(pub Screen);

impl Prompt for PassphrasePrompt {
    fn is_interactive(&self) -> bool {
        self.0.can_ask()
    }

    fn secret(&self, label: &str) -> io::Result<SecretString> {
        self.0.read_secret(label)
    }
}
