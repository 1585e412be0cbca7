//! Permission sets: lexicons that give a name to several permissions, for `include:` scopes
//! (<https://atproto.com/specs/permission#permission-sets>).

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::include::IncludeScope;
use super::nsid_set::NsidSet;
use super::repo::{RepoAction, RepoScope};
use super::rpc::{Audience, RpcScope};
use super::{Scope, ScopeSet};
use crate::nsid::Nsid;

/// A larger lexicon is refused unread.
const MAX_BYTES: usize = 256 * 1024;
/// The most permissions that are read; the rest is ignored like unknown ones.
const MAX_PERMISSIONS: usize = 256;

/// The most names of collections and methods in all that are read; what comes after is ignored, too.
const MAX_NAMES: usize = 1024;
/// What a name takes in memory besides its text, in bytes.
const NAME_BYTES: usize = 64;

/// A parsed permission set. Permissions that are unknown, malformed, or outside the set's own
/// namespace are not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionSet {
    id: Nsid,
    title: Option<String>,
    detail: Option<String>,
    permissions: Vec<Entry>,
}

/// Why bytes are not the permission set that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum PermissionSetError {
    /// More than 256 KiB.
    #[error("a lexicon has at most {MAX_BYTES} bytes")]
    TooLarge,
    /// No lexicon document.
    #[error("not a lexicon: {0}")]
    Json(#[from] serde_json::Error),
    /// The lexicon has another id.
    #[error("the lexicon calls itself {found} and not {asked}")]
    OtherId {
        /// The NSID that was looked up.
        asked: Nsid,
        /// The `id` in the document, shortened.
        found: String,
    },
    /// The main definition is something else.
    #[error("the lexicon's main definition is no permission set")]
    NotAPermissionSet,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Repo(RepoScope),
    /// Calls whose audience is any, or that of the `include:` scope.
    Rpc {
        methods: NsidSet,
        inherit_audience: bool,
    },
}

#[derive(Deserialize)]
struct Lexicon {
    id: String,
    defs: Defs,
}

#[derive(Deserialize)]
struct Defs {
    main: Main,
}

#[derive(Deserialize)]
struct Main {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    permissions: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(tag = "resource", rename_all = "camelCase")]
enum WireEntry {
    Repo {
        collection: Vec<String>,
        #[serde(default)]
        action: Vec<String>,
    },
    #[serde(rename_all = "camelCase")]
    Rpc {
        lxm: Vec<String>,
        #[serde(default)]
        aud: Option<String>,
        #[serde(default)]
        inherit_aud: bool,
    },
}

impl PermissionSet {
    /// Parses the lexicon that was resolved for `asked`.
    pub fn parse_for(asked: &Nsid, json: &[u8]) -> Result<Self, PermissionSetError> {
        if json.len() > MAX_BYTES {
            return Err(PermissionSetError::TooLarge);
        }
        let lexicon: Lexicon = serde_json::from_slice(json)?;
        if lexicon.id != asked.as_str() {
            let found = lexicon.id.chars().take(100).collect();
            return Err(PermissionSetError::OtherId {
                asked: asked.clone(),
                found,
            });
        }
        let main = lexicon.defs.main;
        if main.kind != "permission-set" {
            return Err(PermissionSetError::NotAPermissionSet);
        }
        let entries = main.permissions.into_iter().take(MAX_PERMISSIONS);
        let mut names = 0;
        let permissions = entries
            .filter_map(|entry| Entry::read(entry, asked))
            .take_while(|entry| {
                names += entry.names();
                names <= MAX_NAMES
            })
            .collect();
        Ok(Self {
            id: asked.clone(),
            title: main.title,
            detail: main.detail,
            permissions,
        })
    }

    /// The name of the set.
    pub fn id(&self) -> &Nsid {
        &self.id
    }

    /// The set's title as its author wrote it.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// The set's explanation as its author wrote it.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// About how many bytes it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let entries = self.permissions.iter().map(|entry| {
            let names = entry.listed();
            let names = names.map(|name| NAME_BYTES + name.as_str().len());
            size_of::<Entry>() + names.sum::<usize>()
        });
        let own = self.id.as_str().len() + length(&self.title) + length(&self.detail);
        size_of::<Self>() + own + entries.sum::<usize>()
    }

    /// The scopes that `include` stands for; none if it names another set.
    pub fn expand(&self, include: &IncludeScope) -> ScopeSet {
        if include.set() != &self.id {
            return ScopeSet::default();
        }
        self.permissions
            .iter()
            .filter_map(|entry| entry.scope(include))
            .collect()
    }
}

impl Entry {
    fn read(entry: Value, set: &Nsid) -> Option<Self> {
        match serde_json::from_value(entry).ok()? {
            WireEntry::Repo { collection, action } => {
                let collections = own_names(&collection, set)?;
                let actions = RepoAction::from_names(action.iter().map(String::as_str))?;
                Some(Self::Repo(RepoScope {
                    collections,
                    actions,
                }))
            }
            WireEntry::Rpc {
                lxm,
                aud,
                inherit_aud,
            } => {
                let inherit_audience = match (aud.as_deref(), inherit_aud) {
                    (None, true) => true,
                    (Some("*"), false) => false,
                    _ => return None,
                };
                Some(Self::Rpc {
                    methods: own_names(&lxm, set)?,
                    inherit_audience,
                })
            }
        }
    }

    /// The names of its collections or methods.
    fn listed(&self) -> impl Iterator<Item = &Nsid> {
        let names = match self {
            Self::Repo(repo) => &repo.collections,
            Self::Rpc { methods, .. } => methods,
        };
        let listed = match names {
            NsidSet::Any => None,
            NsidSet::Listed(names) => Some(names.iter()),
        };
        listed.into_iter().flatten()
    }

