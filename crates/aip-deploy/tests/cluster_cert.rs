//! `cert` from the request to the ARN in the stack file, against a stand-in for AWS that is installed at
//! the first run, which is why these tests belong to the suite that may take its time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "walkthrough/test_project.rs"]
#[allow(dead_code, reason = "other suites need the rest of it")]
mod test_project;

use std::sync::Arc;

use aip_aws::{Credentials, SdkHttp};
use aip_deploy::AwsHttp;
use aws_sdk_route53::config::{BehaviorVersion, Region};
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use cluster::Moto;
use test_project::{CommandOutput, PASSPHRASE, TestProject};

const REGION: &str = "eu-central-1";
const HOST: &str = "auth.example.com";

/// A stack without a certificate, and AWS.
struct World {
    project: TestProject,
    moto: Moto,
    dns: aws_sdk_route53::Client,
}

impl World {
    async fn new() -> Self {
        // The records of moto are never looked up: it issues what is a second old.
        let moto = Moto::start_with(&[("MOTO_ACM_VALIDATION_WAIT", "1")]).await;
        let project = TestProject::new();
        let arn = ["config", "rm", "--path", "aip_config.ssl_cert_arn"];
        project.run(&arn).ok();
        let config = aws_sdk_route53::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .region(Region::new(REGION))
            .endpoint_url(moto.url())
            .http_client(SdkHttp(Arc::new(AwsHttp::new().unwrap())));
        let dns = aws_sdk_route53::Client::from_conf(config.build());
        Self { project, moto, dns }
    }

    async fn zone(&self, name: &str) -> String {
        let request = self.dns.create_hosted_zone().name(name);
        let made = request.caller_reference(name).send().await.unwrap();
        let id = made.hosted_zone.unwrap().id;
        id.trim_start_matches("/hostedzone/").to_owned()
    }

    /// The CNAME records of a zone.
    async fn records(&self, zone: &str) -> Vec<(String, String)> {
        let request = self.dns.list_resource_record_sets().hosted_zone_id(zone);
        let found = request.send().await.unwrap().resource_record_sets;
        let cnames = found.iter().filter(|set| set.r#type == RrType::Cname);
        cnames
            .map(|set| (set.name.clone(), set.resource_records()[0].value.clone()))
            .collect()
    }

    async fn add_record(&self, zone: &str, name: &str, value: &str) {
        let value = ResourceRecord::builder().value(value).build().unwrap();
        let set = ResourceRecordSet::builder()
            .name(name)
            .r#type(RrType::Cname)
            .ttl(60)
            .resource_records(value);
        let change = Change::builder()
            .action(ChangeAction::Create)
            .resource_record_set(set.build().unwrap());
        let batch = ChangeBatch::builder().changes(change.build().unwrap());
        let request = self.dns.change_resource_record_sets().hosted_zone_id(zone);
        let request = request.change_batch(batch.build().unwrap());
        request.send().await.unwrap();
    }

    /// Runs a command away from the reactor, which moto's readiness does not need.
    fn cert(&self, arguments: &[&str]) -> CommandOutput {
        let url = self.moto.url();
        let environment = [
            ("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE),
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", REGION),
        ];
        self.project
            .run_in(&[&["cert"][..], arguments].concat(), &environment, None)
    }

    fn arn_in_file(&self) -> Option<String> {
        let text = self.project.text("main");
        let line = text.lines().find(|line| line.contains("ssl_cert_arn"))?;
        Some(line.split_once(": ")?.1.to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_request_to_the_arn_in_the_stack_file() {
    let world = World::new().await;
    let above = world.zone("example.com").await;
    let zone = world.zone(HOST).await;
    world
        .cert(&["wait"])
        .fails(1, "no certificate for auth.example.com in eu-central-1");

    let requested = world.cert(&["request"]).ok();
    let arn = requested.out.trim().to_owned();
    assert!(arn.starts_with("arn:aws:acm:eu-central-1:"), "{arn}");
    assert!(
        requested.err.contains("aip-deploy cert wait"),
        "{}",
        requested.err
    );
    assert_eq!(world.arn_in_file(), None, "it is not issued yet");
    // In the nearest zone alone.
    let records = world.records(&zone).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert!(
        records[0].1.ends_with("acm-validations.aws."),
        "{records:?}"
    );
    assert_eq!(world.records(&above).await, []);

    // Whoever asks again gets the same, and the record is there already.
    let again = world.cert(&["request"]).ok();
    assert_eq!(again.out.lines().next(), Some(arn.as_str()));
    assert_eq!(world.records(&zone).await, records);

    let before = world.project.text("main");
    world.cert(&["wait", "--timeout", "60"]).ok();
    assert_eq!(world.arn_in_file().as_deref(), Some(arn.as_str()));
    let added: Vec<String> = world
        .project
        .text("main")
        .lines()
        .map(str::to_owned)
        .collect();
    let kept: Vec<&str> = before.lines().collect();
    let new: Vec<_> = added
        .iter()
        .filter(|line| !kept.contains(&line.as_str()))
        .collect();
    assert_eq!(new.len(), 1, "no other line changes: {new:?}");
    let status = world.cert(&["status"]).ok();
    assert!(status.out.contains("status:  issued"), "{}", status.out);
    world.cert(&["request", "--wait"]).ok();
    assert_eq!(world.arn_in_file().as_deref(), Some(arn.as_str()));

    // The region of the stack's certificate counts more than the environment, and less than a flag.
    world.cert(&["status", "--region", "us-east-1"]).fails(
        1,
        "in us-east-1: `aip-deploy cert request` requests one (--region",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_elsewhere_a_record_in_the_way_and_zones_to_choose_from() {
    let world = World::new().await;
    world.zone("other.org").await;
    let printed = world.cert(&["request", "--san", "www.example.org"]).ok();
    let records: Vec<&str> = printed.out.lines().skip(1).collect();
    assert_eq!(records.len(), 2, "{}", printed.out);
    assert!(records[0].contains(" 300 IN CNAME "), "{}", printed.out);
    assert!(
        printed.err.contains("when these records are in place"),
        "{}",
        printed.err
    );

    let zone = world.zone("example.com").await;
    let name = records.iter().find(|record| record.contains(HOST)).unwrap();
    let name = name.split(' ').next().unwrap();
    world.add_record(&zone, name, "somebody.else.example").await;
    let fresh = ["config", "set", "--path", "aip_config.replicas", "2"];
    world.project.run(&fresh).ok();
    // moto has issued the first one by now: another set of names is another request.
    world
        .cert(&["request", "--san", "api.example.com"])
        .fails(1, "somebody.else.example already");
    // Nothing was created beside it either.
    let left = world.records(&zone).await;
    assert_eq!(
        left,
        [(name.to_owned(), "somebody.else.example".to_owned())]
    );

    let twin = world.zone("example.com").await;
    let request = ["request", "--san", "x.example.com"];
    let refused = world.cert(&request).fails(2, "choose one by --zone");
    assert!(
        refused.err.contains(&twin) && refused.err.contains(&zone),
        "{}",
        refused.err
    );
    let request = ["request", "--san", "y.example.com", "--zone"];
    world
        .cert(&[&request[..], &["Z404"]].concat())
        .fails(2, "no zone `Z404`");
    let request = ["request", "--san", "z.example.com", "--zone"];
    world.cert(&[&request[..], &[twin.as_str()]].concat()).ok();
    assert_eq!(world.records(&twin).await.len(), 2);
}
