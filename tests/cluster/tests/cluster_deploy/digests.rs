//! The tag of the image becomes a digest, asked of a real registry (`distribution`, built from its Go
//! module): pinned, noticed when it moves, kept while the registry is away, refused when it is missing.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use cluster::{eventually, registry_program};
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::test_project::{TestProject, server};

/// The user `aip` with the password `correct-horse`, by bcrypt, which is all that the registry takes.
const PASSWORDS: &str = "aip:$2b$05$KZkkohYbtuzQp0VOp6oDledAPj6J4.SWY6Y9dvmq8wwKHt2FEHn6O\n";
const LOGIN: (&str, &str) = ("aip", "correct-horse");
/// [`LOGIN`] as `docker login` keeps it.
const BASIC: &str = "YWlwOmNvcnJlY3QtaG9yc2U=";

/// A registry on loopback, ended with the test.
struct Registry {
    address: String,
    folder: TempDir,
    process: Child,
}

impl Registry {
    async fn start(wants_login: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let passwords = folder.path().join("passwords");
        std::fs::write(&passwords, PASSWORDS).unwrap();
        let access = if wants_login {
            let path = passwords.display();
            format!("auth: {{htpasswd: {{realm: aip, path: {path}}}}}\n")
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \
             \"{address}\"}}\n{access}",
            folder.path().join("images").display()
        );
        std::fs::write(folder.path().join("registry.yaml"), config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(registry_program())
            .arg("serve")
            .arg(folder.path().join("registry.yaml"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let registry = Self {
            address,
            folder,
            process,
        };
        eventually("the registry listens", async || {
            let connected = tokio::net::TcpStream::connect(&registry.address).await;
            connected.map(drop).map_err(|error| {
                let log = std::fs::read_to_string(registry.folder.path().join("log"));
                format!("{error}: {log:?}")
            })
        })
        .await;
        registry
    }

    /// Pushes an image with this content; the digest of its manifest.
    async fn push(&self, image: &str, content: &str) -> String {
        let config = ClientConfig {
            protocol: ClientProtocol::Http,
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).unwrap();
        let reference: Reference = image.parse().unwrap();
        let auth = RegistryAuth::Basic(LOGIN.0.to_owned(), LOGIN.1.to_owned());
        let layer = ImageLayer::oci_v1(content.as_bytes().to_vec(), None);
        let config = Config::oci_v1(b"{}".to_vec(), None);
        client
            .push(&reference, &[layer], config, &auth, None)
            .await
            .unwrap();
        client
            .fetch_manifest_digest(&reference, &auth)
            .await
            .unwrap()
    }

    async fn stop(&mut self) {
        self.process.kill().await.unwrap();
    }
}

/// A stack whose image is in the registry.
async fn project(stack: &str, registry: &Registry) -> (TestProject, String) {
    let project = TestProject::new(stack).await;
    let image = format!("{}/team/{stack}:v1", registry.address);
    project.edit(&project.image("v1"), &image);
    project.edit("image_digest: \"off\"", "image_digest: resolve");
    (project, image)
}

async fn deployed(project: &TestProject) -> String {
    let live = project.deployment().await;
    let image = &live.data["spec"]["template"]["spec"]["containers"][0]["image"];
    image.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_pinned_to_the_digest_of_the_tag_and_a_tag_that_moved_is_a_change() {
    let mut registry = Registry::start(false).await;
    let (project, image) = project("digest", &registry).await;
    let first = registry.push(&image, "one").await;
    let pinned = format!("{image}@{first}");
    project.push_reference(&pinned, server());
    project
        .run(&["preview"])
        .await
        .exits(0)
        .says(&format!("Image:\n    {pinned}\n"))
        .does_not_say("moved:");
    project
        .up()
        .await
        .exits(0)
        .says(&format!(", {pinned}"))
        .says("ReplicaSet aip-");
    assert_eq!(deployed(&project).await, pinned);
    let unchanged = ["preview", "--expect-no-changes"];
    project.run(&unchanged).await.exits(0);
    project.run(&["drift"]).await.exits(0);

    let second = registry.push(&image, "two").await;
    assert_ne!(first, second);
    let moved = format!("{image}@{second}");
    project.push_reference(&moved, server());
    project.run(&unchanged).await.exits(7).says(&format!(
        "Image:\n    {moved}\n    moved: the tag was {first}"
    ));
    let json = project.run(&["preview", "--json"]).await.exits(0).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["image"]["movedFrom"], first);
    // What was deployed last is what drift is compared with, whatever the tag means now.
    project.run(&["drift"]).await.exits(0);
    project.up().await.exits(0);
    assert_eq!(deployed(&project).await, moved);
    project
        .run(&["stack", "history"])
        .await
        .says(&format!("image: {pinned}"))
        .says(&format!("image: {moved}"));

    // A rollback goes back to the image, not to the tag.
    project
        .run(&["rollback", "--yes", "--timeout", "120"])
        .await
        .exits(0);
    assert_eq!(deployed(&project).await, pinned);

    // A registry that is away changes nothing.
    registry.stop().await;
    project
        .run(&unchanged)
        .await
        .exits(0)
        .says("cannot be reached")
        .says(&format!("it stays {first}, as it was deployed last"));
    project.edit("image_digest: resolve", "image_digest: \"off\"");
    project
        .run(&unchanged)
        .await
        .exits(7)
        .does_not_say("Image:");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_exist_is_refused_before_anything_is_changed() {
    let registry = Registry::start(false).await;
    let (project, image) = project("noimage", &registry).await;
    let says = format!(
        "aip_config.image_slug: the registry has no {image} (manifest unknown): push it, or name another one: \
         aip-deploy config set --path aip_config.image_slug"
    );
    registry.push(&image.replace(":v1", ":v0"), "zero").await;
    for command in [&["preview"][..], &["up", "--yes"]] {
        project.run(command).await.exits(2).says(&says);
    }
    assert_eq!(project.versions().await, []);
    registry.push(&image, "one").await;
    project.run(&["preview"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_or_hangs_delays_a_deployment_and_does_not_stop_it() {
    let registry = Registry::start(true).await;
    let (project, image) = project("nologin", &registry).await;
    let digest = registry.push(&image, "one").await;
    let unpinned = format!("the digest of {image} is not known");
    project
        .run(&["preview"])
        .await
        .exits(0)
        .says(&unpinned)
        .says(&format!(
            "{0} refuses to say it: `docker login {0}` keeps credentials",
            registry.address
        ));
    let docker = project.home().join(".docker");
    std::fs::create_dir(&docker).unwrap();
    let login = |basic: &str| {
        let config = format!(
            r#"{{"auths": {{"{}": {{"auth": "{basic}"}}}}}}"#,
            registry.address
        );
        std::fs::write(docker.join("config.json"), config).unwrap();
    };
    // "aip:wrong"
    login("YWlwOndyb25n");
    project
        .run(&["preview"])
        .await
        .exits(0)
        .says("refuses to say it");
    login(BASIC);
    project
        .run(&["preview"])
        .await
        .exits(0)
        .says(&format!("{image}@{digest}"))
        .does_not_say("correct-horse");

    // It accepts, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent
        .local_addr()
        .map(|address| (address, silent))
        .unwrap();
    let hanging = image.replace(&registry.address, &silent.0.to_string());
    project.edit(&image, &hanging);
    project.push_reference(&hanging, server());
    let up = tokio::time::timeout(Duration::from_mins(4), project.up());
    up.await
        .unwrap()
        .exits(0)
        .says("did not answer within 5 s")
        .says("Pods have the tag as it is");
    assert_eq!(deployed(&project).await, hanging);
}
