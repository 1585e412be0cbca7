//! AWS credentials as operators and CI have them: each source leads to the key service, which
//! sees whose signature it gets. AWS is a stand-in that also plays the proxy.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use crate::test_project::{CommandOutput, TestProject};

/// STS, an SSO portal, a container's and an instance's endpoint, and the key service at once.
struct StandIn {
    url: String,
    /// Request line, headers and body of each request, in order.
    seen: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let requests = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                answer(stream, &requests);
            }
        });
        Self { url, seen }
    }

    /// The first request whose text contains `part`.
    fn request(&self, part: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().find(|request| request.contains(part)).cloned()
    }
}

fn answer(mut stream: TcpStream, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end().to_owned();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        let is_end = line.is_empty();
        request.push_str(&line);
        request.push('\n');
        if is_end {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request.push_str(&String::from_utf8_lossy(&body));
    let (status, body) = response(&request);
    seen.lock().unwrap().push(request);
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nx-aws-ec2-metadata-token-ttl-seconds: 300\r\n\
         connection: close\r\n\r\n{body}"
    );
}

fn json_keys(id: &str) -> String {
    format!(
        r#"{{"Code":"Success","AccessKeyId":"{id}","SecretAccessKey":"k0-k0-k0","Token":"t0-t0-t0","Expiration":"2099-01-01T00:00:00Z"}}"#
    )
}

fn sts_keys(action: &str, id: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{id}</AccessKeyId><SecretAccessKey>k0-k0-k0</SecretAccessKey>\
         <SessionToken>t0-t0-t0</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
         </Credentials></{action}Result></{action}Response>"
    )
}

fn response(request: &str) -> (&'static str, String) {
    let line = request.lines().next().unwrap_or_default();
    let roles = "/latest/meta-data/iam/security-credentials/";
    let ok = |body: String| ("200 OK", body);
    if line.starts_with("CONNECT") {
        ("403 Forbidden", String::new())
    } else if request.contains("TrentService.Encrypt") {
        ok(r#"{"CiphertextBlob":"AAAA","KeyId":"k"}"#.to_owned())
    } else if request.contains("arn:aws:iam::1:role/denied") || request.contains("role%2Fdenied") {
        (
            "403 Forbidden",
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
             <Message>not authorized to assume the role</Message></Error></ErrorResponse>"
                .to_owned(),
        )
    } else if request.contains("Action=AssumeRoleWithWebIdentity") {
        ok(sts_keys("AssumeRoleWithWebIdentity", "AKIDWEB"))
    } else if request.contains("Action=AssumeRole&") {
        ok(sts_keys("AssumeRole", "AKIDROLE"))
    } else if line.starts_with("GET /federation/credentials") {
        ok(r#"{"roleCredentials":{"accessKeyId":"AKIDSSO","secretAccessKey":"k0-k0-k0","sessionToken":"t0-t0-t0","expiration":4070908800000}}"#.to_owned())
    } else if line.starts_with("GET /container") {
        ok(json_keys("AKIDCONTAINER"))
    } else if line.starts_with("PUT /latest/api/token") {
        ok("t0-t0-t0".to_owned())
    } else if line.starts_with(&format!("GET {roles} ")) {
        ok("node".to_owned())
    } else if line.starts_with(&format!("GET {roles}node")) {
        ok(json_keys("AKIDINSTANCE"))
    } else {
        ("404 Not Found", String::new())
    }
}

const CONFIG: &str = "\
[profile static]
region = eu-west-1
[profile program]
region = eu-west-1
credential_process = sh \"HOME/keys.sh\" a1-a1
[profile broken]
region = eu-west-1
credential_process = sh \"HOME/broken.sh\" a1-a1
[sso-session team]
sso_start_url = https://team.awsapps.com/start
sso_region = eu-west-1
[profile team]
region = eu-west-1
sso_session = team
sso_account_id = 000000000000
sso_role_name = deployer
[profile role]
region = eu-west-1
role_arn = arn:aws:iam::000000000000:role/deployer
source_profile = static
[profile denied]
region = eu-west-1
role_arn = arn:aws:iam::1:role/denied
source_profile = static
[profile console]
region = eu-west-1
login_session = arn:aws:iam::000000000000:user/ann
[profile orphan]
region = eu-west-1
role_arn = arn:aws:iam::000000000000:role/deployer
source_profile = gone
[profile empty]
region = eu-west-1
";

/// A machine with every kind of profile, logged in to a folder.
fn project() -> TestProject {
    let project = TestProject::empty();
    let home = project.folder.path();
    let write = |name: &str, text: &str| std::fs::write(home.join(name), text).unwrap();
    std::fs::create_dir_all(home.join(".aws/sso/cache")).unwrap();
    write(
        ".aws/config",
        &CONFIG.replace("HOME", home.to_str().unwrap()),
    );
    write(
        ".aws/credentials",
        "[static]\naws_access_key_id = AKIDSTATIC\naws_secret_access_key = k0-k0-k0\n",
    );
    let keys = json_keys("AKIDPROGRAM").replace("\"Code\":\"Success\"", "\"Version\":1");
    write(
        "keys.sh",
        &format!("echo '{}'\n", keys.replace("Token", "SessionToken")),
    );
    // In place of the AWS CLI.
    let cli = "#!/bin/sh\necho \"$*\" > HOME/aws.log\nsh HOME/keys.sh | sed s/PROGRAM/CONSOLE/\n";
    write("aws", &cli.replace("HOME", home.to_str().unwrap()));
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.join("aws"), executable).unwrap();
    write(
        "broken.sh",
        "echo k0-k0-k0; echo 'log in again' >&2; exit 1\n",
    );
    write("token", "w0-w0-w0");
    sso_session(&project, "2099-01-01T00:00:00Z");
    project
}

/// What `aws sso login` leaves; the file is named for the SHA-1 of the session's name.
fn sso_session(project: &TestProject, expires: &str) {
    let cache = "d25187dc137f35c88bc80ec8c3ffbdb17b5eb873";
    let path = format!(".aws/sso/cache/{cache}.json");
    let text = format!(
        r#"{{"accessToken":"s0-s0-s0","expiresAt":"{expires}","region":"eu-west-1","startUrl":"https://team.awsapps.com/start"}}"#
    );
    std::fs::write(project.folder.path().join(path), text).unwrap();
}

/// Makes a stack whose data key the key service wraps.
fn init(project: &TestProject, url: &str, environment: &[(&str, &str)]) -> CommandOutput {
    let store = project.url();
    let path = format!("{}:/usr/bin:/bin", project.folder.path().display());
    let mut all = vec![
        ("PULUMI_BACKEND_URL", store.as_str()),
        ("PATH", path.as_str()),
    ];
    all.extend(environment);
    let ended = project.run_in(
        &[
            "stack",
            "init",
            "new",
            "--secrets-provider",
            url,
            "--non-interactive",
        ],
        &all,
        None,
    );
    for secret in ["k0-k0-k0", "t0-t0-t0", "s0-s0-s0", "w0-w0-w0", "a1-a1"] {
        assert!(!ended.err.contains(secret), "{secret}: {}", ended.err);
        assert!(!ended.out.contains(secret), "{secret}: {}", ended.out);
    }
    ended
}

/// Environment, parameters of the URL, and the key id that signs.
type Source<'s> = (&'s [(&'s str, &'s str)], &'s str, &'s str);

