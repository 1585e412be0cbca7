//! Every `fix:` line fixes: it is run in a shell as it stands, then the problem is gone and nothing
//! else of the file has changed.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use aip_stack::config::{ConfigInput, Remedy, SecretsAccess, resolve};
use pulumi_files::{Project, StackFile};
pub(crate) use rows::complete;
use rows::{KEYS, MASTER_KEYS, Row, rows};
use yaml_lossless::{Content, Node};

use crate::test_project::{PASSPHRASE, STACK, TestProject};

/// Every single value by its path.
fn leaves(text: &str) -> BTreeMap<String, String> {
    fn collect(node: &Node, path: &str, found: &mut BTreeMap<String, String>) {
        match &node.content {
            Content::Scalar(scalar) => {
                found.insert(
                    path.to_owned(),
                    format!("{:?} {}", scalar.kind, scalar.text),
                );
            }
            Content::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    collect(item, &format!("{path}/{index}"), found);
                }
            }
            Content::Map(_) => {
                for (name, value) in node.entries() {
                    collect(value, &format!("{path}/{name}"), found);
                }
            }
        }
    }
    let file = StackFile::parse(Path::new("Pulumi.main.yaml"), text.to_owned(), "aip").unwrap();
    let mut found = BTreeMap::new();
    collect(file.root(), "", &mut found);
    found
}

/// The fixes of a kind for a text, as the library writes them.
fn offered(project: &TestProject, row: &Row) -> Vec<String> {
    let file = StackFile::parse(Path::new("Pulumi.main.yaml"), row.text.clone(), "aip").unwrap();
    let read = resolve(ConfigInput {
        file: &file,
        project: &Project::find(project.folder.path()).unwrap(),
        stack: &"main".parse().unwrap(),
        secrets: SecretsAccess::Placeholder,
        now: aip_base::Clock::now(&aip_base::SystemClock),
    });
    let problems = read.err().map(|problems| problems.0).unwrap_or_default();
    let fixes = problems.into_iter().filter_map(|problem| problem.fix);
    fixes
        .filter(|fix| fix.remedy == row.remedy)
        .map(|fix| fix.to_string())
        .collect()
}

/// The complaint and the command of the first problem that a kind of fix is for.
fn complaint(said: &str, row: &Row, offered: &[String]) -> (String, String) {
    let lines: Vec<&str> = said.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        if let Some(fix) = line.strip_prefix("    fix: ")
            && (offered.iter().any(|known| known == fix) || row.remedy == Remedy::Reencrypt)
        {
            let problem = lines[number - 1];
            let problem = problem.strip_prefix("error: ").unwrap_or(problem);
            let (_, what) = problem.split_once(": ").unwrap();
            return (what.to_owned(), fix.to_owned());
        }
        // A note has its command between backticks.
        if let Some(at) = line.find("`aip-deploy ")
            && line.starts_with("note: ")
            && (row.remedy == Remedy::Encrypt && line.contains("in plain text")
                || row.remedy == Remedy::Proxies && line.contains("trusted_proxies is not set"))
        {
            let fix = line[at + 1..].split('`').next().unwrap();
            return ((*line).to_owned(), fix.to_owned());
        }
    }
    panic!(
        "no fix of the kind {:?} in\n{said}\n{}",
        row.remedy, row.text
    )
}

fn shell(project: &TestProject, command: &str, answer: &str) -> (i32, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_aip-deploy"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir(project.folder.path())
        .env_clear()
        .env("PATH", path)
        .env("HOME", project.folder.path())
        .env("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads no input may have ended already.
    let _ = std::io::Write::write_all(&mut stdin, answer.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), said)
}

#[test]
fn every_fix_fixes_its_problem_and_changes_nothing_else() {
    let project = TestProject::new();
    std::fs::write(project.folder.path().join("keys.json"), KEYS).unwrap();
    std::fs::write(project.folder.path().join("master-keys.json"), MASTER_KEYS).unwrap();
    let issued = rcgen::generate_simple_self_signed(["auth.example.com".to_owned()]).unwrap();
    std::fs::write(project.folder.path().join("tls.crt"), issued.cert.pem()).unwrap();
    let key = issued.signing_key.serialize_pem();
    std::fs::write(project.folder.path().join("tls.key"), key).unwrap();
    std::fs::write(project.file("main"), complete()).unwrap();
    project.run(&["config", "check"]).ok();

    let mut tried = BTreeSet::new();
    for row in rows() {
        tried.insert(row.remedy);
        std::fs::write(project.file("main"), &row.text).unwrap();
        let before = project.run(&["config", "check"]).err;
        let (what, fix) = complaint(&before, &row, &offered(&project, &row));
        let (code, said) = shell(&project, &fix, row.answer);
        assert_eq!(code, 0, "{fix}\n{said}\n{}", row.text);
        let after = project.run(&["config", "check"]).err;
        assert!(!after.contains(&what), "still: {what}\n{fix}\n{after}");
        let now = project.text("main");
        let (old, new) = (leaves(&row.text), leaves(&now));
        let differing = old
            .iter()
            .chain(&new)
            .filter(|(path, value)| old.get(*path) != Some(value) || new.get(*path) != Some(value));
        for (path, _) in differing {
            assert!(path.contains(row.changes), "{fix}\nchanged {path}:\n{now}");
        }
        assert_eq!(
            now.matches("# kept").count(),
            row.text.matches("# kept").count(),
            "{fix}\n{now}"
        );
    }
    let all: BTreeSet<Remedy> = Remedy::ALL.iter().copied().collect();
    assert_eq!(tried, all, "each kind of fix has a row");
}

#[test]
fn a_fix_names_the_file_that_was_checked() {
    let project = TestProject::new();
    let broken = complete().replace("image_tag: v0.1.1", "image_tag: 1.10");
    std::fs::write(project.file("dev"), &broken).unwrap();
    std::fs::write(project.folder.path().join("it's mine.yaml"), &broken).unwrap();
    for (flags, file) in [
        (&["--stack=dev"][..], "Pulumi.dev.yaml"),
        (
            &["--stack=main", "--config-file=it's mine.yaml"],
            "it's mine.yaml",
        ),
    ] {
        let check = [flags, &["config", "check"]].concat();
        let said = project.run(&check).fails(2, "quote it").err;
        let fix = said.lines().find_map(|line| line.strip_prefix("    fix: "));
        let (code, said) = shell(&project, fix.unwrap(), "");
        assert_eq!(code, 0, "{said}");
        project.run(&check).ok();
        let now = std::fs::read_to_string(project.folder.path().join(file)).unwrap();
        assert_eq!(now, broken.replace("1.10", "\"1.10\""));
        assert_eq!(
            project.text("main"),
            STACK,
            "the selected stack is another one"
        );
    }
}

#[test]
fn a_value_that_no_command_changes_has_no_fix() {
    let project = TestProject::new();
    for (lines, what) in [
        (
            "x: &x {A: 5}\n    extra_env: *x\n",
            "aip_config.extra_env.A: must be a string",
        ),
        (
            "extra_env: {\"A\\e[2J\": 5}\n",
            "aip_config.extra_env[\"A\\u{1b}[2J\"]: must be a string",
        ),
    ] {
        std::fs::write(project.file("main"), format!("{}    {lines}", complete())).unwrap();
        let said = project.run(&["config", "check"]).fails(2, what).err;
        let at = said.lines().position(|line| line.contains(what)).unwrap();
        let next = said.lines().nth(at + 1).unwrap_or_default();
        assert!(!next.contains("fix: "), "{said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
}
