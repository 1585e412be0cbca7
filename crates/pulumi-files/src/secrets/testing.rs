//! Stand-ins for the person at the terminal.

use std::collections::VecDeque;
use std::sync::Mutex;

use secrecy::SecretString;

use super::Prompt;

/// Nobody is there.
pub(crate) struct Nobody;

impl Prompt for Nobody {
    fn interactive(&self) -> bool {
        false
    }

    fn secret(&self, _: &str) -> std::io::Result<SecretString> {
        panic!("asked although nobody is there")
    }
}

/// Somebody who types these answers, in this order.
pub(crate) struct Person(Mutex<VecDeque<String>>);

impl Person {
    pub(crate) fn answering<const N: usize>(answers: [&str; N]) -> Self {
        Self(Mutex::new(
            answers.iter().map(|answer| (*answer).to_owned()).collect(),
        ))
    }
}

impl Prompt for Person {
    fn interactive(&self) -> bool {
        true
    }

    fn secret(&self, _: &str) -> std::io::Result<SecretString> {
        let answer = self.0.lock().unwrap().pop_front();
        answer
            .map(SecretString::from)
            .ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }
}