#[test]
fn every_source_of_credentials_signs_for_the_key_service() {
    let project = project();
    let aws = StandIn::start();
    let token = project.folder.path().join("token");
    let container = format!("{}/container", aws.url);
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "k0-k0-k0"),
    ];
    let web_identity = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/pod"),
    ];
    let container = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "c0"),
    ];
    let instance = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.url.as_str())];
    let profile = |name| [("AWS_PROFILE", name)];
    let sources: [Source; 12] = [
        (&keys, "", "AKIDENVIRONMENT"),
        (&profile("static"), "", "AKIDSTATIC"),
        (&profile("program"), "", "AKIDPROGRAM"),
        (&profile("team"), "", "AKIDSSO"),
        (&profile("role"), "", "AKIDROLE"),
        (&profile("console"), "", "AKIDCONSOLE"),
        (&[], "&profile=console", "AKIDCONSOLE"),
        // A profile that the URL names is more specific than the environment.
        (&keys, "&profile=static", "AKIDSTATIC"),
        (&keys, "&profile=team", "AKIDSSO"),
        (&web_identity, "", "AKIDWEB"),
        (&container, "", "AKIDCONTAINER"),
        (&instance, "", "AKIDINSTANCE"),
    ];
    for (environment, parameters, id) in sources {
        aws.seen.lock().unwrap().clear();
        let mut environment = environment.to_vec();
        environment.push(("AWS_ENDPOINT_URL", &aws.url));
        let url = format!("awskms://alias/E?region=eu-west-1{parameters}");
        init(&project, &url, &environment).ok();
        let call = aws.request("TrentService.Encrypt").unwrap();
        let signed = format!("Credential={id}/");
        assert!(call.contains(&signed), "{id}: {call}");
        assert!(call.contains("/eu-west-1/kms/aws4_request"), "{call}");
        std::fs::remove_file(project.file("new")).unwrap();
        std::fs::remove_dir_all(project.folder.path().join("state")).unwrap();
        std::fs::create_dir(project.folder.path().join("state")).unwrap();
    }
    let asked = std::fs::read_to_string(project.folder.path().join("aws.log")).unwrap();
    let export = "configure export-credentials --format process";
    assert_eq!(asked.trim(), format!("{export} --profile console"));
}

