//! The page `docs/go-live.md`, command by command, from the release folder to a served host name: with a real
//! control plane, registry, PostgreSQL, and a gateway that has the certificate from the cluster.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cluster::{ControlPlane, Gateway, Image, Kubelet, eventually_within};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use packaging::{Service, free_port, release_file, run, version};
use rcgen::{CertificateParams, KeyPair};
use release::image::{Layout, unpack};
use release::program::Architecture;
use tempfile::TempDir;
use tokio::process::Command;

use crate::checklist::{Step, is_as_said, steps};
use crate::proxies::Nginx;
use crate::pushed::registry_below;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/go-live.md");
const HOST: &str = "auth.example.org";
/// Printed behind each step.
const MARK: &str = "-- end of the step at line ";
/// The machine is shared: what takes two minutes may take ten.
const PATIENCE: Duration = Duration::from_mins(15);

/// The values of the page, for this machine.
struct Values {
    version: String,
    context: String,
    image: String,
    gateway: String,
    database_url: String,
    drill_url: String,
}

impl Values {
    fn commands(&self) -> String {
        let Self {
            version,
            context,
            image,
            gateway,
            database_url,
            drill_url,
        } = self;
        format!(
            "export VERSION='{version}' HOST={HOST} CONTEXT='{context}' IMAGE='{image}'\n\
             export GATEWAY={gateway} GATEWAY_NAMESPACE={gateway} PROXIES=127.0.0.0/8\n\
             export DATABASE='{database_url}' DRILL='{drill_url}'\n\
             export STATE=\"file://$PWD/state\" PULUMI_CONFIG_PASSPHRASE=correct-horse\n"
        )
    }
}

/// An empty database. Encoded, the folder of its socket is not taken for a path of a Pod.
async fn database() -> String {
    let url = aip_testkit::postgres::create_database().await;
    let (url, socket) = url.split_once("?host=").unwrap();
    format!("{url}?host={}", socket.replace('/', "%2F"))
}

/// A certificate for [`HOST`] with its key, in files.
fn certificate(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([HOST.to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}

/// Ends TLS in front of the listener `https`, with the Secret of the stack, as soon as there is one: what a
/// listener does that refers to it.
async fn end_tls(client: kube::Client, folder: &Path, port: u16, to: &str) -> Service {
    let secrets: Api<Secret> = Api::namespaced(client, "aip-main");
    let data = eventually_within(PATIENCE, "the stack has a certificate", async || {
        let found = secrets.get_opt("aip-tls").await;
        let found = found.map_err(|error| error.to_string())?;
        found
            .and_then(|secret| secret.data)
            .ok_or_else(|| "no Secret aip-tls".to_owned())
    })
    .await;
    for name in ["tls.crt", "tls.key"] {
        std::fs::write(folder.join(name), &data[name].0).unwrap();
    }
    let files = folder.display();
    let site = format!(
        "server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate {files}/tls.crt;\nssl_certificate_key \
         {files}/tls.key;\nlocation / {{\nproxy_pass http://{to};\nproxy_set_header Host $host;\n}}\n}}"
    );
    let nginx = Nginx::command(folder, &site);
    Service::start(nginx.into(), &folder.join("nginx.log"), port).await
}

/// A copy of the release folder, which the operator has downloaded.
fn downloaded(folder: &Path) {
    let sums = release_file("SHA256SUMS", "");
    let release = sums.parent().unwrap();
    let mut copy = std::process::Command::new("cp");
    copy.arg("--recursive").arg(release.join("."));
    run(copy.arg(folder));
}

/// All commands in one shell, which says where a step ends; what each has printed.
async fn run_all(steps: &[Step], values: &Values, folder: &Path, kubeconfig: &Path) -> Vec<String> {
    let mut script = String::new();
    for step in steps {
        let values = step.is_values.then(|| values.commands());
        script.push_str(values.as_deref().unwrap_or(&step.commands));
        // Writing to a text does not fail.
        let _ = writeln!(script, "echo '{MARK}{}'", step.line);
    }
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-euc", &format!("exec 2>&1\n{script}")])
        .current_dir(folder)
        .env_clear()
        .env("PATH", env!("PATH"))
        .env("HOME", folder)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let ran = tokio::time::timeout(PATIENCE, shell.output()).await;
    let output = ran.expect("the page takes minutes at most").unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}:\n{printed}", output.status);
    let mut printed = printed.as_str();
    let cut = steps.iter().map(|step| {
        let mark = format!("{MARK}{}\n", step.line);
        let (of_step, rest) = printed.split_once(&mark).unwrap();
        printed = rest;
        of_step.to_owned()
    });
    cut.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_checklist_prints_what_the_page_says() {
    let steps = steps(&std::fs::read_to_string(PAGE).unwrap());
    assert_eq!(steps.iter().filter(|step| step.is_values).count(), 1);
    let cluster = ControlPlane::shared().await;
    let kubelet = Kubelet::start(cluster).await;
    let client = cluster.client().await;
    let gateway = Gateway::start(&client, "public", None).await;
    let folder = TempDir::new().unwrap();
    let aside = TempDir::new().unwrap();

    let port = free_port();
    let _registry = registry_below(aside.path(), port, false).await;
    let version = version();
    let repository = format!("127.0.0.1:{port}/aip");
    let reference = format!("{repository}:v{version}");
    // What the page pushes. Nodes pull it by its digest.
    let layout = Layout::open(&release_file("aip-", "-image.tar")).unwrap();
    let digest = layout.image().unwrap().digest().to_string();
    let root = aside.path().join("image");
    let unpacked = unpack(&layout, Architecture::of_this_machine(), &root).unwrap();
    let released = Image::unpacked(&unpacked)
        .listens("HTTP_PORT", "AIP_LISTEN")
        .variable("AIP_INTERNAL_LISTEN", "0.0.0.0:9090");
    kubelet
        .images()
        .push(format!("{reference}@{digest}"), released);

    downloaded(folder.path());
    certificate(folder.path());
    let tls = free_port();
    // Where the host name leads, and whom curl believes.
    let (plain_http, trusted) = (gateway.address("http"), folder.path().join("tls.crt"));
    let curl = format!(
        "connect-to = \"{HOST}:443:127.0.0.1:{tls}\"\nconnect-to = \"{HOST}:80:{plain_http}\"\ncacert = \"{}\"\n",
        trusted.display()
    );
    std::fs::write(folder.path().join(".curlrc"), curl).unwrap();
    let https = gateway.address("https").to_string();

    let values = Values {
        version,
        context: cluster.context().to_owned(),
        image: repository,
        gateway: "public".to_owned(),
        database_url: database().await,
        drill_url: database().await,
    };
    let kubeconfig = cluster.kubeconfig();
    let ran = run_all(&steps, &values, folder.path(), &kubeconfig);
    let (printed, _edge) = tokio::join!(ran, end_tls(client, aside.path(), tls, &https));
    let mut wrong = Vec::new();
    for (step, printed) in steps.iter().zip(&printed) {
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        if !is_as_said(&step.output, &lines) {
            let said = step.output.join("\n");
            wrong.push(format!(
                "docs/go-live.md:{}: it says\n{said}\nand printed is\n{printed}",
                step.line
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
