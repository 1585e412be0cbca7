//! The committed figures reach their goals, or `bench/goals.toml` says why not.

use std::fs;

use serde_json::Value;

use crate::checkout::{assert_clean, root};

/// What is wrong with a goal, given the figure that was measured.
fn finding(goal: &toml::Table, measured: Option<f64>) -> Option<String> {
    let name = format!("{} {}", goal["bench"], goal["result"]);
    let Some(measured) = measured else {
        return Some(format!("{name}: bench/results has no such figure"));
    };
    let limit = |key: &str| goal.get(key).and_then(number);
    let reached = match (limit("at_least"), limit("at_most")) {
        (Some(least), None) => measured >= least,
        (None, Some(most)) => measured <= most,
        _ => return Some(format!("{name}: one of at_least and at_most")),
    };
    match (reached, goal.get("missed")) {
        (true, None) | (false, Some(_)) => None,
        (true, Some(_)) => Some(format!("{name} is {measured}: reached, `missed` goes")),
        (false, None) => Some(format!("{name} is {measured}: missed")),
    }
}

fn number(value: &toml::Value) -> Option<f64> {
    value.as_float().or_else(|| {
        value
            .as_integer()
            .and_then(|it| i32::try_from(it).ok())
            .map(f64::from)
    })
}

/// The committed figure.
fn figure(bench: &str, result: &str) -> Option<f64> {
    let path = root().join(format!("bench/results/{bench}.json"));
    let report: Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    let mut results = report["results"].as_array()?.iter();
    results.find(|it| it["name"] == result)?["value"].as_f64()
}

#[test]
fn committed_figures_reach_their_goals_or_say_why_not() {
    let text = fs::read_to_string(root().join("bench/goals.toml")).unwrap();
    let goals: toml::Table = text.parse().unwrap();
    let goals = goals["goal"].as_array().unwrap();
    assert!(goals.len() > 20, "the goals are not read");
    let findings: Vec<String> = goals
        .iter()
        .filter_map(|goal| {
            let goal = goal.as_table().unwrap();
            let (bench, result) = (goal["bench"].as_str(), goal["result"].as_str());
            finding(goal, figure(bench.unwrap(), result.unwrap()))
        })
        .collect();
    assert_clean(
        &findings,
        "find out why (docs/benchmarks.md), mend it, or give the reason as `missed` in bench/goals.toml",
    );
}

#[test]
fn a_figure_is_judged_by_its_goal() {
    for (limit, measured, fine) in [
        ("at_least = 2", Some(2.0), true),
        ("at_least = 2", Some(1.9), false),
        ("at_least = 2\nmissed = 'why'", Some(1.9), true),
        ("at_least = 2\nmissed = 'why'", Some(2.1), false),
        ("at_most = 0.5", Some(0.5), true),
        ("at_most = 0.5", Some(0.6), false),
        ("at_most = 0.5\nmissed = 'why'", Some(0.6), true),
        ("at_most = 0.5", None, false),
        ("", Some(1.0), false),
        ("at_least = 1\nat_most = 2", Some(1.0), false),
    ] {
        let goal: toml::Table = format!("bench = 'b'\nresult = 'r'\n{limit}")
            .parse()
            .unwrap();
        assert_eq!(
            finding(&goal, measured).is_none(),
            fine,
            "{limit} {measured:?}"
        );
    }
}
