//! The plan of a move: what each step does, how it is checked, and the way back from it.

use serde::Serialize;

use crate::output::{Format, Row};

#[derive(Serialize)]
struct PlannedStep {
    step: &'static str,
    does: &'static str,
    check: &'static str,
    way_back: &'static str,
}

const PLAN: &[PlannedStep] = &[
    PlannedStep {
        step: "check",
        does: "looks at both databases; changes nothing",
        check: "versions, encodings, rights, the schema; that the other database is empty and is another one",
        way_back: "none is needed",
    },
    PlannedStep {
        step: "copy",
        does: "makes the schema at the other database and triggers at this one that note what is written; copies \
               every table, then what was noted",
        check: "the digest of each table, at one instant, in both databases",
        way_back: "`aip database move cancel`",
    },
    PlannedStep {
        step: "switch",
        does: "pauses writes for at most 10 s, copies the rest, closes this database, opens the other one",
        check: "the number of rows of each table, and the digest of all rows written since the copy; if they differ, \
                or time runs out, writes go on here",
        way_back: "until this database is closed: `aip database move cancel`; then a move in the other direction",
    },
    PlannedStep {
        step: "finish",
        does: "removes what the move needed; this database refuses writes for ever",
        check: "every reference between tables of the other database",
        way_back: "a move in the other direction, to an empty database",
    },
];

impl Row for PlannedStep {
    const COLUMNS: &'static [&'static str] = &["step", "does", "check", "way back"];
    const NONE: &'static str = "There are no steps.";

    fn cells(&self) -> Vec<String> {
        [self.step, self.does, self.check, self.way_back]
            .map(str::to_owned)
            .to_vec()
    }
}

pub(super) fn show(format: Format) -> anyhow::Result<()> {
    format.list(PLAN)
}
