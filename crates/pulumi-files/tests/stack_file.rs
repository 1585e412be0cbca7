//! A stack file as Pulumi wrote it: read, edited, encrypted again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::path::Path;

use common::{keyring, passphrase};
use pulumi_files::{ConfigPath, Encryption, StackFile, StackFileError};
use secrecy::{ExposeSecret as _, SecretString};
use yaml_lossless::Tree;

/// Written by Pulumi 3.260; every value in it is invented.
const RECORDED: &str = include_str!("fixtures/Pulumi.main.yaml");

fn parse(text: &str) -> Result<StackFile, StackFileError> {
    StackFile::parse(Path::new("Pulumi.main.yaml"), text.to_owned(), "aip")
}

fn path(text: &str) -> ConfigPath {
    ConfigPath::parse(text, "aip").unwrap()
}

fn text(value: &str) -> Tree {
    Tree::String(value.to_owned())
}

#[tokio::test]
async fn every_value_that_pulumi_encrypted_is_decrypted() {
    let file = parse(RECORDED).unwrap();
    let crypter = keyring(passphrase("fixture passphrase"))
        .open(&file.encryption())
        .await
        .unwrap();
    assert_eq!(file.secrets().len(), 5);
    for secret in file.secrets() {
        crypter
            .decrypt(&secret.ciphertext)
            .unwrap_or_else(|e| panic!("line {}: {e}", secret.line));
    }
    let database = file
        .at(&path("aip_config.required_env.DATABASE_URL"))
        .unwrap();
    let database = crypter.decrypt(database.secret().unwrap()).unwrap();
    assert!(
        database
            .expose_secret()
            .starts_with("postgresql+asyncpg://")
    );
}

#[test]
fn setting_the_tag_changes_the_tag() {
    let mut file = parse(RECORDED).unwrap();
    file.set(&path("aip_config.image_tag"), text("v0.1.2"))
        .unwrap();
    assert_eq!(file.text(), RECORDED.replace("v0.1.1", "v0.1.2"));
    file.set(&path("aip_config.image_tag"), text("1.10"))
        .unwrap();
    assert_eq!(file.text(), RECORDED.replace("v0.1.1", "\"1.10\""));
}

#[tokio::test]
async fn a_new_passphrase_opens_every_value_and_leaves_the_rest_of_the_file_alone() {
    let mut file = parse(RECORDED).unwrap();
    let keys = keyring(passphrase("fixture passphrase"));
    let count = keys
        .change_provider(&mut file, "passphrase", Some(SecretString::from("new")))
        .await
        .unwrap();
    assert_eq!(count, 5);
    let crypter = keyring(passphrase("new"))
        .open(&file.encryption())
        .await
        .unwrap();
    for secret in file.secrets() {
        crypter.decrypt(&secret.ciphertext).unwrap();
    }
    let without_ciphertexts = |text: &str| {
        text.lines()
            .map(|line| line.split("v1:").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        without_ciphertexts(file.text()),
        without_ciphertexts(RECORDED)
    );
}

#[tokio::test]
async fn one_value_that_does_not_decrypt_keeps_the_whole_file_as_it_was() {
    let damaged = RECORDED.replace("4/XEQZsq", "5/XEQZsq");
    let mut file = parse(&damaged).unwrap();
    let keys = keyring(passphrase("fixture passphrase"));
    let error = keys
        .change_provider(&mut file, "passphrase", Some(SecretString::from("new")))
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("line 23: "), "{error}");
    assert_eq!(file.text(), damaged);
}

