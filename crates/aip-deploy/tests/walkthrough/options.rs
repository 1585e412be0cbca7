//! Flags from the environment.

use crate::test_project::TestProject;

#[test]
fn a_flag_may_come_from_the_environment_and_the_command_line_counts_more() {
    let project = TestProject::new();
    project.run(&["stack", "init", "dev"]).ok();
    let dev = [("PULUMI_OPTION_STACK", "dev")];
    let context = ["config", "set", "k8s_context", "there"];
    project.run_in(&context, &dev, None).ok();
    assert!(project.text("dev").contains("k8s_context: there"));
    let get = ["config", "get", "k8s_context", "--stack", "main"];
    assert_eq!(project.run_in(&get, &dev, None).ok().out, "aip-test\n");
    let path = [("PULUMI_OPTION_PATH", "true")];
    let tag = ["-s", "main", "config", "get", "aip_config.image_tag"];
    assert_eq!(project.run_in(&tag, &path, None).ok().out, "v0.1.1\n");
    let nonsense = [("PULUMI_OPTION_PATH", "perhaps")];
    project
        .run_in(&tag, &nonsense, None)
        .fails(2, "PULUMI_OPTION_PATH must be true or false");
}
