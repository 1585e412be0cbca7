//! `deploy/Tiltfile`, executed by a Starlark interpreter with stand-ins for Tilt's functions: what it
//! yields is applied, and what it builds from is there.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use cluster::tiltfile_program;
use serde_json::{Value, json};

use crate::gitops::apply_strictly;
use crate::test_project::{TestProject, program};

const TILTFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/Tiltfile");

/// The Tiltfile in the environment of the project's operator.
async fn execute(project: &TestProject, arguments: &[&str]) -> Output {
    let of_operator = project.command(&[]);
    let mut tiltfile = tokio::process::Command::new(tiltfile_program());
    tiltfile
        .arg(TILTFILE)
        .arg("--project")
        .arg(project.home())
        .args(["--aip-deploy", program().to_str().unwrap()])
        .args(arguments);
    for (name, value) in of_operator.as_std().get_envs() {
        if let Some(value) = value {
            tiltfile.env(name, value);
        }
    }
    tiltfile.output().await.unwrap()
}

/// The arguments of each call of a function.
fn calls<'a>(recorded: &'a Value, function: &str) -> Vec<&'a Value> {
    let all = recorded.as_array().unwrap().iter();
    all.filter(|call| call["function"] == function)
        .map(|call| &call["arguments"])
        .collect()
}

fn texts(list: &Value) -> BTreeSet<&str> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().map(|it| it.as_str().unwrap()).collect()
}

fn objects(recorded: &Value) -> Vec<&Value> {
    calls(recorded, "k8s_yaml")
        .into_iter()
        .flat_map(|call| call["objects"].as_array().unwrap())
        .collect()
}

async fn recorded(project: &TestProject, arguments: &[&str]) -> Value {
    let output = execute(project, arguments).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_tiltfile_yields_is_applied_and_its_inputs_exist() {
    let project = TestProject::new("tilt").await;
    let recorded = recorded(&project, &["--stack", "tilt"]).await;

    let mut live = Vec::new();
    for object in objects(&recorded) {
        let applied = apply_strictly(&project, object, true).await;
        live.push(applied.unwrap_or_else(|error| panic!("{error}\n{object:#}")));
    }
    let aip = live
        .iter()
        .find(|it| it.data["spec"]["template"]["spec"]["containers"][0]["name"] == "aip");
    let containers = aip.unwrap().data["spec"]["template"]["spec"]["containers"].clone();
    let containers = containers.as_array().unwrap().clone();
    let names: Vec<_> = containers.iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, [json!("aip"), json!("sandbox")]);

    let builds = calls(&recorded, "custom_build");
    assert_eq!(builds.len(), 1);
    for container in &containers {
        let image = container["image"].as_str().unwrap();
        let built = builds[0]["ref"].as_str().unwrap();
        assert_eq!(image.strip_prefix(built), Some(":v1"), "{image}");
    }
    let command = texts(&builds[0]["command"]);
    let script = command
        .iter()
        .find(|it| it.ends_with("build-image.sh"))
        .unwrap();
    let inputs = texts(&builds[0]["deps"]);
    assert!(inputs.len() > 3, "{inputs:?}");
    let watched = calls(&recorded, "watch_file");
    let watched = watched.iter().map(|it| it["file_path"].as_str().unwrap());
    for path in inputs.into_iter().chain([*script]).chain(watched) {
        assert!(Path::new(path).exists(), "{path} is not there");
    }

    // Every resource that is named is one, and AIP is reached where it listens.
    let workloads: BTreeSet<_> = objects(&recorded)
        .into_iter()
        .filter(|it| it["kind"] == "Deployment" || it["kind"] == "Job")
        .map(|it| it["metadata"]["name"].as_str().unwrap())
        .collect();
    let resources = calls(&recorded, "k8s_resource");
    let new_names = resources.iter().filter_map(|it| it["new_name"].as_str());
    let known: BTreeSet<_> = workloads.iter().copied().chain(new_names).collect();
    for resource in &resources {
        let workload = resource["workload"].as_str().unwrap();
        assert!(workloads.contains(workload), "{workload}");
        let awaited = texts(&resource["resource_deps"]);
        assert!(awaited.is_subset(&known), "{awaited:?} of {known:?}");
    }
    let aip = resources.iter().find(|it| it["workload"] == "aip").unwrap();
    assert!(texts(&aip["resource_deps"]).contains("migration"));
    let port = &containers[0]["ports"][0];
    assert_eq!(
        (&port["name"], &port["containerPort"]),
        (&json!("http"), &json!(8080))
    );
    assert!(texts(&aip["port_forwards"]).contains("8080:8080"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_with_a_database_gets_none_and_a_missing_one_is_named() {
    let project = TestProject::new("tilt-external").await;
    let arguments = ["--stack", "tilt-external", "--external-database"];
    let recorded = recorded(&project, &arguments).await;
    let names: BTreeSet<_> = objects(&recorded)
        .into_iter()
        .map(|it| it["metadata"]["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains("aip") && !names.contains("postgres"),
        "{names:?}"
    );

    for (arguments, words) in [
        (&["--stack", "other"][..], "Pulumi.other.yaml"),
        (&["--stack", "tilt-external", "--unknown"], "-unknown"),
        (
            &[
                "--stack",
                "tilt-external",
                "--aip-deploy",
                "no-such-program",
            ],
            "no-such-program",
        ),
    ] {
        let output = execute(&project, arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
