//! Volumes: folders that only this Pod has, filled before its first container starts.
//! <https://kubernetes.io/docs/concepts/storage/volumes/>

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, KeyToPath, PersistentVolumeClaim, Pod, ServiceAccount,
    ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use kube::Client;
use kube::api::{Api, PostParams};

use super::sources::{Data, Source, SourceError, field};

/// Where volumes are filled from and where to.
pub(crate) struct Volumes<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a Pod,
    pub(crate) address: &'a str,
    pub(crate) folder: &'a Path,
}

/// The folder of a volume.
fn volume_folder(pod: &Path, volume: &str) -> PathBuf {
    pod.join("volumes").join(volume)
}

/// Mount paths of a container, and where they are on this machine.
pub(crate) fn mounts(pod: &Path, container: &Container) -> Vec<(String, PathBuf)> {
    let mounts = container.volume_mounts.iter().flatten();
    mounts
        .map(|mount| {
            let folder = volume_folder(pod, &mount.name);
            let inside = mount.sub_path.as_deref().unwrap_or_default();
            (mount.mount_path.clone(), folder.join(inside))
        })
        .collect()
}

impl Volumes<'_> {
    /// Fills every volume, or says which cannot be filled and why.
    pub(crate) async fn fill(&self) -> Result<(), (String, SourceError)> {
        let volumes = self
            .pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            let folder = volume_folder(self.folder, &volume.name);
            self.volume(volume, &folder)
                .await
                .map_err(|error| (volume.name.clone(), error))?;
        }
        Ok(())
    }

    async fn volume(&self, volume: &Volume, folder: &Path) -> Result<(), SourceError> {
        fs::create_dir_all(folder)?;
        if let Some(secret) = &volume.secret {
            let source = Source::Secret(secret.secret_name.as_deref().unwrap_or_default());
            let items = secret.items.as_deref();
            return self
                .files(source, items, secret.optional, secret.default_mode, folder)
                .await;
        }
        if let Some(map) = &volume.config_map {
            let items = map.items.as_deref();
            return self
                .files(
                    Source::ConfigMap(&map.name),
                    items,
                    map.optional,
                    map.default_mode,
                    folder,
                )
                .await;
        }
        if let Some(projected) = &volume.projected {
            for source in projected.sources.iter().flatten() {
                self.projection(source, projected.default_mode, folder)
                    .await?;
            }
            return Ok(());
        }
        if let Some(downward) = &volume.downward_api {
            let items = downward.items.as_deref().unwrap_or_default();
            return self.fields(items, downward.default_mode, folder);
        }
        if let Some(source) = &volume.persistent_volume_claim {
            return self.bound(&source.claim_name).await;
        }
        match volume.empty_dir {
            Some(_) => Ok(()),
            None => Err(SourceError::Unknown("this kind of volume".to_owned())),
        }
    }

    /// Waits for the volume of a claim. What is written there goes with the Pod all the same.
    async fn bound(&self, claim: &str) -> Result<(), SourceError> {
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), self.namespace);
        let status = claims.get(claim).await?.status;
        match status.and_then(|status| status.phase).as_deref() {
            Some("Bound") => Ok(()),
            _ => Err(SourceError::Unknown(format!(
                "a volume for persistentvolumeclaim {claim}, which is not bound"
            ))),
        }
    }

    async fn projection(
        &self,
        source: &VolumeProjection,
        mode: Option<i32>,
        folder: &Path,
    ) -> Result<(), SourceError> {
        if let Some(secret) = &source.secret {
            let items = secret.items.as_deref();
            self.files(
                Source::Secret(&secret.name),
                items,
                secret.optional,
                mode,
                folder,
            )
            .await?;
        }
        if let Some(map) = &source.config_map {
            let items = map.items.as_deref();
            self.files(
                Source::ConfigMap(&map.name),
                items,
                map.optional,
                mode,
                folder,
            )
            .await?;
        }
        if let Some(downward) = &source.downward_api {
            self.fields(downward.items.as_deref().unwrap_or_default(), mode, folder)?;
        }
        if let Some(token) = &source.service_account_token {
            let text = self.token(token).await?;
            write(folder, &token.path, text.as_bytes(), mode)?;
        }
        Ok(())
    }

    /// The chosen keys of an object as files, or all of them.
    async fn files(
        &self,
        source: Source<'_>,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
        folder: &Path,
    ) -> Result<(), SourceError> {
        let Some(data) = source.read(self.client, self.namespace, optional).await? else {
            return Ok(());
        };
        let Some(items) = items else {
            return write_all(folder, &data, mode);
        };
        for item in items {
            match data.get(&item.key) {
                Some(value) => write(folder, &item.path, value, item.mode.or(mode))?,
                None if optional == Some(true) => {}
                None => {
                    let what = format!(
                        "a key that is not there: references non-existent secret key: {}",
                        item.key
                    );
                    return Err(SourceError::Unknown(what));
                }
            }
        }
        Ok(())
    }

    fn fields(
        &self,
        items: &[DownwardAPIVolumeFile],
        mode: Option<i32>,
        folder: &Path,
    ) -> Result<(), SourceError> {
        for item in items {
            let Some(selector) = &item.field_ref else {
                return Err(SourceError::Unknown(
                    "this field of the downward API".to_owned(),
                ));
            };
            let value = field(self.pod, self.address, selector)?;
            write(folder, &item.path, value.as_bytes(), item.mode.or(mode))?;
        }
        Ok(())
    }

    /// A token for the Pod's service account, as the kubelet asks for one.
    async fn token(
        &self,
        projection_spec: &ServiceAccountTokenProjection,
    ) -> Result<String, SourceError> {
        let spec = self.pod.spec.as_ref();
        let account = spec
            .and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or("default");
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: projection_spec.audience.iter().cloned().collect(),
                expiration_seconds: projection_spec.expiration_seconds,
                bound_object_ref: None,
            },
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), self.namespace);
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await?;
        Ok(answer.status.map(|status| status.token).unwrap_or_default())
    }
}

fn write_all(folder: &Path, data: &Data, mode: Option<i32>) -> Result<(), SourceError> {
    for (key, value) in data {
        write(folder, key, value, mode)?;
    }
    Ok(())
}

fn write(folder: &Path, path: &str, value: &[u8], mode: Option<i32>) -> Result<(), SourceError> {
    let file = folder.join(path);
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&file, value)?;
    let mode = mode
        .and_then(|mode| u32::try_from(mode).ok())
        .unwrap_or(0o644);
    // The owner of the file runs the process here, whatever user the Pod asks for.
    fs::set_permissions(&file, Permissions::from_mode(mode | 0o600))?;
    Ok(())
}
