//! The form of a benchmark's result: medians over rounds, with the spread beside them.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use harness::machine::Machine;

/// One run of one benchmark.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) bench: &'static str,
    pub(crate) commit: String,
    pub(crate) machine: Machine,
    pub(crate) results: Vec<Measurement>,
}

/// One figure; `value` is the median of the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Measurement {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

impl Report {
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Measurement {
    pub(crate) fn of(name: &str, unit: &'static str, mut rounds: Vec<f64>) -> Result<Self> {
        rounds.sort_by(f64::total_cmp);
        let (min, max) = rounds
            .first()
            .zip(rounds.last())
            .with_context(|| format!("{name}: no round was measured"))?;
        let upper = rounds.len() / 2;
        let lower = (rounds.len() - 1) / 2;
        Ok(Self {
            name: name.to_owned(),
            unit,
            value: rounded(f64::midpoint(rounds[lower], rounds[upper])),
            min: rounded(*min),
            max: rounded(*max),
            rounds: rounds.len(),
        })
    }

    pub(crate) fn line(&self) -> String {
        format!(
            "{}: {:.2} {} (min {:.2}, max {:.2}, {} rounds)",
            self.name, self.value, self.unit, self.min, self.max, self.rounds
        )
    }
}

/// More digits than these are noise.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_the_median_and_no_outlier_moves_it() {
        let odd = Measurement::of("a", "ms", vec![3.0, 900.0, 1.0]).unwrap();
        assert_eq!(odd.line(), "a: 3.00 ms (min 1.00, max 900.00, 3 rounds)");
        let even = Measurement::of("b", "ms", vec![4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(even.line(), "b: 2.50 ms (min 1.00, max 4.00, 4 rounds)");
    }

    #[test]
    fn without_a_round_there_is_no_figure() {
        Measurement::of("a", "ms", Vec::new()).unwrap_err();
    }
}
