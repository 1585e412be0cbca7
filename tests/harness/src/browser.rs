//! As much of a browser as AIP's pages need: cookies, forms, redirects one by one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};

use crate::connection::{Answer, Connection, get, post};

/// A browser that knows nobody yet, with one connection to AIP.
pub struct Browser {
    connection: Connection,
    host: String,
    cookies: BTreeMap<String, String>,
}

/// What the browser got.
#[derive(Debug)]
pub struct Page {
    /// Where it is sent next.
    location: Option<String>,
    text: String,
}

impl Browser {
    /// Opens one.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(address).await?,
            host: address.to_string(),
            cookies: BTreeMap::new(),
        })
    }

    /// Follows a link.
    pub async fn get(&mut self, target: &str) -> Result<Page> {
        let request = get(&self.host, target, &self.cookie_field());
        self.send(&request)
            .await
            .with_context(|| format!("GET {target}"))
    }

    /// Sends a form.
    pub async fn post(&mut self, target: &str, form: &[(&str, &str)]) -> Result<Page> {
        let form = serde_urlencoded::to_string(form)?;
        let request = post(&self.host, target, &self.cookie_field(), &form);
        self.send(&request)
            .await
            .with_context(|| format!("POST {target}"))
    }

    async fn send(&mut self, request: &[u8]) -> Result<Page> {
        let answer = self.connection.exchange(request).await?;
        for cookie in answer.values("set-cookie") {
            let pair = cookie.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Page::read(&answer)
    }

    fn cookie_field(&self) -> String {
        if self.cookies.is_empty() {
            return String::new();
        }
        let pairs = self.cookies.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("cookie: {}\r\n", pairs.join("; "))
    }
}

impl Page {
    fn read(answer: &Answer<'_>) -> Result<Self> {
        let location = answer.values("location").next();
        answer.expect(if location.is_some() { 303 } else { 200 })?;
        Ok(Self {
            location: location.map(str::to_owned),
            text: answer.text()?.to_owned(),
        })
    }

    /// Where the browser is sent.
    pub fn location(&self) -> Result<&str> {
        let location = self.location.as_deref();
        location.with_context(|| format!("a page instead of a redirect: {}", self.text))
    }

    /// The value of a hidden field. Ours need no unescaping.
    pub fn field(&self, name: &str) -> Result<&str> {
        let (_, rest) = self
            .text
            .split_once(&format!("name=\"{name}\" value=\""))
            .with_context(|| format!("no field {name}: {}", self.text))?;
        rest.split('"').next().context("an attribute ends")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_fields_are_read() {
        let page = Page {
            location: None,
            text: "<input type=\"hidden\" name=\"csrf\" value=\"x-y_z\">".to_owned(),
        };
        assert_eq!(page.field("csrf").unwrap(), "x-y_z");
        page.field("request").unwrap_err();
        page.location().unwrap_err();
    }
}
