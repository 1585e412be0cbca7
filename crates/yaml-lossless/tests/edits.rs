//! Edits change what they are asked to change, and not one byte more.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use yaml_lossless::{Change, Document, Segment, Tree, TreeError};

fn path(text: &str) -> Vec<Segment> {
    text.split('/')
        .map(|s| {
            s.parse()
                .map_or_else(|_| Segment::Key(s.to_owned()), Segment::Index)
        })
        .collect()
}

fn text(value: &str) -> Change {
    Change::Set(Tree::String(value.to_owned()))
}

#[track_caller]
fn check(before: &str, at: &str, change: &Change, after: &str) {
    let mut document = Document::parse(before).unwrap();
    document
        .edit(&path(at), change)
        .unwrap_or_else(|e| panic!("{at} in {before:?}: {e}"));
    assert_eq!(document.text(), after);
}

const FILE: &str = "# head\nencryptionsalt: v1:x   # salt\n\nconfig:\n    # the cluster\n    aip:k8s_context: here # c1\n    aip:aip_config:\n        image_tag: 'v0.1.1'  # tag\n        version: 1.10\n        extra_env: # env\n            A: \"1\"\n\n            B: two\n        keys: |\n            {\n              \"a\": 1\n            }\n        list:\n        - a # first\n        - b\n        flow: {x: 1, y: [a, b]} # f\n    aip:nothing:\n# foot\n";

#[test]
fn a_scalar_is_replaced_in_its_quotes_and_its_comment_stays() {
    let after = FILE.replace("'v0.1.1'", "'v0.1.2'");
    check(
        FILE,
        "config/aip:aip_config/image_tag",
        &text("v0.1.2"),
        &after,
    );
}

#[test]
fn a_scalar_becomes_a_secret_and_a_secret_a_scalar() {
    let secret = Change::Set(Tree::secret("v1:a:b==".to_owned()));
    let after = FILE.replace(
        "aip:k8s_context: here # c1\n",
        "aip:k8s_context: # c1\n      secure: v1:a:b==\n",
    );
    check(FILE, "config/aip:k8s_context", &secret, &after);
    check(&after, "config/aip:k8s_context", &text("here"), FILE);
    let newer = Change::Set(Tree::secret("v1:c:d==".to_owned()));
    check(
        &after,
        "config/aip:k8s_context",
        &newer,
        &after.replace("a:b", "c:d"),
    );
}

#[test]
fn a_new_key_goes_behind_the_last_one_of_its_map_in_that_maps_indentation() {
    let after = FILE.replace(
        "            B: two\n",
        "            B: two\n            C: \"3\"\n",
    );
    check(
        FILE,
        "config/aip:aip_config/extra_env/C",
        &text("3"),
        &after,
    );
    let after = FILE.replace("    aip:nothing:\n", "    aip:nothing:\n    aip:new: x\n");
    check(FILE, "config/aip:new", &text("x"), &after);
    let after = FILE.replace(
        "    aip:nothing:\n",
        "    aip:nothing:\n      a:\n        b: x\n",
    );
    check(FILE, "config/aip:nothing/a/b", &text("x"), &after);
}

#[test]
fn lists_are_changed_appended_to_and_shortened() {
    let list = "config/aip:aip_config/list";
    check(
        FILE,
        &format!("{list}/0"),
        &text("z"),
        &FILE.replace("- a #", "- z #"),
    );
    check(
        FILE,
        &format!("{list}/2"),
        &text("c"),
        &FILE.replace("        - b\n", "        - b\n        - c\n"),
    );
    check(
        FILE,
        &format!("{list}/1"),
        &Change::Remove,
        &FILE.replace("        - b\n", ""),
    );
    check(
        FILE,
        &format!("{list}/0"),
        &Change::Remove,
        &FILE.replace("        - a # first\n", ""),
    );
    check(
        "l:\n  - a: 1\n    b: 2\n",
        "l/0/a",
        &Change::Remove,
        "l:\n  - b: 2\n",
    );
    check(
        "l:\n  - - a\n    - b\n",
        "l/0/0",
        &Change::Remove,
        "l:\n  - - b\n",
    );
}

