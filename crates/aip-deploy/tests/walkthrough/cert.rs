//! `cert` where AWS says no, or something that moto cannot: a stand-in answers as a test wants.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::test_project::{CommandOutput, PASSPHRASE, TestProject};

const ARN: &str =
    "arn:aws:acm:us-east-1:000000000000:certificate/11111111-2222-3333-4444-555555555555";

/// What the stand-in answers to a call: status and body.
type Answer = fn(&str) -> (u16, String);

/// Listens until the test ends.
fn start(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            // A caller that has gone is no reason to stop.
            let _ = serve(stream, answer);
        }
    });
    url
}

fn serve(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, body) = answer(&head);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn run(project: &TestProject, url: &str, arguments: &[&str]) -> CommandOutput {
    let environment = [
        ("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE),
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ];
    project.run_in(arguments, &environment, None)
}

/// The certificate of the recorded stack, in a status.
fn describe(head: &str, status: &str, more: &str) -> (u16, String) {
    if head.contains("CertificateManager.ListCertificates") {
        return (200, r#"{"CertificateSummaryList":[]}"#.to_owned());
    }
    if head.starts_with("GET /2013-04-01/hostedzone?")
        || head.starts_with("GET /2013-04-01/hostedzone ")
    {
        return (200, ZONES.to_owned());
    }
    if head.starts_with("GET /2013-04-01/hostedzone/Z1") {
        return (200, ZONE.to_owned());
    }
    if !head.contains("CertificateManager.DescribeCertificate") {
        return (404, String::new());
    }
    let body = format!(
        r#"{{"Certificate":{{"CertificateArn":"{ARN}","DomainName":"auth.example.com",
        "SubjectAlternativeNames":["auth.example.com"],"Type":"AMAZON_ISSUED","Status":"{status}",{more}
        "DomainValidationOptions":[{{"DomainName":"auth.example.com","ValidationStatus":"PENDING_VALIDATION",
        "ResourceRecord":{{"Name":"_a.auth.example.com.","Type":"CNAME","Value":"_b.acm-validations.aws."}}}}]}}}}"#
    );
    (200, body)
}

const ZONES: &str = "<ListHostedZonesResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><HostedZones>\
    <HostedZone><Id>/hostedzone/Z1</Id><Name>example.com.</Name><CallerReference>1</CallerReference></HostedZone>\
    </HostedZones><Marker></Marker><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems></ListHostedZonesResponse>";
const ZONE: &str = "<GetHostedZoneResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><HostedZone>\
    <Id>/hostedzone/Z1</Id><Name>example.com.</Name><CallerReference>1</CallerReference></HostedZone><DelegationSet>\
    <NameServers><NameServer>ns-1.awsdns-01.org</NameServer></NameServers></DelegationSet></GetHostedZoneResponse>";

#[test]
fn a_certificate_that_will_never_be_issued_ends_the_wait_with_the_reason() {
    let project = TestProject::new();
    let before = project.text("main");
    let answers: [(Answer, &str); 5] = [
        (
            |head| describe(head, "FAILED", r#""FailureReason":"CAA_ERROR","#),
            "a CAA record of the domain does not allow Amazon",
        ),
        (
            |head| describe(head, "FAILED", r#""FailureReason":"DOMAIN_NOT_ALLOWED","#),
            "ask AWS Support",
        ),
        (
            |head| describe(head, "VALIDATION_TIMED_OUT", ""),
            "not found within 72 hours",
        ),
        (|head| describe(head, "EXPIRED", ""), "has expired"),
        (|head| describe(head, "REVOKED", ""), "was revoked"),
    ];
    for (answer, says) in answers {
        run(&project, &start(answer), &["cert", "wait"]).fails(1, says);
    }
    assert_eq!(project.text("main"), before);
}

#[test]
fn a_domain_whose_dns_is_elsewhere_times_out_with_the_name_servers_of_the_zone() {
    let project = TestProject::new();
    let url = start(|head| describe(head, "PENDING_VALIDATION", ""));
    let ended = run(&project, &url, &["cert", "wait", "--timeout", "0"]);
    let ended = ended.fails(9, "_a.auth.example.com CNAME _b.acm-validations.aws");
    assert!(
        ended.err.contains("served by ns-1.awsdns-01.org"),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains("dig +short NS example.com"),
        "{}",
        ended.err
    );
}

#[test]
fn refusals_say_who_refused_what_and_the_records_are_printed_all_the_same() {
    let project = TestProject::new();
    let denied = start(|_| {
        let body =
            r#"{"__type":"AccessDeniedException","Message":"ann may not acm:ListCertificates"}"#;
        (400, body.to_owned())
    });
    for command in ["request", "status", "wait"] {
        run(&project, &denied, &["cert", command]).fails(3, "ann may not acm:ListCertificates");
    }
    let no_dns = start(|head| {
        if head.contains("/2013-04-01/") {
            let error = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                         <Message>ann may not route53:ListHostedZones</Message></Error></ErrorResponse>";
            return (403, error.to_owned());
        }
        describe(head, "PENDING_VALIDATION", "")
    });
    let ended = run(&project, &no_dns, &["cert", "request"]);
    let ended = ended.fails(3, "ann may not route53:ListHostedZones");
    let record = "_a.auth.example.com. 300 IN CNAME _b.acm-validations.aws.";
    assert!(ended.out.contains(record), "{}", ended.out);
    let printed = run(&project, &no_dns, &["cert", "request", "--no-dns"]).ok();
    assert!(printed.out.contains(record), "{}", printed.out);

    let page = start(|_| (200, "<html>log in</html>".to_owned()));
    run(&project, &page, &["cert", "status"]).fails(1, "AWS Certificate Manager in us-east-1");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    run(&project, &closed, &["cert", "status"]).fails(1, "cannot be reached");
}

#[test]
fn a_stack_without_a_host_and_a_host_without_a_certificate_are_refused() {
    let project = TestProject::new();
    let url = start(|head| describe(head, "ISSUED", ""));
    run(&project, &url, &["cert", "request", "--san", "10.0.0.1"])
        .fails(2, "--san 10.0.0.1 is the address");
    run(
        &project,
        &url,
        &["cert", "status", "--san", "www.example.com"],
    )
    .fails(1, "no certificate for");
    run(
        &project,
        &url,
        &["cert", "request", "--zone", "Z1", "--no-dns"],
    )
    .fails(2, "cannot be used with");
    run(
        &project,
        &url,
        &["cert", "wait", "--timeout", "18446744073709551615"],
    )
    .fails(2, "is not in 0..=259200");
    let host = "aip_config.extra_env.EXTERNAL_HOSTNAME";
    project
        .run(&["config", "set", "--path", host, "10.1.2.3"])
        .ok();
    run(&project, &url, &["cert", "request"]).fails(2, &format!("{host} is the address 10.1.2.3"));
    project.run(&["config", "rm", "--path", host]).ok();
    run(&project, &url, &["cert", "request"]).fails(2, "the stack has no host name");
}

#[test]
fn an_issued_certificate_of_the_stack_file_stays_as_it_is() {
    let project = TestProject::new();
    let before = project.text("main");
    let url = start(|head| describe(head, "ISSUED", r#""NotAfter":4070908800,"#));
    for command in ["request", "wait"] {
        run(&project, &url, &["cert", command]).ok();
        assert_eq!(project.text("main"), before);
    }
    let shown = run(&project, &url, &["cert", "status", "--json"]).ok();
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["arn"], ARN);
    assert_eq!(shown["status"], "issued");
    assert_eq!(shown["expires"], "2099-01-01T00:00:00Z");
}