    fn names(&self) -> usize {
        self.listed().count()
    }

    fn scope(&self, include: &IncludeScope) -> Option<Scope> {
        match self {
            Self::Repo(repo) => Some(Scope::Repo(repo.clone())),
            Self::Rpc {
                methods,
                inherit_audience,
            } => {
                let audience = if *inherit_audience {
                    Audience::Service(include.audience()?.clone())
                } else {
                    Audience::Any
                };
                RpcScope::new(methods.clone(), audience).map(Scope::Rpc)
            }
        }
    }
}

/// Names in the namespace of `set`: its own group or below, no wildcard. One foreign name spoils
/// the entry.
fn own_names(names: &[String], set: &Nsid) -> Option<NsidSet> {
    let own = |name: &String| {
        Nsid::parse(name)
            .ok()
            .filter(|nsid| nsid.is_within(set.authority()))
    };
    let names: BTreeSet<Nsid> = names.iter().map(own).collect::<Option<_>>()?;
    (!names.is_empty()).then_some(NsidSet::Listed(names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(permissions: &Value) -> PermissionSet {
        let id = Nsid::parse("com.example.calendar.authBasic").unwrap();
        let main =
            json!({"type": "permission-set", "title": "Calendar", "permissions": permissions});
        let lexicon = json!({"lexicon": 1, "id": id.as_str(), "defs": {"main": main}});
        PermissionSet::parse_for(&id, lexicon.to_string().as_bytes()).unwrap()
    }

    fn expand(set: &PermissionSet, include: &str) -> String {
        let Scope::Include(include) = Scope::parse(include) else {
            panic!("{include}")
        };
        set.expand(&include).to_string()
    }

    #[test]
    fn an_include_stands_for_the_set_s_permissions() {
        let set = set(&json!([
            {"type": "permission", "resource": "repo", "collection": ["com.example.calendar.event"], "action": ["create"]},
            {"type": "permission", "resource": "rpc", "inheritAud": true, "lxm": ["com.example.calendar.list"]},
            {"type": "permission", "resource": "rpc", "aud": "*", "lxm": ["com.example.calendar.rsvp.get"]},
        ]));
        assert_eq!((set.title(), set.detail()), (Some("Calendar"), None));
        assert!((300..2000).contains(&set.memory_bytes()));
        assert_eq!(
            expand(
                &set,
                "include:com.example.calendar.authBasic?aud=did:web:example.com%23cal"
            ),
            "repo:com.example.calendar.event?action=create \
             rpc:com.example.calendar.list?aud=did:web:example.com%23cal \
             rpc:com.example.calendar.rsvp.get?aud=*"
        );
        // Without an audience there is nothing to inherit.
        assert_eq!(
            expand(&set, "include:com.example.calendar.authBasic"),
            "repo:com.example.calendar.event?action=create rpc:com.example.calendar.rsvp.get?aud=*"
        );
        assert_eq!(expand(&set, "include:com.example.calendar.authFull"), "");
    }

    #[test]
    fn what_a_set_must_not_contain_is_ignored() {
        let set = set(&json!([
            {"resource": "repo", "collection": ["*"]},
            {"resource": "repo", "collection": []},
            {"resource": "repo", "collection": ["com.example.calendar.event", "app.bsky.feed.post"]},
            {"resource": "repo", "collection": ["com.example.event"]},
            {"resource": "repo", "collection": ["com.example.calendar.event"], "action": ["read"]},
            {"resource": "rpc", "aud": "did:web:example.com#cal", "lxm": ["com.example.calendar.list"]},
            {"resource": "rpc", "lxm": ["com.example.calendar.list"]},
            {"resource": "rpc", "aud": "*", "inheritAud": true, "lxm": ["com.example.calendar.list"]},
            {"resource": "blob", "accept": ["*/*"]},
            {"resource": "account", "attr": "email"},
            7, null, {},
        ]));
        assert_eq!(
            expand(
                &set,
                "include:com.example.calendar.authBasic?aud=did:web:example.com%23cal"
            ),
            ""
        );
    }

    #[test]
    fn a_set_has_a_size_that_it_does_not_exceed() {
        let names = |from: usize| -> Vec<_> {
            let names = from..from + 400;
            names
                .map(|i| format!("com.example.calendar.c{i}"))
                .collect()
        };
        let set = set(&json!([
            {"resource": "repo", "collection": names(0)},
            {"resource": "repo", "collection": names(400)},
            {"resource": "repo", "collection": names(800)},
            {"resource": "repo", "collection": ["com.example.calendar.event"]},
        ]));
        assert_eq!(set.permissions.len(), 2);
        assert!(set.memory_bytes() < 100_000);
    }

    #[test]
    fn other_lexicons_are_refused() {
        let asked = Nsid::parse("com.example.authBasic").unwrap();
        let parse = |json: &str| PermissionSet::parse_for(&asked, json.as_bytes()).unwrap_err();
        let other =
            parse(r#"{"id":"com.evil.authBasic","defs":{"main":{"type":"permission-set"}}}"#);
        assert!(
            matches!(other, PermissionSetError::OtherId { .. }),
            "{other}"
        );
        let record = parse(r#"{"id":"com.example.authBasic","defs":{"main":{"type":"record"}}}"#);
        assert!(
            matches!(record, PermissionSetError::NotAPermissionSet),
            "{record}"
        );
        assert!(matches!(parse("{}"), PermissionSetError::Json(_)));
        assert!(matches!(
            parse(&" ".repeat(MAX_BYTES + 1)),
            PermissionSetError::TooLarge
        ));
    }
}
