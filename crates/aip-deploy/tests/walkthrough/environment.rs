//! What an operator's machine brings along: credential plugins, kubeconfigs with mistakes, tokens
//! that have expired. What goes wrong is said with its exit code and without a secret.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use crate::test_project::{CommandOutput, TestProject};

/// Nothing in it is encrypted, so no key has to be derived.
const STACK: &str = r#"config:
  aip:k8s_context: aip-test
  aip:aip_config:
    image_slug: registry.example.com/aip:v1
    ssl_cert_arn: arn:aws:acm:us-east-1:000000000000:certificate/11111111-2222-3333-4444-555555555555
    signing_keys_json_string: '{"keys":[{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d"}]}'
    extra_env: {EXTERNAL_HOSTNAME: auth.example.com}
    required_env:
      WORKER_ID: main01
      JSON_WEB_KEYS: /app/signing_keys.json
      ACTIVE_SIGNING_KEYS: '["k1"]'
      SERVICE_AUTH_KEYS: k1
      DATABASE_URL: postgresql://u:p@db:5432/aip
      REDIS_DSN: redis://valkey:6379/0
"#;

/// A complete stack whose context `aip-test` has this cluster and user.
fn project(cluster: &str, user: &str) -> TestProject {
    let project = TestProject::empty();
    std::fs::write(project.file("main"), STACK).unwrap();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: aip-test\n\
         clusters: [{{name: c, cluster: {cluster}}}]\n\
         users: [{{name: u, user: {user}}}]\n\
         contexts: [{{name: aip-test, context: {{cluster: c, user: u}}}}]\n"
    );
    std::fs::write(project.folder.path().join("kubeconfig"), text).unwrap();
    project
}

fn preview(project: &TestProject, more: &[(&str, &str)]) -> CommandOutput {
    let kubeconfig = project.folder.path().join("kubeconfig");
    let store = project.url();
    let mut environment = vec![
        ("PULUMI_BACKEND_URL", store.as_str()),
        ("PATH", env!("PATH")),
        ("KUBECONFIG", kubeconfig.to_str().unwrap()),
    ];
    environment.extend(more);
    project.run_in(
        &["preview", "--stack", "main", "--non-interactive"],
        &environment,
        None,
    )
}

const NOWHERE: &str = "{server: 'https://127.0.0.1:1'}";

/// A user whose plugin is this shell script.
fn plugin(script: &str, mode: &str) -> TestProject {
    let user = |command: &str| {
        format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {command}, \
             interactiveMode: {mode}, args: ['--client-secret=a1-a1'], env: [{{name: S, value: b2-b2}}]}}}}"
        )
    };
    let project = project(NOWHERE, &user("./x.sh"));
    let path = project.folder.path().join("x.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    project
}

#[test]
fn a_credential_plugin_that_fails_is_named_without_its_arguments_environment_and_output() {
    let token = r#"{"kind":"ExecCredential","status":{"token":"c3-c3"}"#;
    for (script, says) in [
        (
            "echo c3-c3; echo log in again >&2; exit 255",
            "exit status: 255",
        ),
        ("echo c3-c3; kill -9 $$", "signal: 9"),
        (
            &format!("echo '{token}'"),
            "did not print an ExecCredential",
        ),
        (
            &format!("echo 'c3-c3: [{token}'"),
            "did not print an ExecCredential",
        ),
        (
            r#"echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential"}'"#,
            "without a status",
        ),
    ] {
        for mode in ["Never", "IfAvailable"] {
            let ended = preview(&plugin(script, mode), &[]).fails(3, says);
            assert!(ended.err.contains("x.sh`"), "{}", ended.err);
            for secret in ["a1-a1", "b2-b2", "c3-c3"] {
                assert!(!ended.err.contains(secret), "{secret}: {}", ended.err);
                assert!(!ended.out.contains(secret), "{secret}: {}", ended.out);
            }
        }
    }
    // Its standard error is for people.
    let ended = preview(&plugin("echo log in again >&2; exit 1", "Never"), &[]);
    ended.fails(3, "log in again");
}

#[test]
fn a_credential_plugin_that_is_missing_is_named_with_its_hint() {
    let exec = "{apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin, \
                interactiveMode: Never, installHint: 'brew install no-such-plugin', args: [a1-a1]}";
    let project = project(NOWHERE, &format!("{{exec: {exec}}}"));
    let ended = preview(&project, &[]).fails(
        3,
        "the credential plugin `no-such-plugin` is not installed: brew install no-such-plugin",
    );
    assert!(!ended.err.contains("a1-a1"), "{}", ended.err);
}

