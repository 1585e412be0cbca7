//! The alert rules and the dashboard in `deploy/observability/` read metrics that exist, by labels
//! that they have.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is test code: what fails here fails the test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aip_telemetry::{Kind, METRICS, Metric};
use promql_parser::parser::{self, AggregateExpr, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use saphyr_parser::{Event, Parser, StrInput};
use serde_json::Value;

/// Labels that Prometheus adds to whatever it reads.
const ADDED: &[&str] = &["job", "instance"];

/// Functions whose argument must only grow.
const OF_COUNTERS: &[&str] = &["rate", "irate", "increase"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/observability")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// The rules, as JSON: every scalar a string.
fn yaml(text: &str) -> Value {
    let mut events = Parser::new_from_str(text);
    while let Some(event) = events.next() {
        let (event, _) = event.unwrap();
        if matches!(event, Event::DocumentStart(_)) {
            let (first, _) = events.next().unwrap().unwrap();
            return node(&first, &mut events);
        }
    }
    panic!("an empty document");
}

fn node(event: &Event<'_>, events: &mut Parser<'_, StrInput<'_>>) -> Value {
    match event {
        Event::Scalar(text, ..) => Value::String(text.to_string()),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            loop {
                match events.next().unwrap().unwrap().0 {
                    Event::SequenceEnd => return list.into(),
                    event => list.push(node(&event, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut map = serde_json::Map::new();
            loop {
                match events.next().unwrap().unwrap().0 {
                    Event::MappingEnd => return map.into(),
                    Event::Scalar(key, ..) => {
                        let (event, _) = events.next().unwrap().unwrap();
                        map.insert(key.to_string(), node(&event, events));
                    }
                    other => panic!("a key that is no scalar: {other:?}"),
                }
            }
        }
        other => panic!("not expected here: {other:?}"),
    }
}

/// What is wrong with an expression.
#[derive(Default)]
struct Findings {
    said: Vec<String>,
    /// The labels of the metrics that were read so far.
    labels: BTreeSet<String>,
}

impl Findings {
    fn of(expression: &str) -> Vec<String> {
        // Grafana fills it in.
        let expression = expression.replace("$__rate_interval", "5m");
        let tree = match parser::parse(&expression) {
            Ok(tree) => tree,
            Err(error) => return vec![format!("{error}: {expression}")],
        };
        let mut findings = Self::default();
        walk_expr(&mut findings, &tree).unwrap();
        findings.said
    }

    fn read(&mut self, selector: &VectorSelector) {
        let name = selector.name.as_deref().unwrap_or_default();
        if name == "up" {
            return self.labels.extend(ADDED.iter().map(|&it| it.to_owned()));
        }
        let Some((metric, bucket)) = metric(name) else {
            return self.said.push(format!("there is no metric {name}"));
        };
        let mut labels: BTreeSet<&str> = metric.labels.iter().copied().collect();
        labels.extend(ADDED);
        if bucket {
            labels.insert("le");
        }
        for matcher in &selector.matchers.matchers {
            if !labels.contains(matcher.name.as_str()) {
                let finding = format!("{name} has no label {}", matcher.name);
                self.said.push(finding);
            }
        }
        self.labels.extend(labels.iter().map(|&it| it.to_owned()));
    }
}

impl ExprVisitor for Findings {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        match expression {
            Expr::VectorSelector(selector) => self.read(selector),
            Expr::MatrixSelector(range) => self.read(&range.vs),
            Expr::Call(call) if OF_COUNTERS.contains(&call.func.name) => {
                if let Some(argument) = call.args.args.first()
                    && let Expr::MatrixSelector(range) = &**argument
                    && let Some((metric, _)) = metric(range.vs.name.as_deref().unwrap_or_default())
                    && metric.kind == Kind::Gauge
                    && metric.name != "aip_process_cpu_seconds"
                {
                    let finding = format!("{} of the gauge {}", call.func.name, metric.name);
                    self.said.push(finding);
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn post_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        if let Expr::Aggregate(AggregateExpr {
            modifier: Some(modifier),
            ..
        }) = expression
        {
            for label in &modifier.labels().labels {
                if !self.labels.contains(label) {
                    self.said
                        .push(format!("nothing here has the label {label}"));
                }
            }
        }
        Ok(true)
    }
}

/// The metric behind a series, and whether the series is one of buckets.
fn metric(series: &str) -> Option<(&'static Metric, bool)> {
    let named = |name: &str| METRICS.iter().find(|metric| metric.name == name);
    if let Some(metric) = named(series) {
        // Of a histogram there are only buckets, a count and a sum.
        return (metric.kind != Kind::Histogram).then_some((metric, false));
    }
    ["_bucket", "_count", "_sum"].iter().find_map(|suffix| {
        let metric = named(series.strip_suffix(suffix)?)?;
        (metric.kind == Kind::Histogram).then_some((metric, *suffix == "_bucket"))
    })
}

/// Every `expr` in a dashboard, with the title of its panel.
fn expressions(panel: &Value) -> Vec<(String, String)> {
    let title = panel["title"].as_str().unwrap_or("-");
    let targets = panel["targets"].as_array().into_iter().flatten();
    targets
        .map(|target| {
            (
                title.to_owned(),
                target["expr"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().unwrap()
}

#[track_caller]
fn assert_sound(expressions: &[(String, String)]) {
    let findings: Vec<String> = expressions
        .iter()
        .flat_map(|(place, expression)| {
            let findings = Findings::of(expression);
            findings.into_iter().map(move |it| format!("{place}: {it}"))
        })
        .collect();
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn alert_rules_read_metrics_that_exist() {
    let rules = yaml(&read("aip-alerts.yaml"));
    let rules: Vec<&Value> = list(&rules, "groups")
        .iter()
        .flat_map(|group| list(group, "rules"))
        .collect();
    assert!(rules.len() >= 10);
    let mut expressions = Vec::new();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        expressions.push((name.to_owned(), rule["expr"].as_str().unwrap().to_owned()));
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["page", "ticket"].contains(&severity), "{name}");
        for annotation in ["summary", "runbook"] {
            let text = rule["annotations"][annotation].as_str();
            assert!(
                text.is_some_and(|text| text.len() > 20),
                "{name}: {annotation}"
            );
        }
    }
    assert_sound(&expressions);
}

#[test]
fn the_dashboard_reads_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("aip-dashboard.json")).unwrap();
    let panels = list(&dashboard, "panels");
    let expressions: Vec<_> = panels.iter().flat_map(expressions).collect();
    assert_sound(&expressions);
    let ids: BTreeSet<u64> = panels.iter().map(|it| it["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");

    let all: String = expressions.into_iter().map(|(_, it)| it).collect();
    let unseen: Vec<&str> = METRICS
        .iter()
        .map(|metric| metric.name)
        .filter(|name| !all.contains(name))
        .collect();
    assert!(unseen.is_empty(), "no panel shows {unseen:?}");
}

#[test]
fn an_expression_that_reads_what_is_not_there_is_found() {
    for (expression, finding) in [
        ("rate(aip_nothing_total[5m])", "no metric aip_nothing_total"),
        (
            "sum by (colour) (rate(aip_http_requests_total[5m]))",
            "the label colour",
        ),
        (r#"aip_valkey_up{colour="red"}"#, "no label colour"),
        ("aip_http_request_seconds", "no metric"),
        ("rate(aip_valkey_up[5m])", "of the gauge"),
        ("sum(aip_valkey_up", "unclosed"),
    ] {
        let findings = Findings::of(expression).join("\n");
        assert!(findings.contains(finding), "{expression}: {findings:?}");
    }
}
