//! Stand-ins for the person at the terminal.

use std::collections::VecDeque;
use std::sync::Mutex;

use secrecy::SecretString;

use super::Prompt;

/// Nobody is there.
pub(crate) struct NonInteractivePrompt;

impl Prompt for NonInteractivePrompt {
    fn is_interactive(&self) -> bool {
        false
    }

    fn secret(&self, _: &str) -> std::io::Result<SecretString> {
        panic!("asked although nobody is there")
    }
}

/// Somebody who types these answers, in this order.
pub(crate) struct ScriptedPrompt(Mutex<VecDeque<String>>);

impl ScriptedPrompt {
    pub(crate) fn answering<const N: usize>(answers: [&str; N]) -> Self {
        Self(Mutex::new(
            answers.iter().map(|answer| (*answer).to_owned()).collect(),
        ))
    }
}

impl Prompt for ScriptedPrompt {
    fn is_interactive(&self) -> bool {
        true
    }

    fn secret(&self, _: &str) -> std::io::Result<SecretString> {
        let answer = self.0.lock().unwrap().pop_front();
        answer
            .map(SecretString::from)
            .ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }
}
