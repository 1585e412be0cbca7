//! Request parameters: `application/x-www-form-urlencoded`, each name at most once.
//!
//! RFC 6749 §3.1 and §3.2: a parameter without a value counts as omitted, a repeated parameter is
//! `invalid_request`, an unknown one is ignored. `resource` alone may be repeated (RFC 8707 §2).

/// The most parameters of one request; real ones have fewer than twenty.
const MAX_PARAMS: usize = 64;

/// The parameters that mean more the more often they are sent.
const REPEATABLE: [&str; 1] = ["resource"];

/// The parameters of one request, each name once but for those that may be repeated, no empty value.
#[derive(Clone, Default)]
pub struct Params(Vec<(String, String)>);

/// Why parameters are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// RFC 6749 §3.1: "Request and response parameters MUST NOT be included more than once".
    #[error("the parameter {0:?} is repeated")]
    Repeated(String),
    /// More than anybody needs.
    #[error("there are more than {MAX_PARAMS} parameters")]
    TooMany,
}

/// Parameters of which at least one was unusable, for an error answer.
#[derive(Clone)]
pub struct LenientParams(Vec<(String, String)>);

impl Params {
    /// Parses a query string or form body.
    pub fn parse(encoded: &[u8]) -> Result<Self, ParamsError> {
        let mut params: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(encoded) {
            if params.len() == MAX_PARAMS {
                return Err(ParamsError::TooMany);
            }
            let may_repeat = REPEATABLE.contains(&&*name);
            if !may_repeat && params.iter().any(|(known, _)| *known == name) {
                let shown: String = name
                    .chars()
                    .filter(char::is_ascii_graphic)
                    .take(40)
                    .collect();
                return Err(ParamsError::Repeated(shown));
            }
            params.push((name.into_owned(), value.into_owned()));
        }
        params.retain(|(_, value)| !value.is_empty());
        Ok(Self(params))
    }

    /// The value of `name`, if it was sent and is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Params {
    /// Every value of a parameter that may be repeated.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }
}

impl LenientParams {
    /// Reads all parameters, tolerating repetitions. How many there may be follows from the
    /// largest request.
    pub fn parse(encoded: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(encoded);
        Self(
            pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// The value of `name` if it was sent exactly once, so that it is beyond doubt.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self
            .0
            .iter()
            .filter(|(known, value)| known == name && !value.is_empty());
        let first = values.next()?;
        values.next().is_none().then_some(first.1.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_counts_as_omitted() {
        let params = Params::parse(b"a=&b=1").unwrap();
        assert_eq!(params.get("a"), None);
        assert_eq!(params.get("b"), Some("1"));
    }

    #[test]
    fn a_repeated_parameter_is_refused_even_if_unknown_or_empty() {
        for (query, name) in [("a=1&a=2", "a"), ("a=&a=2", "a"), ("x=1&%78=2", "x")] {
            assert_eq!(
                Params::parse(query.as_bytes()).err(),
                Some(ParamsError::Repeated(name.to_owned())),
                "{query}"
            );
        }
    }

    #[test]
    fn a_resource_may_be_repeated_and_others_may_not() {
        let params = Params::parse(b"resource=urn:a&resource=&resource=urn:b").unwrap();
        assert_eq!(
            params.all("resource").collect::<Vec<_>>(),
            ["urn:a", "urn:b"]
        );
        assert!(Params::parse(b"resources=a&resources=b").is_err());
    }

    #[test]
    fn too_many_parameters_are_refused() {
        let query: Vec<String> = (0..=MAX_PARAMS).map(|n| format!("p{n}=1")).collect();
        assert_eq!(
            Params::parse(query.join("&").as_bytes()).err(),
            Some(ParamsError::TooMany)
        );
    }

    #[test]
    fn lenient_reading_gives_only_what_is_beyond_doubt() {
        let params = LenientParams::parse(b"state=s&scope=a&scope=b");
        assert_eq!(params.get("state"), Some("s"));
        assert_eq!(params.get("scope"), None);
    }
}
