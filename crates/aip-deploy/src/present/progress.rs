//! Shows an apply as it goes on: redrawn on a terminal, one line per event elsewhere.

use aip_apply::apply::{Progress, Reporter};
use aip_apply::plan::{Plan, Step};
use aip_apply::rollout::AwaitedView;
use aip_apply::rollout::dependency::DependencyView;
use aip_apply::rollout::model::{JobView, Rollout};
use aip_apply::rollout::status::StatusView;

use crate::present::tree::{StackInfo, marker, status, tree};
use crate::present::{rollout, type_token};
use crate::ui::Screen;
use crate::ui::style::{self, paint};

pub(crate) struct ProgressView<'v> {
    screen: &'v Screen,
    stack_info: StackInfo<'v>,
    heading: String,
    steps: Vec<String>,
    progress: Vec<Progress>,
    below: Vec<String>,
    rollout: Option<Rollout>,
    /// The lines about the last object.
    printed_lines: Vec<String>,
}

impl<'v> ProgressView<'v> {
    /// Without a redrawable terminal, prints the heading at once.
    pub(crate) fn new(screen: &'v Screen, stack_info: StackInfo<'v>, heading: &str) -> Self {
        let heading = format!(
            "{} ({}):",
            paint(style::HEADLINE, heading),
            stack_info.stack
        );
        if !screen.redraws() {
            screen.line(&heading);
        }
        Self {
            screen,
            stack_info,
            heading,
            steps: Vec::new(),
            progress: Vec::new(),
            below: Vec::new(),
            rollout: None,
            printed_lines: Vec::new(),
        }
    }

    /// One entry per step of the plan.
    pub(crate) fn progress(&self) -> &[Progress] {
        &self.progress
    }

    /// Leaves the last frame of the rollout on the screen; the tree of the steps is printed
    /// again with the result.
    pub(crate) fn finish(&self) {
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

    fn job(&mut self, job: &JobView) {
        let mut lines = rollout::pods(&job.pods);
        lines.extend(job.last_log_line.iter().map(|line| format!("  | {line}")));
        self.object(&format!("Job {}", job.name), lines);
    }

    fn status(&mut self, view: &StatusView) {
        self.object(&format!("{} {}", view.kind, view.name), view.lines());
    }

    fn dependency(&mut self, view: &DependencyView) {
        let mut lines = view.lines();
        lines.extend(rollout::pods(&view.pods));
        self.object(&format!("{} {}", view.kind, view.name), lines);
    }

    /// An object and the lines about it, of which those that are new are events.
    fn object(&mut self, title: &str, lines: Vec<String>) {
        self.below = vec![title.to_owned()];
        self.below
            .extend(lines.iter().map(|line| format!("  {line}")));
        self.draw();
        if !self.screen.redraws() {
            for line in lines
                .iter()
                .filter(|line| !self.printed_lines.contains(line))
            {
                self.screen.line(format!("{title}: {line}"));
            }
        }
        self.printed_lines = lines;
    }

    fn rollout(&mut self, rollout: &Rollout) {
        self.below = rollout::tree(rollout);
        self.draw();
        if !self.screen.redraws() {
            self.screen
                .lines(rollout::events(self.rollout.as_ref(), rollout));
        }
        self.rollout = Some(rollout.clone());
    }
}

impl Reporter for ProgressView<'_> {
    fn progress(&mut self, plan: &Plan, progress: &[Progress]) {
        self.steps = tree(plan, self.stack_info, Some(progress));
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

    fn awaited(&mut self, view: AwaitedView<'_>) {
        match view {
            AwaitedView::Deployment(rollout) => self.rollout(rollout),
            AwaitedView::Job(job) => self.job(job),
            AwaitedView::Status(view) => self.status(view),
            AwaitedView::Dependency(view) => self.dependency(view),
        }
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
fn event(step: &Step, progress: Progress) -> String {
    let marker = marker(&step.op);
    let status = status(&step.op, progress);
    let object = &step.object;
    format!(
        " {marker} {} {} {status}",
        type_token(object),
        object.logical_name
    )
}