#[test]
fn block_text_is_replaced_as_a_whole() {
    let block = "|\n            {\n              \"a\": 1\n            }\n";
    let after = FILE.replace(block, "x\n");
    check(FILE, "config/aip:aip_config/keys", &text("x"), &after);
    let after = FILE.replace(block, "|-\n          {\n          }\n");
    check(FILE, "config/aip:aip_config/keys", &text("{\n}"), &after);
}

#[test]
fn brackets_are_edited_inside_the_brackets() {
    let flow = "config/aip:aip_config/flow";
    check(
        FILE,
        &format!("{flow}/x"),
        &text("a, b"),
        &FILE.replace("x: 1", "x: 'a, b'"),
    );
    check(
        FILE,
        &format!("{flow}/z"),
        &text("m"),
        &FILE.replace("b]}", "b], z: m}"),
    );
    check(
        FILE,
        &format!("{flow}/y/0"),
        &Change::Remove,
        &FILE.replace("[a, b]", "[b]"),
    );
    check(
        FILE,
        &format!("{flow}/y/1"),
        &Change::Remove,
        &FILE.replace("[a, b]", "[a]"),
    );
    check(
        FILE,
        &format!("{flow}/x"),
        &Change::Remove,
        &FILE.replace("x: 1, ", ""),
    );
    check("a: {}\n", "a/b", &text("c"), "a:\n  b: c\n");
}

#[test]
fn removing_the_last_key_leaves_an_empty_map() {
    check(
        "a: # c\n  b: 1 # d\nd: 2\n",
        "a/b",
        &Change::Remove,
        "a: {} # c\nd: 2\n",
    );
    check("a:\n  - 1\n", "a/0", &Change::Remove, "a: []\n");
}

#[test]
fn an_empty_file_and_one_of_comments_get_their_first_key() {
    check("", "config/a", &text("1"), "config:\n  a: \"1\"\n");
    check("# c\n", "config/a", &text("b"), "# c\nconfig:\n  a: b\n");
    check("a: 1", "b", &text("c"), "a: 1\nb: c");
}

#[test]
fn windows_line_ends_and_json_stay_what_they_are() {
    check(
        "a: 1\r\nb:\r\n  c: 2\r\n",
        "b/d",
        &text("x"),
        "a: 1\r\nb:\r\n  c: 2\r\n  d: x\r\n",
    );
    let mut json = Document::parse("{\n  \"config\": {\"a\": \"b\"}\n}\n")
        .unwrap()
        .as_json();
    json.edit(&path("config/c"), &text("d")).unwrap();
    assert_eq!(
        json.text(),
        "{\n  \"config\": {\"a\": \"b\", \"c\": \"d\"}\n}\n"
    );
}

#[test]
fn what_an_alias_shares_is_not_changed_behind_the_others_back() {
    let shared = "base: &b\n  x: 1\nuse: *b\nmerge:\n  <<: *b\n  y: 2\n";
    let mut document = Document::parse(shared).unwrap();
    for at in ["use/x", "merge/x/deep"] {
        assert!(document.edit(&path(at), &text("9")).is_err(), "{at}");
    }
    assert!(document.edit(&path("merge/x"), &Change::Remove).is_err());
    assert_eq!(document.text(), shared);
    document.edit(&path("merge/x"), &text("9")).unwrap();
    assert_eq!(
        document.text(),
        shared.replace("  y: 2\n", "  y: 2\n  x: \"9\"\n")
    );
}

#[test]
fn a_plain_map_may_not_look_like_a_secret() {
    let mut document = Document::parse("a:\n  b: 1\n").unwrap();
    let error = document.edit(&path("c/secure"), &text("x")).unwrap_err();
    assert_eq!(error, TreeError::SecureIsReserved.into());
}

