//! Applies the steps of one phase at once, and reports each as it ends.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use kube::core::DynamicObject;
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::namespace;
use crate::desired::{Desired, ObjectRef, Phase};
use crate::plan::tree::Progress;
use crate::plan::{Op, Plan};

use super::{ApplyError, ApprovedPlan, Reporter, Run};

/// The work so far.
pub(super) struct Stages<'s> {
    run: &'s Run<'s>,
    approved: &'s ApprovedPlan,
    progress: Vec<Progress>,
    applied: Vec<(ObjectRef, Value)>,
}

impl<'s> Stages<'s> {
    pub(super) fn new(run: &'s Run<'s>, approved: &'s ApprovedPlan) -> Self {
        let progress = approved
            .plan()
            .steps
            .iter()
            .map(|step| match step.op {
                Op::Same | Op::Retain => Progress::Done(std::time::Duration::ZERO),
                _ => Progress::Waiting,
            })
            .collect();
        Self {
            run,
            approved,
            progress,
            applied: Vec::new(),
        }
    }

    pub(super) fn plan(&self) -> &'s Plan {
        self.approved.plan()
    }

    /// The object as the API server returned it, if it was applied in this run.
    pub(super) fn applied(&self, object: &ObjectRef) -> Option<&Value> {
        let mut all = self.applied.iter();
        Some(&all.find(|(of, _)| of == object)?.1)
    }

    /// Creates the namespace, which the other objects need.
    pub(super) async fn namespace(&self) -> Result<(), ApplyError> {
        let object = namespace(self.run.namespace);
        let kind = object.resource();
        let desired = Desired {
            logical_name: object.logical_name.clone(),
            object: DynamicObject::new(&object.name, &kind),
            kind,
            phase: Phase::Foundation,
        };
        self.run.lease.check()?;
        match self.run.cluster.apply(&desired, false).await {
            Ok(_) => Ok(()),
            Err(source) => Err(ApplyError::Object { object, source }),
        }
    }

    /// Applies what the phase has to change. All steps are tried: one error is reported after the
    /// others came to their end, so that nothing is left under way.
    pub(super) async fn apply(
        &mut self,
        phase: Phase,
        reporter: &mut dyn Reporter,
    ) -> Result<(), ApplyError> {
        let plan = self.approved.plan();
        let started = Instant::now();
        let mut work = FuturesUnordered::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let Some(desired) = step
                .desired
                .as_ref()
                .filter(|desired| desired.phase == phase)
            else {
                continue;
            };
            if !step.must_be_sent() {
                continue;
            }
            self.run.lease.check()?;
            self.progress[index] = Progress::Running(started.elapsed());
            let force = self.approved.takes_ownership() || !step.conflicts.is_empty();
            let cluster = self.run.cluster;
            work.push(async move { (index, cluster.apply(desired, force).await) });
        }
        if work.is_empty() {
            return Ok(());
        }
        reporter.progress(plan, &self.progress);
        let mut first_error = None;
        while let Some((index, result)) = work.next().await {
            let object = plan.steps[index].object.clone();
            self.progress[index] = match result {
                Ok(live) => {
                    self.applied.push((object, live));
                    Progress::Done(started.elapsed())
                }
                Err(source) => {
                    first_error.get_or_insert(ApplyError::Object { object, source });
                    Progress::Failed
                }
            };
            reporter.progress(plan, &self.progress);
        }
        first_error.map_or(Ok(()), Err)
    }
}