#[test]
fn the_region_is_the_one_of_the_arn_the_url_the_environment_or_the_profile() {
    let arn = "awskms:///arn:aws:kms:eu-west-3:000000000000:key/1";
    let keys = |region| {
        vec![
            ("AWS_ACCESS_KEY_ID", "AKID"),
            ("AWS_SECRET_ACCESS_KEY", "k0-k0-k0"),
            ("AWS_REGION", region),
        ]
    };
    for (url, environment, region) in [
        (arn, keys("us-east-1"), "eu-west-3"),
        (
            "awskms://alias/E?region=eu-west-2",
            keys("us-east-1"),
            "eu-west-2",
        ),
        ("awskms://alias/E", keys("us-east-1"), "us-east-1"),
        (
            "awskms://alias/E",
            vec![("AWS_PROFILE", "static")],
            "eu-west-1",
        ),
    ] {
        let aws = StandIn::start();
        let mut environment = environment;
        environment.push(("AWS_ENDPOINT_URL_KMS", &aws.url));
        init(&project(), url, &environment).ok();
        let call = aws.request("TrentService.Encrypt").unwrap();
        assert!(
            call.contains(&format!("/{region}/kms/aws4_request")),
            "{call}"
        );
    }
}

#[test]
fn what_keeps_a_source_from_giving_credentials_is_said_with_its_exit_code() {
    let aws = StandIn::start();
    let project = project();
    let profile = |name| {
        vec![
            ("AWS_PROFILE", name),
            ("AWS_ENDPOINT_URL", aws.url.as_str()),
        ]
    };
    let fails = |environment: &[(&str, &str)], url: &str, code: i32, says: &str| {
        let mut environment = environment.to_vec();
        environment.push(("AWS_EC2_METADATA_DISABLED", "true"));
        init(&project, url, &environment).fails(code, says)
    };
    let url = "awskms://alias/E?region=eu-west-1";
    fails(&[], url, 3, "no AWS credentials found");
    fails(
        &[],
        "awskms://alias/E?region=eu-west-1&profile=missing",
        3,
        "the AWS profile `missing` gives no credentials",
    );
    fails(
        &[],
        "awskms://alias/E?region=eu-west-1&profile=empty",
        3,
        "the AWS profile `empty`",
    );
    fails(
        &profile("missing"),
        url,
        3,
        "(profile `missing` was not defined",
    );
    fails(
        &profile("orphan"),
        url,
        3,
        "(profile `gone` was not defined",
    );
    fails(&profile("broken"), url, 3, "log in again");
    fails(
        &profile("denied"),
        url,
        3,
        "AccessDenied: not authorized to assume the role",
    );
    sso_session(&project, "2020-01-01T00:00:00Z");
    fails(&profile("team"), url, 3, "run `aws sso login");
    let nobody = [
        ("AWS_PROFILE", "role"),
        ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1"),
    ];
    fails(&nobody, url, 1, "127.0.0.1:1");
}

#[test]
fn services_are_asked_at_the_endpoint_of_their_partition_through_the_proxy() {
    let project = project();
    let token = project.folder.path().join("token");
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "k0-k0-k0"),
    ];
    let web_identity = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws-cn:iam::000000000000:role/pod"),
    ];
    for (environment, host) in [
        (&keys, "kms.cn-north-1.amazonaws.com.cn"),
        (&web_identity, "sts.cn-north-1.amazonaws.com.cn"),
    ] {
        let proxy = StandIn::start();
        let mut environment = environment.to_vec();
        environment.push(("HTTPS_PROXY", &proxy.url));
        let url = "awskms://alias/E?region=cn-north-1";
        init(&project, url, &environment).fails(1, host);
        let asked = proxy.request("CONNECT").unwrap();
        assert!(asked.starts_with(&format!("CONNECT {host}:443")), "{asked}");
        proxy.seen.lock().unwrap().clear();
        environment.push(("NO_PROXY", "amazonaws.com.cn"));
        init(&project, url, &environment).fails(1, host);
        assert_eq!(proxy.request("CONNECT"), None);
    }
}
