//! AIP behind the proxies of the guide, as their files in `deploy` set them up: people sign in, callers
//! are told apart by their own address, and what a caller writes about its address is not believed.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use aip_testkit::valkey::{SERVER_TIMEOUT, ValkeyServer, free_ports};
use harness::connection::{Connection, get};
use harness::sign_in::sign_in;
use packaging::{AipServer, Service, free_port, run, unpacked_archive};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

/// What the proxies are set up for, before a test changes it.
const UPSTREAM: &str = "127.0.0.1:8080";
/// Addresses of this machine that call, none of which is the proxy's.
const CALLERS: [&str; 2] = ["127.0.0.77", "127.0.0.78"];
/// What callers say of themselves: an address of the Internet, and the proxy's.
const FORGED: [&str; 2] = ["9.9.9.9", "127.0.0.1"];

/// A proxy that leads to the server at `upstream`, and listens on `port` of loopback without TLS.
trait Proxy {
    async fn start(folder: &Path, port: u16, upstream: u16) -> Service;
}

pub(crate) struct Nginx;

impl Nginx {
    /// The whole configuration with the file that operators install.
    fn configuration(folder: &Path, site: &str) -> String {
        let folder = folder.display();
        format!(
            "pid {folder}/nginx.pid;\nerror_log stderr warn;\ndaemon off;\nmaster_process off;\nevents {{}}\nhttp {{\n\
             access_log off;\nclient_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\n\
             fastcgi_temp_path {folder}/fastcgi;\nuwsgi_temp_path {folder}/uwsgi;\n\
             scgi_temp_path {folder}/scgi;\n{site}\n}}\n"
        )
    }

    pub(crate) fn command(folder: &Path, site: &str) -> Command {
        let file = folder.join("nginx.conf");
        std::fs::write(&file, Self::configuration(folder, site)).unwrap();
        let mut nginx = Command::new(debian_program("nginx"));
        nginx.arg("-e").arg("stderr").arg("-c").arg(file);
        nginx
    }
}

fn site() -> String {
    std::fs::read_to_string(unpacked_archive().join("deploy/proxies/nginx.conf")).unwrap()
}

/// Debian keeps some programs where the `PATH` of most users does not lead.
fn debian_program(name: &str) -> String {
    let path = format!("/usr/sbin/{name}");
    if Path::new(&path).exists() {
        path
    } else {
        name.to_owned()
    }
}

impl Proxy for Nginx {
    async fn start(folder: &Path, port: u16, upstream: u16) -> Service {
        let redirect = free_port();
        let site = replaced(
            &site(),
            &[
                (UPSTREAM, &format!("127.0.0.1:{upstream}")),
                ("listen 80;", &format!("listen 127.0.0.1:{redirect};")),
                (
                    "listen 443 ssl http2;",
                    &format!("listen 127.0.0.1:{port};"),
                ),
                ("ssl_certificate /etc/ssl/certs/id.example.org.pem;", ""),
                (
                    "ssl_certificate_key /etc/ssl/private/id.example.org.key;",
                    "",
                ),
            ],
        );
        let command = Self::command(folder, &site);
        Service::start(command.into(), &folder.join("nginx.log"), port).await
    }
}

struct Caddy;

impl Caddy {
    fn command(folder: &Path, variables: &[(&str, &str)]) -> Command {
        let mut caddy = Command::new("caddy");
        caddy
            .env_clear()
            .envs(variables.iter().copied())
            .env("CADDY_ADMIN", format!("127.0.0.1:{}", free_port()))
            .env("HOME", folder)
            .env("XDG_CONFIG_HOME", folder)
            .env("XDG_DATA_HOME", folder);
        caddy
    }

    fn file() -> std::path::PathBuf {
        unpacked_archive().join("deploy/Caddyfile")
    }
}

impl Proxy for Caddy {
    async fn start(folder: &Path, port: u16, upstream: u16) -> Service {
        let (domain, upstream) = (
            format!("http://127.0.0.1:{port}"),
            format!("127.0.0.1:{upstream}"),
        );
        let variables = [("AIP_DOMAIN", &*domain), ("AIP_UPSTREAM", &*upstream)];
        let mut command = Self::command(folder, &variables);
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(Self::file());
        Service::start(command.into(), &folder.join("caddy.log"), port).await
    }
}

fn replaced(text: &str, pairs: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in pairs {
        assert!(text.contains(from), "there is no `{from}`");
        text = text.replace(from, to);
    }
    text
}