#[test]
fn a_file_that_was_emptied_is_filled_again_in_block_style() {
    for emptied in ["{}\n", "# head\n{}\n", "{ }\n", ""] {
        let after = emptied.trim_end_matches('\n');
        let after = after.trim_end_matches(['{', ' ', '}']);
        let after = format!("{after}config:\n  aip:a: b\n");
        let mut document = Document::parse(emptied).unwrap();
        document
            .edit(&path("config/aip:a"), &text("b"))
            .unwrap_or_else(|e| panic!("{emptied:?}: {e}"));
        assert_eq!(document.text().trim_end(), after.trim_end(), "{emptied:?}");
    }
    let mut document = Document::parse("config:\n  aip:a:\n    b: 1\n").unwrap();
    document
        .edit(&path("config/aip:a/b"), &Change::Remove)
        .unwrap();
    document.edit(&path("config/aip:a/c"), &text("x")).unwrap();
    assert_eq!(document.text(), "config:\n  aip:a:\n    c: x\n");
    document.edit(&path("config"), &Change::Remove).unwrap();
    document.edit(&path("config/aip:a"), &text("b")).unwrap();
    document.edit(&path("config/aip:c"), &text("d")).unwrap();
    assert_eq!(document.text(), "config:\n  aip:a: b\n  aip:c: d\n");
}

#[test]
fn the_last_own_key_of_a_map_that_merges_another_goes_and_the_merge_stays() {
    for (before, after) in [
        (
            "b: &b {x: 1}\nu:\n  <<: *b\n  y: 3 # c\nz: 1\n",
            "b: &b {x: 1}\nu:\n  <<: *b\nz: 1\n",
        ),
        (
            "b: &b {x: 1}\nu:\n  y: 3\n  <<: *b\n",
            "b: &b {x: 1}\nu:\n  <<: *b\n",
        ),
        (
            "b: &b {x: 1}\nu: {<<: *b, y: 3}\n",
            "b: &b {x: 1}\nu: {<<: *b}\n",
        ),
        (
            "b: &b {x: 1}\nu: {y: 3, <<: *b}\n",
            "b: &b {x: 1}\nu: {<<: *b}\n",
        ),
        (
            "b: &b {x: 1}\nu: {a: 1, <<: *b, y: 3}\n",
            "b: &b {x: 1}\nu: {a: 1, <<: *b}\n",
        ),
    ] {
        check(before, "u/y", &Change::Remove, after);
    }
}

#[test]
fn a_tab_may_separate_a_value_from_its_key() {
    for (before, after) in [
        ("config:\n  a:\tx\n  b: y\n", "config:\n  a:\tz\n  b: y\n"),
        ("config:\n  a: \tx \t# c\n", "config:\n  a: \tz \t# c\n"),
        (
            "config:\t\n  a:\t'x'\n  l:\n  -\t1\n",
            "config:\t\n  a:\t'z'\n  l:\n  -\t1\n",
        ),
        ("config: {a:\tx,\tb:\ty}\n", "config: {a:\tz,\tb:\ty}\n"),
    ] {
        check(before, "config/a", &text("z"), after);
    }
    let literal = "a: |\n  x:\ty\nb: \"p:\tq\"\nc: r\ts\n";
    let root = Document::parse(literal).unwrap();
    let read = |name: &str| {
        root.root()
            .get(name)
            .unwrap()
            .scalar()
            .unwrap()
            .text
            .clone()
    };
    assert_eq!(
        (read("a"), read("b"), read("c")),
        ("x:\ty\n".into(), "p:\tq".into(), "r\ts".into())
    );
    assert!(
        Document::parse("a:\n\tb: 1\n").is_err(),
        "a tab does not indent"
    );
}

