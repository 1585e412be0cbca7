//! Pushing the image to a real registry (`distribution`, built from its Go module).

use std::path::Path;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::manifest::OciManifest;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use packaging::{Service, free_port, image, registry};
use release::image::{Contents, Layout, Registry, push, write};
use release::origin::Origin;
use release::program::Program;
use tempfile::TempDir;
use tokio::process::Command;

/// The user `aip` with the password `correct-horse`, by bcrypt, which is all that the registry takes.
const PASSWORDS: &str = "aip:$2b$05$KZkkohYbtuzQp0VOp6oDledAPj6J4.SWY6Y9dvmq8wwKHt2FEHn6O\n";

pub(crate) async fn registry_below(folder: &Path, port: u16, passwords: bool) -> Service {
    let access = if passwords {
        let file = folder.join("passwords");
        std::fs::write(&file, PASSWORDS).unwrap();
        format!(
            "auth:\n  htpasswd:\n    realm: aip\n    path: {}\n",
            file.display()
        )
    } else {
        String::new()
    };
    let config = format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: 127.0.0.1:{port}\n{access}",
        folder.join("images").display()
    );
    let file = folder.join("registry.yaml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(registry());
    command.arg("serve").arg(file).env_clear();
    Service::start(command, &folder.join("registry.log"), port).await
}

pub(crate) fn plain(user: Option<(&str, &str)>) -> Registry {
    Registry {
        plain_http: true,
        user: user.map(|(user, password)| (user.to_owned(), password.to_owned().into())),
    }
}

fn client() -> Client {
    Client::new(ClientConfig {
        protocol: ClientProtocol::Http,
        ..ClientConfig::default()
    })
}

#[tokio::test]
async fn what_is_pulled_is_what_was_written_with_its_bill_of_materials() {
    let folder = TempDir::new().unwrap();
    let layout = folder.path().join("layout");
    let program = packaging::unpacked_image().root.join("usr/bin/aip");
    let origin = Origin::of_this_commit("0.1.0".to_owned(), Some(1)).unwrap();
    let contents = Contents {
        programs: &[Program::read(&program).unwrap()],
        sbom: Some(b"{\"bomFormat\": \"CycloneDX\"}"),
        origin: &origin,
    };
    let digest = write(&layout, &contents).unwrap();
    let layout = Layout::open(&layout).unwrap();
    let port = free_port();
    let _registry = registry_below(folder.path(), port, false).await;
    let reference = format!("127.0.0.1:{port}/operators/aip:v0.1.0");
    // Once more: everything is there already.
    for _ in 0..2 {
        let pushed = push(&layout, &reference, &plain(None)).await.unwrap();
        assert_eq!(pushed.digest, digest);
        assert!(pushed.warnings.is_empty(), "{:?}", pushed.warnings);
    }

    let (client, anonymous) = (client(), RegistryAuth::Anonymous);
    let reference: Reference = reference.parse().unwrap();
    let (manifest, found) = client.pull_manifest(&reference, &anonymous).await.unwrap();
    assert_eq!(found, digest);
    let OciManifest::ImageIndex(index) = manifest else {
        panic!("no index: {manifest:?}")
    };
    let by_digest = reference.clone_with_digest(index.manifests[0].digest.clone());
    let (manifest, _) = client.pull_manifest(&by_digest, &anonymous).await.unwrap();
    let OciManifest::Image(manifest) = manifest else {
        panic!("no image: {manifest:?}")
    };
    let mut layer = Vec::new();
    client
        .pull_blob(&reference, &manifest.layers[0], &mut layer)
        .await
        .unwrap();
    assert_eq!(i64::try_from(layer.len()).unwrap(), manifest.layers[0].size);
    let referrers = client
        .pull_referrers(&by_digest, Some("application/vnd.cyclonedx+json"))
        .await
        .unwrap();
    assert_eq!(referrers.manifests.len(), 1);
}

#[tokio::test]
async fn a_registry_that_refuses_says_so_and_what_to_do() {
    let folder = TempDir::new().unwrap();
    let port = free_port();
    let _registry = registry_below(folder.path(), port, true).await;
    let layout = Layout::open(&image()).unwrap();
    let reference = format!("127.0.0.1:{port}/operators/aip:v0.1.0");
    for nobody in [None, Some(("aip", "wrong"))] {
        let refused = push(&layout, &reference, &plain(nobody)).await.unwrap_err();
        let said = format!("{refused:#}");
        assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    }
    let somebody = plain(Some(("aip", "correct-horse")));
    push(&layout, &reference, &somebody).await.unwrap();

    let nowhere = format!("127.0.0.1:{}/operators/aip:v0.1.0", free_port());
    push(&layout, &nowhere, &plain(None)).await.unwrap_err();
    let refused = push(&layout, "not a reference", &plain(None))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("REGISTRY/REPOSITORY:TAG"));
}
