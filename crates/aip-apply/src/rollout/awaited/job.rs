//! A Job is done when it has the condition `Complete`. It has failed with the condition `Failed`,
//! or when its Pods cannot run by waiting longer: an image that does not exist, Pods that are
//! refused, a Job that is suspended or being deleted. `verdict.rs` has the rules. The last line of its log
//! tells how far it is, and a Job that is done says what it did: the end of its log is shown.

use futures_util::stream::SelectAll;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::watcher::Config;

use crate::rollout::cache::{Cache, WatchStream, best_effort, watch};
use crate::rollout::follow::Awaited;
use crate::rollout::model::JobView;
use crate::rollout::verdict::{Verdict, judge_job};

#[derive(Default)]
pub(super) struct JobWatch {
    jobs: Cache<Job>,
    pods: Cache<Pod>,
    about_job: Cache<Event>,
    about_pods: Cache<Event>,
    last_log_line: Option<String>,
}

impl Awaited for JobWatch {
    type View = JobView;
    const KIND: &'static str = "Job";

    fn watches(client: &Client, namespace: &str, name: &str) -> SelectAll<WatchStream<Self>> {
        let all = Config::default();
        let by_name = all.clone().fields(&format!("metadata.name={name}"));
        let of_job = format!("batch.kubernetes.io/job-name={name}");
        let of_job = all.clone().labels(&of_job);
        let about_job = format!("involvedObject.kind=Job,involvedObject.name={name}");
        let about_job = all.clone().fields(&about_job);
        let about_pods = all.fields("involvedObject.kind=Pod");
        SelectAll::from_iter([
            watch(client, namespace, by_name, |at: &mut Self| &mut at.jobs),
            watch(client, namespace, of_job, |at: &mut Self| &mut at.pods),
            best_effort(watch(client, namespace, about_job, |at: &mut Self| {
                &mut at.about_job
            })),
            best_effort(watch(client, namespace, about_pods, |at: &mut Self| {
                &mut at.about_pods
            })),
        ])
    }

    fn is_complete(&self) -> bool {
        self.jobs.is_complete() && self.pods.is_complete()
    }

    fn view(&self, name: &str) -> Option<JobView> {
        let mut events = self.about_job.all();
        events.extend(self.about_pods.all());
        let job = self.jobs.get(name)?;
        Some(JobView {
            last_log_line: self.last_log_line.clone(),
            ..JobView::read(job, &self.pods.all(), &events)
        })
    }

    fn judge(view: &JobView, now: Timestamp) -> Verdict {
        judge_job(view, now)
    }

    fn logs_when_done(view: &JobView) -> Vec<(String, String)> {
        let containers = view.pods.iter().flat_map(|pod| {
            let own = pod.containers.iter().filter(|container| !container.init);
            own.map(|container| (pod.name.clone(), container.name.clone()))
        });
        containers.collect()
    }

    fn at_work(view: &JobView) -> Option<(String, String)> {
        view.at_work()
    }

    fn record_log_line(&mut self, line: String) {
        self.last_log_line = Some(line);
    }
}