#[test]
fn bytes_in_base64_are_read_as_the_text_they_are() {
    let document = Document::parse("a: !!binary aGVsbG8=\nb: !!binary |\n  aGVs\n  bG8=\nc: 1\n");
    let mut document = document.unwrap();
    for name in ["a", "b"] {
        assert_eq!(
            document.root().get(name).unwrap().scalar().unwrap().text,
            "hello"
        );
    }
    document.edit(&path("c"), &text("2")).unwrap();
    assert!(document.text().starts_with("a: !!binary aGVsbG8=\n"));
    let error = Document::parse("x: 1\na: !!binary '%'\n").unwrap_err();
    assert_eq!(
        (error.line(), error.to_string().as_str()),
        (2, "the value after !!binary is not base64")
    );
}

fn scalar_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9.:/@ #'\"-]{0,12}",
        "\\PC{0,8}",
        "[a-z \n]{0,20}",
        Just("true".to_owned()),
        Just("1.10".to_owned()),
        Just("2024-01-01".to_owned()),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        4 => scalar_text().prop_map(Tree::String),
        1 => Just(Tree::Plain("5".to_owned())),
        1 => Just(Tree::null()),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::List),
            prop::collection::btree_map("[a-z]{1,3}|[ -~]{1,5}", inner, 0..4).prop_map(Tree::Map),
        ]
    })
}

fn map() -> impl Strategy<Value = Tree> {
    prop::collection::btree_map("[a-c]", tree(), 0..4).prop_map(Tree::Map)
}

fn any_path() -> impl Strategy<Value = Vec<Segment>> {
    let segment = prop_oneof![
        3 => "[a-c]".prop_map(Segment::Key),
        1 => (0_usize..3).prop_map(Segment::Index),
    ];
    prop::collection::vec(segment, 1..4)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![3 => tree().prop_map(Change::Set), 1 => Just(Change::Remove)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_written_is_read_back(value in map()) {
        let mut document = Document::parse("").unwrap();
        document.edit(&[Segment::Key("config".into())], &Change::Set(value.clone())).unwrap();
        let again = Document::parse(document.text()).unwrap();
        prop_assert_eq!(again.root().to_tree(), Tree::Map(BTreeMap::from([("config".to_owned(), value)])));
    }

    #[test]
    fn edits_agree_with_the_model(start in map(), edits in prop::collection::vec((any_path(), change()), 1..6)) {
        let mut document = Document::parse("# keep\nlast: 1 # me\n").unwrap();
        let key = Segment::Key("config".into());
        document.edit(std::slice::from_ref(&key), &Change::Set(start)).unwrap();
        for (path, change) in edits {
            let path: Vec<_> = [key.clone()].into_iter().chain(path).collect();
            let model = document.root().to_tree().changed(&path, &change);
            let before = document.text().to_owned();
            match (document.edit(&path, &change), model) {
                (Ok(()), Ok(Some(expected))) => {
                    prop_assert_eq!(document.root().to_tree(), expected);
                    prop_assert!(document.text().starts_with("# keep\nlast: 1 # me\n"));
                }
                (Err(_), Err(_)) => prop_assert_eq!(document.text(), before),
                (edit, model) => prop_assert!(false, "{:?} {:?} {:?} in {}", edit, model, path, before),
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_or_the_editor_panic(
        lines in prop::collection::vec("[ \t]{0,3}(- |[a-c]: |\\? |&a |\\*a |<<: |! |\\||>|#|\\[|\\{|,|\\]|\\}|\"|')*[a-cé]{0,2}\r?", 0..8),
        path in any_path(),
        change in change(),
    ) {
        if let Ok(mut document) = Document::parse(lines.join("\n")) {
            let before = document.root().to_tree();
            if document.edit(&path, &change).is_err() {
                prop_assert_eq!(document.root().to_tree(), before);
            }
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_a_document(text in "\\PC{0,40}|[\\x00-\\x7f]{0,60}") {
        let _ = Document::parse(text);
    }
}
