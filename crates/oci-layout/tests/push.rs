//! What registries do with a push: users who may push and not read, refusals, registries that take no artifacts,
//! outages.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use oci_layout::{Layout, PushError, Pushed, Registry, push, sorted_json};
use oci_spec::image::{
    Descriptor, ImageIndex, ImageIndexBuilder, ImageManifestBuilder, MediaType, SCHEMA_VERSION,
};
use tempfile::TempDir;

/// What a rule says to a request: a status and a body in the place of the registry's own answer.
type Answer = (u16, &'static str);
const MISSING: &str = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
const DENIED: &str = r#"{"errors":[{"code":"DENIED","message":"pull access denied"}]}"#;

#[derive(Default)]
struct Held {
    /// Manifests by tag and by digest.
    manifests: BTreeMap<String, Vec<u8>>,
    /// Digests of blobs.
    blobs: Vec<String>,
}

/// A registry that takes everything, but for what its rule answers.
struct StubRegistry {
    address: String,
    held: Arc<Mutex<Held>>,
}

impl StubRegistry {
    /// The rule is asked with `METHOD /path`.
    fn start(rule: impl Fn(&str) -> Option<Answer> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let held = Arc::<Mutex<Held>>::default();
        let store = Arc::clone(&held);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let Some((line, body)) = read(&stream) else {
                    continue;
                };
                let (status, headers, content) = match rule(&line) {
                    Some((status, body)) => (status, String::new(), body.as_bytes().to_vec()),
                    None => answer(&store, &line, body),
                };
                let status_line = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
                    content.len()
                );
                // Whoever has read enough may be gone.
                let _ = (&stream).write_all(status_line.as_bytes());
                if !line.starts_with("HEAD") {
                    let _ = (&stream).write_all(&content);
                }
            }
        });
        Self { address, held }
    }

    async fn push(&self, layout: &Layout) -> Result<Pushed, PushError> {
        let registry = Registry {
            plain_http: true,
            user: Some(("robot".to_owned(), "word".to_owned().into())),
        };
        let reference = format!("{}/team/aip:v1", self.address);
        push(layout, &reference, &registry).await
    }

    fn manifest(&self, reference: &str) -> Option<Vec<u8>> {
        self.held.lock().unwrap().manifests.get(reference).cloned()
    }
}

fn read(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Some((line, body))
}

/// The distribution specification, as far as a push needs it.
fn answer(store: &Mutex<Held>, line: &str, body: Vec<u8>) -> (u16, String, Vec<u8>) {
    let mut held = store.lock().unwrap();
    let (method, path) = line.split_once(' ').unwrap();
    let (_, name) = path.rsplit_once('/').unwrap();
    let located = |location: &str| format!("location: {location}\r\n");
    match method {
        "GET" if path == "/v2/" => (200, String::new(), b"{}".to_vec()),
        "POST" => (202, located("/v2/team/aip/blobs/uploads/1"), Vec::new()),
        "PATCH" => {
            let range = format!("range: 0-{}\r\n", body.len().saturating_sub(1));
            (
                202,
                located("/v2/team/aip/blobs/uploads/1") + &range,
                Vec::new(),
            )
        }
        "PUT" if path.contains("/manifests/") => {
            let digest = format!("sha256:{}", oci_layout::hex(&body));
            held.manifests.insert(name.to_owned(), body.clone());
            held.manifests.insert(digest, body);
            (201, located(path), Vec::new())
        }
        "PUT" => {
            let (_, digest) = line.split_once("digest=").unwrap();
            held.blobs.push(digest.replace("%3A", ":"));
            (201, located(path), Vec::new())
        }
        "HEAD" if held.blobs.iter().any(|it| it == name) => (200, String::new(), Vec::new()),
        "GET" if held.manifests.contains_key(name) => {
            let kind = "content-type: application/vnd.oci.image.index.v1+json\r\n".to_owned();
            (200, kind, held.manifests.get(name).cloned().unwrap())
        }
        _ => (404, String::new(), MISSING.as_bytes().to_vec()),
    }
}

/// An image with a bill of materials.
struct Image {
    layout: Layout,
    index: Descriptor,
    bill: Descriptor,
    _folder: TempDir,
}