#[tokio::test]
async fn a_file_without_secrets_needs_no_passphrase_to_change_its_provider() {
    let mut file = parse("config:\n  aip:a: b\n").unwrap();
    let keys = keyring(passphrase("old"));
    keys.change_provider(&mut file, "passphrase", Some(SecretString::from("new")))
        .await
        .unwrap();
    assert!(
        keyring(passphrase("new"))
            .open(&file.encryption())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_stack_gets_its_salt_with_its_first_secret() {
    let mut file = parse("").unwrap();
    let keys = keyring(passphrase("p"));
    let crypter = keys.open_or_create(&mut file).await.unwrap();
    let ciphertext = crypter.encrypt("s3cret", keys.rng.as_ref()).unwrap();
    file.set(&path("aip_config.key"), Tree::secret(ciphertext))
        .unwrap();
    assert!(
        file.text().starts_with("encryptionsalt: v1:"),
        "{}",
        file.text()
    );
    assert!(!file.text().contains("s3cret"));
    let salt = file.encryption();
    keys.open_or_create(&mut file).await.unwrap();
    assert_eq!(file.encryption(), salt);
}

#[test]
fn keys_may_lack_the_namespace_or_have_the_old_form() {
    let mut file = parse("config:\n  dev_mode: true\n  aip:config:old: x\n  other:y: z\n").unwrap();
    assert!(file.at(&path("dev_mode")).is_some());
    file.set(&path("old"), text("new")).unwrap();
    file.set(&path("dev_mode"), text("false")).unwrap();
    file.set(&path("fresh"), text("f")).unwrap();
    let expected =
        "config:\n  dev_mode: \"false\"\n  aip:config:old: new\n  other:y: z\n  aip:fresh: f\n";
    assert_eq!(file.text(), expected);
}

#[test]
fn removing_values_leaves_no_empty_config_behind() {
    let mut file = parse("# c\nconfig:\n  aip:a: 1\n  aip:b:\n    c: 2\n").unwrap();
    assert!(file.remove(&path("b.c")).unwrap());
    assert_eq!(file.text(), "# c\nconfig:\n  aip:a: 1\n  aip:b: {}\n");
    assert!(!file.remove(&path("b.c")).unwrap());
    file.remove(&path("b")).unwrap();
    file.remove(&path("a")).unwrap();
    assert!(file.root().get("config").is_none(), "{}", file.text());
}

#[test]
fn a_single_value_gives_way_to_a_map_directly_under_its_key_only() {
    let mut file = parse("config:\n  aip:a: text\n  aip:b:\n    c: text\n").unwrap();
    file.set(&path("a.x"), text("z")).unwrap();
    assert_eq!(
        file.text(),
        "config:\n  aip:a:\n    x: z\n  aip:b:\n    c: text\n"
    );
    let error = file.set(&path("b.c.d"), text("z")).unwrap_err();
    assert!(error.to_string().contains("expected a map"), "{error}");
}

#[test]
fn bad_files_are_refused_with_file_and_line() {
    let table = [
        (
            "config:\n  a: 1\n  aip:a: 2\n",
            "Pulumi.main.yaml:3: `aip:a` and `a` are the same key",
        ),
        (
            "config:\n  a: 1\n  a: 2\n",
            "Pulumi.main.yaml:3: the key `a` is already on line 2",
        ),
        (
            "config:\n\ta: 1\n",
            "Pulumi.main.yaml:2: this line is indented with a tab",
        ),
        (
            "config: [a]\n",
            "Pulumi.main.yaml:1: `config` must be a map",
        ),
        ("- a\n", "Pulumi.main.yaml:1: a stack file must be a map"),
        (
            "config: {}\nenvironment:\n  - x\n",
            "Pulumi.main.yaml:3: `environment:`",
        ),
        (
            "config:\n  a:b:c: 1\n",
            "Pulumi.main.yaml:2: could not parse `a:b:c`",
        ),
    ];
    for (text, message) in table {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn a_save_writes_what_was_asked_for_unless_somebody_else_wrote_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("Pulumi.dev.yaml");
    let mut file = StackFile::load(&name, "aip").unwrap();
    file.save().unwrap();
    assert!(!name.exists(), "nothing to save");
    file.set(&path("a"), text("1")).unwrap();
    file.save().unwrap();
    assert_eq!(
        std::fs::read_to_string(&name).unwrap(),
        "config:\n  aip:a: \"1\"\n"
    );
    std::fs::write(&name, "config: {}\n").unwrap();
    file.set(&path("b"), text("2")).unwrap();
    assert!(matches!(
        file.save(),
        Err(StackFileError::ChangedMeanwhile { .. })
    ));
    assert_eq!(std::fs::read_to_string(&name).unwrap(), "config: {}\n");
}

#[test]
fn a_backup_takes_a_free_name_and_another_text_is_read_before_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("Pulumi.dev.yaml");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(
        StackFile::load(&name, "aip").unwrap().back_up().unwrap(),
        None
    );
    std::fs::write(&name, "config: {}\n").unwrap();
    let mut file = StackFile::load(&name, "aip").unwrap();
    for copy in ["Pulumi.dev.yaml.bak", "Pulumi.dev.yaml.bak.bak"] {
        assert_eq!(file.back_up().unwrap(), Some(folder.path().join(copy)));
        assert_eq!(read(copy), "config: {}\n");
    }
    assert!(file.replace_with("config:\n\ta: 1\n".to_owned()).is_err());
    assert!(!file.is_changed());
    file.replace_with("config:\n  aip:a: b\n".to_owned())
        .unwrap();
    file.save().unwrap();
    assert_eq!(read("Pulumi.dev.yaml"), "config:\n  aip:a: b\n");
}

#[test]
fn an_encryption_that_is_no_text_is_refused_and_not_overwritten() {
    for (text, message) in [
        (
            "encryptionsalt: {a: b}\nconfig: {}\n",
            "Pulumi.main.yaml:1: `encryptionsalt` must be a string",
        ),
        (
            "config: {}\nencryptionsalt: [v1:x]\n",
            "Pulumi.main.yaml:2: `encryptionsalt` must be a string",
        ),
        (
            "encryptedkey:\n  secure: v1:a:b\n",
            "Pulumi.main.yaml:2: `encryptedkey` must be a string",
        ),
        (
            "secretsprovider: 5\n",
            "Pulumi.main.yaml:1: `secretsprovider` must be a string",
        ),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    assert!(parse("encryptionsalt:\nconfig: {}\n").is_ok());
}

#[test]
fn a_secret_has_no_parts() {
    let text = "config:\n  aip:top:\n    secure: v1:a:b\n  aip:map:\n    inner: {secure: v1:c:d}\n";
    let mut file = parse(text).unwrap();
    for inside in ["top.secure", "map.inner.secure"] {
        assert!(file.at(&path(inside)).is_none(), "{inside}");
        assert!(file.remove(&path(inside)).is_err(), "{inside}");
    }
    assert_eq!(file.text(), text);
    assert!(file.at(&path("map.inner")).is_some());
}

#[test]
fn the_folder_of_the_stack_files_is_made_with_the_first_one() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("stacks/here/Pulumi.dev.yaml");
    let mut file = StackFile::load(&name, "aip").unwrap();
    file.set(&path("a"), text("b")).unwrap();
    file.save().unwrap();
    assert_eq!(
        std::fs::read_to_string(&name).unwrap(),
        "config:\n  aip:a: b\n"
    );
}

#[tokio::test]
async fn the_data_key_of_a_key_service_is_stored_wrapped_and_opens_under_its_own_url() {
    let keys = keyring(passphrase("unused"));
    let (crypter, encryption) = keys.create("awskms://alias/One", None).await.unwrap();
    let ciphertext = crypter.encrypt("s3cret", keys.rng.as_ref()).unwrap();
    let opened = keys.open(&encryption).await.unwrap();
    assert_eq!(
        opened.decrypt(&ciphertext).unwrap().expose_secret(),
        "s3cret"
    );
    let other = Encryption {
        provider: Some("awskms://alias/Two".to_owned()),
        ..encryption
    };
    let error = keys.open(&other).await.err().unwrap();
    assert_eq!(error.to_string(), "wrapped by another key");
    let unsupported = keys.create("gcpkms://projects/x", None).await;
    let error = unsupported.err().unwrap().to_string();
    assert!(
        error.contains("`gcpkms://projects/x` is not supported"),
        "{error}"
    );
}
