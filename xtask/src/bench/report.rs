//! The form of a benchmark's result: medians over rounds, with the spread beside them.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::machine::Machine;

/// One run of one benchmark.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) bench: &'static str,
    pub(super) commit: String,
    pub(super) machine: Machine,
    pub(super) results: Vec<Measurement>,
}

/// One figure; `value` is the median of the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Measurement {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) value: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) rounds: usize,
}

impl Report {
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Measurement {
    pub(super) fn of(name: &'static str, unit: &'static str, mut rounds: Vec<f64>) -> Result<Self> {
        rounds.sort_by(f64::total_cmp);
        let (min, max) = rounds
            .first()
            .zip(rounds.last())
            .with_context(|| format!("{name}: no round was measured"))?;
        let upper = rounds.len() / 2;
        let lower = (rounds.len() - 1) / 2;
        Ok(Self {
            name,
            unit,
            value: f64::midpoint(rounds[lower], rounds[upper]),
            min: *min,
            max: *max,
            rounds: rounds.len(),
        })
    }

    pub(super) fn line(&self) -> String {
        format!(
            "{}: {:.1} {} (min {:.1}, max {:.1}, {} rounds)",
            self.name, self.value, self.unit, self.min, self.max, self.rounds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_the_median_and_no_outlier_moves_it() {
        let odd = Measurement::of("a", "ms", vec![3.0, 900.0, 1.0]).unwrap();
        assert_eq!(odd.line(), "a: 3.0 ms (min 1.0, max 900.0, 3 rounds)");
        let even = Measurement::of("b", "ms", vec![4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(even.line(), "b: 2.5 ms (min 1.0, max 4.0, 4 rounds)");
    }

    #[test]
    fn without_a_round_there_is_no_figure() {
        Measurement::of("a", "ms", Vec::new()).unwrap_err();
    }
}
