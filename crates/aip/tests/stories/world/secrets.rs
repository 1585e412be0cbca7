//! Every secret that a story saw, so that its end can search for all of them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value;

/// Shorter values would be found by chance.
const SHORTEST: usize = 8;

/// Secrets, with what they are.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Mutex<BTreeMap<String, &'static str>>);

impl Secrets {
    pub(crate) fn learn(&self, what: &'static str, value: &str) {
        if value.len() >= SHORTEST {
            self.0.lock().unwrap().insert(value.to_owned(), what);
        }
    }

    /// The private members of every key in a JSON text (RFC 7518 §6).
    pub(crate) fn learn_keys(&self, what: &'static str, json: &str) {
        self.learn_members(what, &serde_json::from_str(json).unwrap(), &|name| {
            ["d", "p", "q", "dp", "dq", "qi", "key", "token_pepper"].contains(&name)
        });
    }

    /// What an OAuth answer holds.
    pub(crate) fn learn_tokens(&self, answer: &Value) {
        self.learn_members("token of an answer", answer, &|name| {
            name.ends_with("_token")
        });
    }

    fn learn_members(&self, what: &'static str, json: &Value, secret: &dyn Fn(&str) -> bool) {
        match json {
            Value::Object(members) => {
                for (name, value) in members {
                    match value {
                        Value::String(text) if secret(name) => self.learn(what, text),
                        value => self.learn_members(what, value, secret),
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.learn_members(what, item, secret);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// What of them is in `text`, by its kind: a failing test must not print the secret itself.
    pub(crate) fn found_in(&self, text: &[u8]) -> Vec<&'static str> {
        let text = String::from_utf8_lossy(text);
        let secrets = self.0.lock().unwrap();
        secrets
            .iter()
            .filter(|(value, _)| text.contains(value.as_str()))
            .map(|(_, what)| *what)
            .collect()
    }
}

#[test]
fn a_secret_is_found_where_it_is() {
    let secrets = Secrets::default();
    secrets.learn("a password", "open sesame");
    secrets.learn("too short", "open");
    secrets.learn_keys(
        "a key",
        r#"{"keys":[{"kid":"kid-of-a-key","d":"private-part"}]}"#,
    );
    assert_eq!(secrets.len(), 2);
    assert_eq!(secrets.found_in(b"say: open sesame!"), ["a password"]);
    assert_eq!(secrets.found_in(b"private-part"), ["a key"]);
    assert!(secrets.found_in(b"kid-of-a-key open").is_empty());
}
