//! Shows an apply as it goes on: redrawn on a terminal, one line per event elsewhere.

use crate::apply::Reporter;
use crate::plan::Plan;
use crate::plan::tree::{Names, Progress, tree};
use crate::rollout::pod_view::PodView;
use crate::rollout::{Rollout, render};
use crate::ui::Screen;
use crate::ui::style::{self, paint};

/// Follows one apply.
pub struct Live<'l> {
    screen: &'l Screen,
    names: Names<'l>,
    heading: String,
    steps: Vec<String>,
    progress: Vec<Progress>,
    below: Vec<String>,
    rollout: Option<Rollout>,
    pods: Vec<String>,
}

impl<'l> Live<'l> {
    /// Begins with the heading.
    pub fn new(screen: &'l Screen, names: Names<'l>, heading: &str) -> Self {
        let heading = format!("{} ({}):", paint(style::HEADLINE, heading), names.stack);
        if !screen.redraws() {
            screen.line(&heading);
        }
        Self {
            screen,
            names,
            heading,
            steps: Vec::new(),
            progress: Vec::new(),
            below: Vec::new(),
            rollout: None,
            pods: Vec::new(),
        }
    }

    /// How far the steps came.
    pub fn progress(&self) -> &[Progress] {
        &self.progress
    }

    /// Leaves the last picture of the rollout on the screen; the tree of the steps is printed
    /// again with the result.
    pub fn finish(&self) {
        self.screen.clear_region();
        if self.screen.redraws() && !self.below.is_empty() {
            self.screen.lines(&self.below);
            self.screen.line("");
        }
    }

    fn draw(&self) {
        let mut lines = vec![self.heading.clone()];
        lines.extend(self.steps.iter().cloned());
        if !self.below.is_empty() {
            lines.push(String::new());
            lines.extend(self.below.iter().cloned());
        }
        self.screen.redraw(&lines);
    }
}

impl Reporter for Live<'_> {
    fn progress(&mut self, plan: &Plan, progress: &[Progress]) {
        self.steps = tree(plan, self.names, Some(progress));
        self.draw();
        if !self.screen.redraws() {
            for (index, (step, now)) in plan.steps.iter().zip(progress).enumerate() {
                let before = self
                    .progress
                    .get(index)
                    .copied()
                    .unwrap_or(Progress::Waiting);
                let ended = matches!(now, Progress::Done(_) | Progress::Failed);
                if step.is_change() && ended && before != *now {
                    self.screen.line(event(step, *now));
                }
            }
        }
        self.progress = progress.to_vec();
    }

    fn migration(&mut self, job: &str, pods: &[PodView]) {
        let lines = render::pods(pods);
        self.below = vec![format!("Job {job}")];
        self.below
            .extend(lines.iter().map(|line| format!("  {line}")));
        self.draw();
        if !self.screen.redraws() {
            for line in lines.iter().filter(|line| !self.pods.contains(line)) {
                self.screen.line(format!("Job {job}: {line}"));
            }
        }
        self.pods = lines;
    }

    fn rollout(&mut self, rollout: &Rollout) {
        self.below = render::tree(rollout);
        self.draw();
        if !self.screen.redraws() {
            self.screen
                .lines(render::events(self.rollout.as_ref(), rollout));
        }
        self.rollout = Some(rollout.clone());
    }

    fn log(&mut self, container: &str, lines: &[String]) {
        if !lines.is_empty() {
            self.screen.clear_region();
            self.screen.line(format!("Last lines of {container}:"));
            self.screen
                .lines(lines.iter().map(|line| format!("  | {line}")));
        }
    }
}

/// ` ~  kubernetes:apps/v1:Deployment aip updated (2s)`
fn event(step: &crate::plan::Step, progress: Progress) -> String {
    let sign = crate::plan::tree::sign(&step.op);
    let status = crate::plan::tree::status(&step.op, progress);
    let object = &step.object;
    format!(
        " {sign} {} {} {status}",
        object.type_token(),
        object.logical_name
    )
}
