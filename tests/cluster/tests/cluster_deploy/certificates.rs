//! A certificate of cert-manager: its issuer has to be there, and nothing changes before it is issued.

use cluster::definitions;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::test_project::TestProject;

const CERT_MANAGER: &str = "cert-manager.io";

/// Writes the conditions of the stack's Certificate, as cert-manager does.
async fn report(project: &TestProject, conditions: Value) {
    let api: Api<DynamicObject> = project.api(CERT_MANAGER, "Certificate");
    let status = json!({"status": {"conditions": conditions}});
    let report = PatchParams::default();
    api.patch_status("aip", &report, &Patch::Merge(&status))
        .await
        .unwrap();
}

fn condition(name: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": name, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1})
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_serves_before_the_certificate_is_issued() {
    let project = TestProject::new("cert").await;
    definitions::install(&project.client, definitions::CERT_MANAGER).await;
    let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "cert"},
        "spec": {"controller": "example.com/ingress"}});
    project
        .apply("networking.k8s.io", "IngressClass", class)
        .await;
    project.write(
        "v1",
        "trusted_proxies: [127.0.0.0/8]\nedge: {kind: ingress, ingress: {class: cert}}\ncertificate: {kind: \
         cert_manager, issuer: {name: letsencrypt}}",
    );
    project.run(&["up", "--yes"]).await.exits(1).says(
        "refers to ClusterIssuer letsencrypt, which does not exist: create it, or name another one: aip-deploy \
         config set --path aip_config.certificate.issuer.name",
    );
    assert_eq!(project.versions().await, []);
    let issuer = json!({"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer",
        "metadata": {"name": "letsencrypt"}, "spec": {"selfSigned": {}}});
    project.apply(CERT_MANAGER, "ClusterIssuer", issuer).await;

    let up = ["up", "--yes", "--timeout", "15"];
    project
        .run(&up)
        .await
        .exits(9)
        .says("Certificate aip: Ready not reported by cert-manager yet");
    let reason = "the DNS record was not found";
    report(
        &project,
        json!([
            condition("Ready", "False", "DoesNotExist", "no Secret yet"),
            condition("Issuing", "False", "Failed", reason),
        ]),
    )
    .await;
    project.run(&up).await.exits(4).says(reason);
    assert_eq!(project.names("apps", "Deployment").await, [""; 0]);

    report(
        &project,
        json!([condition("Ready", "True", "Ready", "issued")]),
    )
    .await;
    // What is left to wait for is the Ingress, which nobody gives an address here.
    project
        .run(&["up", "--yes", "--timeout", "60"])
        .await
        .exits(9)
        .says("Ingress aip: Address not reported");
    let ingress = project.api("networking.k8s.io", "Ingress").get("aip").await;
    assert_eq!(
        ingress.unwrap().data["spec"]["tls"][0]["secretName"],
        "aip-tls"
    );
    assert_eq!(project.names("apps", "Deployment").await, ["aip"]);
}
