//! Before a container runs: its image and its variables, waited for as long as they are missing.

use super::{ContainerWorker, MAX_BACK_OFF, waiting};
use crate::kubelet::environment::{Environment, Lookup};
use crate::kubelet::events::Kind;
use crate::kubelet::images::Image;
use crate::kubelet::pod::{Deleted, RETRY_INTERVAL};
use crate::kubelet::process::ProcessSpec;
use crate::kubelet::sources::SourceError;

impl ContainerWorker<'_> {
    /// The image, as soon as the registry has it.
    pub(super) async fn pull(&self) -> Result<Image, Deleted> {
        let reference = &self.image;
        let mut pause = self.run.shared.back_off;
        loop {
            let message = format!("Pulling image \"{reference}\"");
            self.event(Kind::Normal, "Pulling", message);
            let refusal = match self.run.shared.images.pull(reference) {
                Ok(image) => {
                    let message = format!("Successfully pulled image \"{reference}\"");
                    self.event(Kind::Normal, "Pulled", message);
                    return Ok(image);
                }
                Err(refusal) => refusal,
            };
            let cause = format!(
                "failed to pull and unpack image \"{reference}\": failed to resolve reference \
                 \"{reference}\": {refusal}"
            );
            let message = format!("Failed to pull image \"{reference}\": {cause}");
            self.event(Kind::Warning, "Failed", message);
            let back_off = format!("Back-off pulling image \"{reference}\": ErrImagePull: {cause}");
            for (reason, message) in [("ErrImagePull", cause), ("ImagePullBackOff", back_off)] {
                self.event(Kind::Warning, "Failed", format!("Error: {reason}"));
                self.run
                    .update(self.slot, |state| state.now = waiting(reason, message));
                self.run.pause(pause).await?;
            }
            pause = (pause * 2).min(MAX_BACK_OFF);
        }
    }

    /// What the container's processes need, as soon as all of it is there.
    pub(super) async fn configure(&self, image: Image) -> Result<ProcessSpec, Deleted> {
        loop {
            match self.environment(&image).await {
                Ok(environment) => {
                    return Ok(ProcessSpec {
                        container: self.container.clone(),
                        image,
                        environment,
                        rewrite: self.run.rewrite(self.container),
                        folder: self.run.folder("work"),
                        local: self.run.local_address(),
                        reaper: self.run.shared.reaper.clone(),
                    });
                }
                Err(error) => {
                    let message = error.to_string();
                    self.event(Kind::Warning, "Failed", format!("Error: {message}"));
                    let now = waiting("CreateContainerConfigError", message);
                    self.run.update(self.slot, |state| state.now = now);
                    self.run.pause(RETRY_INTERVAL).await?;
                }
            }
        }
    }

    async fn environment(&self, image: &Image) -> Result<Environment, SourceError> {
        let run = self.run;
        let mut environment = Environment::default();
        environment.set(
            "PATH",
            std::env::var_os("PATH")
                .unwrap_or_default()
                .to_string_lossy(),
        );
        environment.set("HOSTNAME", &run.name);
        environment.set("HOME", run.folder("work").to_string_lossy());
        environment.set("TMPDIR", run.folder("tmp").to_string_lossy());
        for (name, value) in &image.environment {
            environment.set(name, value);
        }
        let lookup = Lookup {
            client: &run.shared.client,
            namespace: &run.namespace,
            pod: &run.pod,
            address: &run.pod_address(),
        };
        lookup.fill(&mut environment, self.container).await?;
        if let Some((port, address)) = &image.listens
            && let Some(number) = environment.take(port)
        {
            environment.set(address, format!("{}:{number}", run.local_address()));
        }
        Ok(environment)
    }
}