/// Sends a request from an address, with lines about its address that it made up; the answer.
async fn ask(from: &str, to: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    let from: IpAddr = from.parse().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let forged = FORGED.join(", ");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nX-Forwarded-For: {forged}\r\n\
         Forwarded: for={}\r\nX-Real-IP: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        FORGED[0],
        FORGED[0],
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn works<P: Proxy>() {
    let folder = TempDir::new().unwrap();
    let [port, valkey_port] = free_ports();
    let _valkey = ValkeyServer::listening(valkey_port, &[]).await;
    let more = [
        ("AIP_TRUSTED_PROXIES", "127.0.0.1".to_owned()),
        (
            "AIP_REDIS_URL",
            format!("redis://127.0.0.1:{valkey_port}/0"),
        ),
    ];
    let aip = AipServer::start(&format!("http://127.0.0.1:{port}"), &more)
        .await
        .unwrap();
    let proxy = P::start(folder.path(), port, aip.port).await;
    let address = SocketAddr::from(([127, 0, 0, 1], port));

    // Somebody signs in, with all the pages, cookies and forms that it takes.
    let app = aip.register().await.unwrap();
    let mut back_channel = Connection::open(address).await.unwrap();
    let signed_in = sign_in(
        address,
        &mut back_channel,
        &app,
        &aip.sandbox.accounts.alice,
    )
    .await;
    let tokens =
        signed_in.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", aip.log(), proxy.log()));
    let fields = format!("authorization: Bearer {}\r\n", tokens.access_token);
    let request = get(&address.to_string(), "/oauth/userinfo", &fields);
    let answer = back_channel.exchange(&request).await.unwrap();
    assert!(answer.expect(200).unwrap().text().unwrap().contains("did:"));

    // What is for this machine stays there.
    for path in ["/internal/ready", "/internal/alive", "/metrics"] {
        let answer = ask(CALLERS[0], address, "GET", path, "").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/.well-known/jwks.json",
        "/oauth/upstream/jwks.json",
    ] {
        let answer = ask(CALLERS[0], address, "GET", path, "").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }

    let page = ask(CALLERS[0], address, "GET", "/login", "").await;
    let (_, rest) = page
        .split_once("/static/")
        .expect("a page has a style sheet");
    let style = format!("/static/{}", rest.split('"').next().unwrap());
    let answer = ask(CALLERS[0], address, "GET", &style, "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{style}: {answer}");

    // A secret that is wrong is counted by the address of the caller, and by no other.
    let counting = Counting::of(folder.path(), valkey_port).await;
    let form = "grant_type=refresh_token&refresh_token=x&client_id=nobody&client_secret=wrong";
    for caller in CALLERS {
        let answer = ask(caller, address, "POST", "/oauth/token", form).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    assert_eq!(counting.networks().await, CALLERS, "{}", aip.log());
}

/// What AIP counts in Valkey, as it asks for it: a count that is paid off is gone within milliseconds.
struct Counting {
    log: PathBuf,
    _monitor: Child,
}

impl Counting {
    const KEY: &str = "aip:rate:client_failures:";

    async fn of(folder: &Path, port: u16) -> Self {
        let log = folder.join("valkey.log");
        let monitor = tokio::process::Command::new("redis-cli")
            .args(["-p", &port.to_string(), "MONITOR"])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let counting = Self {
            log,
            _monitor: monitor,
        };
        counting.until("OK").await;
        counting
    }

    /// Everything that was asked, as soon as `words` are in it.
    async fn until(&self, words: &str) -> String {
        let deadline = Instant::now() + SERVER_TIMEOUT;
        loop {
            let text = std::fs::read_to_string(&self.log).unwrap();
            if text.contains(words) {
                return text;
            }
            assert!(Instant::now() < deadline, "no {words}: {text}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The networks that were counted, in order.
    async fn networks(&self) -> Vec<String> {
        let text = self.until(&format!("{}{}", Self::KEY, CALLERS[1])).await;
        let counted = text.split(Self::KEY).skip(1);
        let counted = counted.filter_map(|rest| rest.split('"').next());
        let mut counted: Vec<String> = counted.map(str::to_owned).collect();
        counted.dedup();
        counted
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_through_nginx_and_no_forged_address_is_believed() {
    works::<Nginx>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_through_caddy_and_no_forged_address_is_believed() {
    works::<Caddy>().await;
}

#[test]
fn nginx_accepts_the_file_as_it_is() {
    let folder = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["id.example.org".to_owned()]).unwrap();
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let site = replaced(
        &site(),
        &[
            (
                "/etc/ssl/certs/id.example.org.pem",
                certificate.to_str().unwrap(),
            ),
            ("/etc/ssl/private/id.example.org.key", key.to_str().unwrap()),
        ],
    );
    let said = run(Nginx::command(folder.path(), &site).arg("-t"));
    assert!(
        said.contains("successful") && !said.contains("[warn]"),
        "{said}"
    );
}

#[test]
fn caddy_accepts_the_file_for_a_domain_and_beside_containers() {
    for variables in [
        &[][..],
        &[
            ("AIP_DOMAIN", "id.example.org"),
            ("AIP_UPSTREAM", "aip:8080"),
        ],
    ] {
        let folder = TempDir::new().unwrap();
        let mut validate = Caddy::command(folder.path(), variables);
        validate.args(["validate", "--adapter", "caddyfile", "--config"]);
        let said = run(validate.arg(Caddy::file()));
        assert!(said.contains("Valid configuration"), "{said}");
    }
}

/// Traefik is not to be had on every machine: its file is read, and what matters in it is there.
#[test]
fn the_file_for_traefik_leads_to_the_server_and_hides_the_same_paths() {
    let path = unpacked_archive().join("deploy/proxies/traefik.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let document = yaml_lossless::Document::parse(text).unwrap();
    let http = document.root().get("http").unwrap();
    let of = |node: &yaml_lossless::Node, name: &str| node.get(name).unwrap().clone();
    let router = of(&of(http, "routers"), "aip");
    let rule = router.get("rule").unwrap().scalar().unwrap().text.clone();
    for hidden in ["!PathPrefix(`/internal/`)", "!Path(`/metrics`)"] {
        assert!(rule.contains(hidden), "{rule}");
    }
    let service = router
        .get("service")
        .unwrap()
        .scalar()
        .unwrap()
        .text
        .clone();
    let balancer = of(&of(&of(http, "services"), &service), "loadBalancer");
    let yaml_lossless::Content::List(servers) = of(&balancer, "servers").content else {
        panic!("no list of servers")
    };
    let url = &servers[0].get("url").unwrap().scalar().unwrap().text;
    assert_eq!(*url, format!("http://{UPSTREAM}"));
}
