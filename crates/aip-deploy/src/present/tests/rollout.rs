//! What a reader of a rollout sees, on a terminal and in a pipe.

#[path = "../../../../aip-apply/tests/rollout_objects/mod.rs"]
mod rollout_objects;

use aip_apply::rollout::pod_view::{ContainerState, LastRun};
use rollout_objects::{midway, ready, waiting};
use serde_json::json;

use crate::present::rollout::{events, tree};
use crate::ui::style::plain;

#[test]
fn the_tree_shows_the_way_down_to_the_container_that_fails() {
    let mut rollout = midway(&waiting("containerStatuses", "aip", "ImagePullBackOff", 0));
    rollout.replica_sets[0].pods[0].containers[0].state = ContainerState::Terminated(LastRun {
        exit: 0,
        reason: "Completed".to_owned(),
    });
    insta::assert_snapshot!(plain(&tree(&rollout).join("\n")));
}

#[test]
fn no_set_is_old_before_the_new_one_is_made() {
    let mut rollout = midway(&json!({"phase": "Pending"}));
    rollout.generation = 3;
    let shown = plain(&tree(&rollout).join("\n"));
    assert!(
        !shown.contains("(old") && !shown.contains("(new"),
        "{shown}"
    );
    rollout.observed_generation = 3;
    let shown = plain(&tree(&rollout).join("\n"));
    assert!(
        shown.contains("(new, revision 2)") && shown.contains("(old, revision 1)"),
        "{shown}"
    );
}

#[test]
fn a_pipe_gets_a_line_for_what_changed_and_nothing_twice() {
    let before = midway(&json!({"phase": "Pending"}));
    assert_eq!(events(Some(&before), &before), Vec::<String>::new());
    let mut after = midway(&ready());
    after.replica_sets[1].pods.clear();
    after.available = 4;
    insta::assert_snapshot!(plain(&events(Some(&before), &after).join("\n")));
}
