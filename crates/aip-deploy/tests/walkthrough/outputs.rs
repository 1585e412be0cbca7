//! `stack output`, before there is a cluster.

use serde_json::Value;

use crate::test_project::TestProject;

#[test]
fn what_is_known_without_a_cluster_is_shown_without_one() {
    let project = TestProject::new();
    project.set_repository();
    let one = |name: &str| project.run(&["stack", "output", name]);
    assert_eq!(one("image").ok().out, "registry.example.com/aip:v0.1.1\n");
    assert_eq!(one("namespace").ok().out, "aip-main\n");
    one("address").fails(1, "the load balancer has no address yet");
    one("nope").fails(1, "has no output named 'nope'");
    let all = project.run(&["stack", "output"]).ok().out;
    assert!(all.contains("address    (not assigned yet)"), "{all}");
    let json: Value =
        serde_json::from_str(&project.run(&["stack", "output", "--json"]).ok().out).unwrap();
    assert_eq!(json["address"], Value::Null);
    assert_eq!(json["context"], "aip-test");

    let inside = [
        "config",
        "set",
        "--path",
        "aip_config.service.type",
        "cluster_ip",
    ];
    project.run(&inside).ok();
    one("address").fails(1, "has no output named 'address'");
}