impl Image {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let layout = Layout::create(&folder.path().join("layout")).unwrap();
        let other = |kind: &str| MediaType::Other(kind.to_owned());
        let config = layout.add(MediaType::ImageConfig, b"{\"a\":1}").unwrap();
        let layer = layout.add(MediaType::ImageLayer, b"layer").unwrap();
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(vec![layer])
            .build()
            .unwrap();
        let manifest = sorted_json(&manifest).unwrap();
        let manifest = layout.add(MediaType::ImageManifest, &manifest).unwrap();
        let index_of = |entries: Vec<Descriptor>| {
            let index = ImageIndexBuilder::default().schema_version(SCHEMA_VERSION);
            index.manifests(entries).build().unwrap()
        };
        let index = sorted_json(&index_of(vec![manifest])).unwrap();
        let index = layout.add(MediaType::ImageIndex, &index).unwrap();
        let bill = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .artifact_type(other("application/vnd.cyclonedx+json"))
            .config(
                layout
                    .add(other("application/vnd.oci.empty.v1+json"), b"{}")
                    .unwrap(),
            )
            .layers(vec![
                layout
                    .add(other("application/vnd.cyclonedx+json"), b"bill")
                    .unwrap(),
            ])
            .subject(index.clone())
            .build()
            .unwrap();
        let bill = layout
            .add(MediaType::ImageManifest, &sorted_json(&bill).unwrap())
            .unwrap();
        let entries = vec![index.clone(), bill.clone()];
        layout.set_index(&index_of(entries)).unwrap();
        Self {
            layout,
            index,
            bill,
            _folder: folder,
        }
    }

    fn digest(&self) -> String {
        self.index.digest().to_string()
    }

    /// The tag under which the bill is listed.
    fn tag(&self) -> String {
        self.digest().replace(':', "-")
    }
}

#[tokio::test]
async fn the_bill_of_materials_is_listed_beside_what_others_have_listed() {
    let image = Image::new();
    let registry = StubRegistry::start(|_| None);
    let signature = r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":1}]}"#;
    let held = Arc::clone(&registry.held);
    held.lock()
        .unwrap()
        .manifests
        .insert(image.tag(), signature.as_bytes().to_vec());
    for _ in 0..2 {
        let pushed = registry.push(&image.layout).await.unwrap();
        assert_eq!(pushed.digest, image.digest());
        assert!(pushed.warnings.is_empty(), "{:?}", pushed.warnings);
    }
    let listed = registry.manifest(&image.tag()).unwrap();
    let listed: ImageIndex = serde_json::from_slice(&listed).unwrap();
    assert_eq!(listed.manifests().len(), 2, "{listed:?}");
    assert!(registry.manifest("v1").is_some());
}

#[tokio::test]
async fn who_may_push_and_not_read_has_pushed_the_image() {
    let image = Image::new();
    for (status, body) in [(401, ""), (403, DENIED), (403, "<html>nginx</html>")] {
        let registry = StubRegistry::start(move |line| {
            let reads = line.starts_with("HEAD") || line.starts_with("GET /v2/team");
            reads.then_some((status, body))
        });
        let pushed = registry.push(&image.layout).await.unwrap();
        assert_eq!(pushed.digest, image.digest(), "{status}");
        let [warning] = &*pushed.warnings else {
            panic!("{:?}", pushed.warnings)
        };
        assert!(
            warning.contains(&image.tag()) && warning.contains("cannot be read"),
            "{warning}"
        );
        // The list may name what others have put there.
        assert!(registry.manifest(&image.tag()).is_none());
        assert!(registry.manifest("v1").is_some());
        let bill = image.bill.digest().to_string();
        assert!(registry.manifest(&bill).is_some());
    }
}

