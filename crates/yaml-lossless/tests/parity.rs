//! The edits of Pulumi's files against the best public editor, `yaml-edit`: which of them it makes
//! without changing another byte, and which not. The day a release catches up, a row of this table
//! is wrong, and the question whether this crate is still needed comes up by itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr as _;

use yaml_edit::path::YamlPath as _;
use yaml_lossless::{Change, Document, Segment, Tree};

/// What `yaml-edit` makes of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theirs {
    /// The same bytes.
    Same,
    /// Other bytes, or another value.
    Differs,
    /// An error, a panic, or no change at all.
    Refuses,
}

struct Edit {
    name: &'static str,
    before: &'static str,
    /// Keys and indices, separated by `/`.
    path: &'static str,
    /// None removes.
    value: Option<&'static str>,
    after: &'static str,
    theirs: Theirs,
}

const EDITS: &[Edit] = &[
    Edit {
        name: "text in quotes keeps its quotes",
        before: "a: 'v1' # tag\n",
        path: "a",
        value: Some("v2"),
        after: "a: 'v2' # tag\n",
        theirs: Theirs::Differs,
    },
    Edit {
        name: "plain text stays plain",
        before: "a: v1 # tag\nb: 1\n",
        path: "a",
        value: Some("v2"),
        after: "a: v2 # tag\nb: 1\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "text that Go takes for a date is quoted",
        before: "a: v1\n",
        path: "a",
        value: Some("2024-01-01"),
        after: "a: \"2024-01-01\"\n",
        theirs: Theirs::Differs,
    },
    Edit {
        name: "text that is a number is quoted",
        before: "a: v1\n",
        path: "a",
        value: Some("1.10"),
        after: "a: \"1.10\"\n",
        theirs: Theirs::Differs,
    },
    Edit {
        name: "text that Go takes for an octal number is quoted",
        before: "a: v1\n",
        path: "a",
        value: Some("017"),
        after: "a: \"017\"\n",
        theirs: Theirs::Differs,
    },
    Edit {
        name: "text that Go takes for a number with underscores is quoted",
        before: "a: v1\n",
        path: "a",
        value: Some("1_000"),
        after: "a: \"1_000\"\n",
        theirs: Theirs::Differs,
    },
    Edit {
        name: "text of several lines is a block",
        before: "a: v1\nb: 1\n",
        path: "a",
        value: Some("x\ny\n"),
        after: "a: |\n  x\n  y\nb: 1\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "a new key has the indentation of its map",
        before: "config:\n    aip:a: x # c\n    aip:b: y\nlast: 1\n",
        path: "config/aip:c",
        value: Some("z"),
        after: "config:\n    aip:a: x # c\n    aip:b: y\n    aip:c: z\nlast: 1\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "missing maps are made",
        before: "config:\n  aip:a: x\n",
        path: "config/aip:b/c",
        value: Some("z"),
        after: "config:\n  aip:a: x\n  aip:b:\n    c: z\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "the first key of an empty file",
        before: "",
        path: "config/a",
        value: Some("b"),
        after: "config:\n  a: b\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "the first key of a file of comments",
        before: "# head\n",
        path: "config/a",
        value: Some("b"),
        after: "# head\nconfig:\n  a: b\n",
        theirs: Theirs::Refuses,
    },
    Edit {
        name: "a key goes with its comment",
        before: "a: 1\nb: 2 # c\nd: 3\n",
        path: "b",
        value: None,
        after: "a: 1\nd: 3\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "the last key leaves an empty map",
        before: "a: # c\n  b: 1 # d\nd: 2\n",
        path: "a/b",
        value: None,
        after: "a: {} # c\nd: 2\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "an item of a list is replaced",
        before: "l:\n- a # first\n- b\n",
        path: "l/0",
        value: Some("z"),
        after: "l:\n- z # first\n- b\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "an item is appended to a list",
        before: "l:\n- a\n- b\nlast: 1\n",
        path: "l/2",
        value: Some("c"),
        after: "l:\n- a\n- b\n- c\nlast: 1\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "an item of a list is removed",
        before: "l:\n- a # first\n- b\n",
        path: "l/0",
        value: None,
        after: "l:\n- b\n",
        theirs: Theirs::Refuses,
    },
    Edit {
        name: "a block of text gives way to one line",
        before: "a: |\n  {\n    \"b\": 1\n  }\nlast: 1\n",
        path: "a",
        value: Some("x"),
        after: "a: x\nlast: 1\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "brackets are edited inside the brackets",
        before: "a: {x: 1, y: [a, b]} # f\n",
        path: "a/x",
        value: Some("z"),
        after: "a: {x: z, y: [a, b]} # f\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "a comma in brackets is quoted",
        before: "a: {x: 1}\n",
        path: "a/x",
        value: Some("b, c"),
        after: "a: {x: 'b, c'}\n",
        theirs: Theirs::Differs,
    },
    Edit {
        name: "a key in brackets goes with its comma",
        before: "a: {x: 1, y: 2}\n",
        path: "a/x",
        value: None,
        after: "a: {y: 2}\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "Windows line ends stay",
        before: "a: 1\r\nb:\r\n  c: 2\r\n",
        path: "b/d",
        value: Some("x"),
        after: "a: 1\r\nb:\r\n  c: 2\r\n  d: x\r\n",
        theirs: Theirs::Same,
    },
    Edit {
        name: "a tab may separate a value from its key",
        before: "config:\n  a:\tx\n  b: y\n",
        path: "config/a",
        value: Some("z"),
        after: "config:\n  a:\tz\n  b: y\n",
        theirs: Theirs::Same,
    },
];