#[test]
fn a_kubeconfig_with_a_mistake_is_not_repeated() {
    let project = project(NOWHERE, "{token: t0-t0-t0, exec: [t0-t0-t0]}");
    let ended = preview(&project, &[]).fails(1, "kubeconfig");
    assert!(!ended.err.contains("t0-t0-t0"), "{}", ended.err);
    let broken = "apiVersion: v1\nusers:\n- {name: u, user: {token: t0-t0-t0\n  - ]\n";
    std::fs::write(project.folder.path().join("kubeconfig"), broken).unwrap();
    let ended = preview(&project, &[]).fails(1, "it is not a kubeconfig at line");
    assert!(!ended.err.contains("t0-t0-t0"), "{}", ended.err);
}

#[test]
fn a_cluster_that_is_out_of_reach_is_no_matter_of_credentials() {
    preview(&project(NOWHERE, "{token: t0}"), &[]).fails(1, "cannot be reached");
    // The proxy is named, its password is not.
    let behind = "{server: 'https://k8s.example:6443', proxy-url: 'http://me:hunter2@127.0.0.1:1'}";
    let ended = preview(&project(behind, "{token: t0}"), &[]);
    let ended = ended.fails(1, "through the proxy http://127.0.0.1:1");
    assert!(!ended.err.contains("hunter2"), "{}", ended.err);
}

/// A server that gives everybody the same answer; its URL.
fn server(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // The request fits into one segment; what it says does not matter.
            let _ = stream.read(&mut [0; 16 * 1024]);
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    url
}

const AWS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "k0-k0-k0"),
    ("AWS_REGION", "us-east-1"),
];

#[test]
fn what_the_key_service_says_decides_the_exit_code() {
    for (status, body, code, says) in [
        (
            "400 Bad Request",
            r#"{"__type":"AccessDeniedException","Message":"User is not authorized"}"#,
            3,
            "AccessDeniedException: User is not authorized",
        ),
        (
            "400 Bad Request",
            r#"{"__type":"com.amazonaws.kms#DisabledException","message":"key is disabled"}"#,
            3,
            "DisabledException",
        ),
        (
            "400 Bad Request",
            r#"{"__type":"ExpiredTokenException","message":"The security token is expired"}"#,
            3,
            "ExpiredTokenException",
        ),
        (
            "403 Forbidden",
            "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>expired</Message></Error></ErrorResponse>",
            3,
            "ExpiredToken: expired",
        ),
        (
            "400 Bad Request",
            r#"{"__type":"NotFoundException","message":"no such key"}"#,
            2,
            "NotFoundException",
        ),
        (
            "503 Service Unavailable",
            "",
            1,
            "answered 503 Service Unavailable",
        ),
        (
            "200 OK",
            "<html><title>Please log in</title>",
            1,
            "answered 200 OK with an HTML page",
        ),
        (
            "502 Bad Gateway",
            "<html>nginx</html>",
            1,
            "answered 502 Bad Gateway with an HTML page",
        ),
    ] {
        let project = project(NOWHERE, "{token: t0}");
        let encrypted = STACK.replace("main01", "{secure: 'v1:AAAA:AAAA'}");
        let provider = format!(
            "secretsprovider: awskms://alias/Example?region=us-east-1\nencryptedkey: AAAA\n{encrypted}"
        );
        std::fs::write(project.file("main"), provider).unwrap();
        let url = server(status, body);
        let mut environment = AWS.to_vec();
        environment.push(("AWS_ENDPOINT_URL_KMS", &url));
        let ended = preview(&project, &environment).fails(code, says);
        assert!(!ended.err.contains("nginx"), "{}", ended.err);
    }
}

#[test]
fn what_the_state_store_says_decides_the_exit_code() {
    for (status, body, code, says) in [
        (
            "400 Bad Request",
            "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message>\
             <Token-0>t0-t0-t0</Token-0></Error>",
            3,
            "refuses access: ExpiredToken",
        ),
        (
            "403 Forbidden",
            "<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>",
            3,
            "refuses access: InvalidAccessKeyId",
        ),
        (
            "403 Forbidden",
            "<html>t0-t0-t0</html>",
            3,
            "refuses access",
        ),
        (
            "400 Bad Request",
            "<Error><Code>InvalidBucketName</Code><Message>no</Message></Error>",
            1,
            "cannot be reached: InvalidBucketName",
        ),
    ] {
        let project = project(NOWHERE, "{token: t0}");
        let url = server(status, body);
        let backend = format!(
            "s3://state?endpoint={}&disableSSL=true&s3ForcePathStyle=true&region=us-east-1",
            url.strip_prefix("http://").unwrap()
        );
        let mut environment = AWS.to_vec();
        environment.push(("PULUMI_BACKEND_URL", &backend));
        let ended = preview(&project, &environment).fails(code, says);
        for secret in ["t0-t0-t0", "k0-k0-k0"] {
            assert!(!ended.err.contains(secret), "{}", ended.err);
        }
    }
}