#[tokio::test]
async fn a_registry_that_takes_no_bill_of_materials_has_the_image() {
    let image = Image::new();
    let bill = image.bill.digest().to_string();
    let tag = image.tag();
    for (status, body, refused) in [
        (
            400,
            r#"{"errors":[{"code":"MANIFEST_INVALID","message":"no artifacts"}]}"#,
            &bill,
        ),
        (
            405,
            r#"{"errors":[{"code":"UNSUPPORTED","message":"no artifacts"}]}"#,
            &bill,
        ),
        (415, "no artifacts", &bill),
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"no artifacts"}]}"#,
            &bill,
        ),
        // A rule for the names of tags, and tags that cannot be changed.
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"no artifacts"}]}"#,
            &tag,
        ),
        (
            400,
            r#"{"errors":[{"code":"TAG_INVALID","message":"no artifacts"}]}"#,
            &tag,
        ),
        (409, "no artifacts", &tag),
    ] {
        let path = format!("PUT /v2/team/aip/manifests/{refused}");
        let registry = StubRegistry::start(move |line| (line == path).then_some((status, body)));
        let pushed = registry.push(&image.layout).await.unwrap();
        assert_eq!(pushed.digest, image.digest(), "{status}");
        let [warning] = &*pushed.warnings else {
            panic!("{status}: {:?}", pushed.warnings)
        };
        assert!(warning.contains("no artifacts"), "{warning}");
        assert!(registry.manifest("v1").is_some());
    }
    // What is under the tag is something else, which is not replaced.
    let registry = StubRegistry::start(|_| None);
    let held = Arc::clone(&registry.held);
    held.lock()
        .unwrap()
        .manifests
        .insert(tag.clone(), b"{}".to_vec());
    let pushed = registry.push(&image.layout).await.unwrap();
    assert!(
        pushed.warnings[0].contains("which is no list"),
        "{:?}",
        pushed.warnings
    );
    assert_eq!(registry.manifest(&tag).unwrap(), b"{}");
}

#[tokio::test]
async fn an_outage_after_the_image_says_that_the_bill_is_missing() {
    let image = Image::new();
    let bill = format!("PUT /v2/team/aip/manifests/{}", image.bill.digest());
    let list = format!("GET /v2/team/aip/manifests/{}", image.tag());
    for (path, status) in [
        (bill.clone(), 500),
        (bill, 429),
        (list.clone(), 503),
        (list, 429),
    ] {
        let registry = StubRegistry::start(move |line| (line == path).then_some((status, "busy")));
        let failed = registry.push(&image.layout).await.unwrap_err();
        assert!(matches!(failed, PushError::WithoutSbom { .. }), "{failed}");
        let said = failed.to_string();
        let digest = format!("@{} is pushed", image.digest());
        assert!(
            said.contains(&digest) && said.contains("once more"),
            "{said}"
        );
        assert!(registry.manifest("v1").is_some());
    }
}

#[tokio::test]
async fn a_refusal_at_any_step_is_one_and_leaves_the_tag_alone() {
    let image = Image::new();
    for (step, status, body, is_refusal) in [
        ("POST /v2/team/aip/blobs/uploads/", 401, "", true),
        ("POST /v2/team/aip/blobs/uploads/", 403, DENIED, true),
        (
            "POST /v2/team/aip/blobs/uploads/",
            404,
            "no such repository",
            false,
        ),
        ("PUT /v2/team/aip/manifests/v1", 403, DENIED, true),
        ("PUT /v2/team/aip/manifests/v1", 401, "<html>", true),
        ("PUT /v2/team/aip/manifests/v1", 413, "too large", false),
        (
            "PUT /v2/team/aip/blobs/uploads/",
            403,
            "quota\u{1b}[31m",
            true,
        ),
        ("HEAD /v2/team/aip/blobs/", 503, "", false),
    ] {
        let registry =
            StubRegistry::start(move |line| line.starts_with(step).then_some((status, body)));
        let failed = registry.push(&image.layout).await.unwrap_err();
        let allowed = !matches!(failed, PushError::NotAllowed { .. });
        assert_eq!(allowed, !is_refusal, "{step} {status}: {failed}");
        let said = failed.to_string();
        assert!(said.contains(&registry.address), "{said}");
        assert!(!said.contains('\u{1b}'), "{said}");
        assert_eq!(said.contains("REGISTRY_USER"), is_refusal, "{said}");
        assert!(registry.manifest("v1").is_none(), "{step} {status}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("{}/team/aip:v1", nobody.local_addr().unwrap());
    drop(nobody);
    let registry = Registry {
        plain_http: true,
        user: None,
    };
    let failed = push(&image.layout, &nowhere, &registry).await.unwrap_err();
    assert!(failed.to_string().contains("refused"), "{failed}");
}