fn ours(edit: &Edit) -> String {
    let path: Vec<Segment> = edit
        .path
        .split('/')
        .map(|step| {
            step.parse()
                .map_or_else(|_| Segment::Key(step.to_owned()), Segment::Index)
        })
        .collect();
    let change = match edit.value {
        Some(text) => Change::Set(Tree::String(text.to_owned())),
        None => Change::Remove,
    };
    let mut document = Document::parse(edit.before).unwrap();
    document
        .edit(&path, &change)
        .unwrap_or_else(|error| panic!("{}: {error}", edit.name));
    document.text().to_owned()
}

fn theirs(edit: &Edit) -> Theirs {
    let path = edit.path.split('/').fold(String::new(), |path, step| {
        if step.parse::<usize>().is_ok() {
            format!("{path}[{step}]")
        } else if path.is_empty() {
            step.to_owned()
        } else {
            format!("{path}.{step}")
        }
    });
    let edited = catch_unwind(AssertUnwindSafe(|| {
        let document = yaml_edit::Document::from_str(edit.before).ok()?;
        match edit.value {
            Some(text) => document.try_set_path(&path, text).ok()?,
            None => drop(document.try_remove_path(&path).ok()?),
        }
        Some(document.to_string())
    }));
    match edited {
        Ok(Some(text)) if text == edit.after => Theirs::Same,
        Ok(Some(text)) if text != edit.before => Theirs::Differs,
        _ => Theirs::Refuses,
    }
}

#[test]
fn this_editor_changes_what_it_is_asked_to_change_and_no_other_byte() {
    for edit in EDITS {
        assert_eq!(ours(edit), edit.after, "{}", edit.name);
    }
}

#[test]
fn what_yaml_edit_cannot_do_is_why_this_crate_exists() {
    let changed: Vec<String> = EDITS
        .iter()
        .map(|edit| (edit, theirs(edit)))
        .filter(|(edit, theirs)| edit.theirs != *theirs)
        .map(|(edit, theirs)| format!("{}: {:?}, was {:?}", edit.name, theirs, edit.theirs))
        .collect();
    assert!(
        changed.is_empty(),
        "yaml-edit does these edits otherwise than it did; if `Same` is all that is left in the table, use it \
         instead of this crate:\n{}",
        changed.join("\n")
    );
}
