//! Reading, dry-running, applying and deleting single objects.

use aip_stack::desired::{Desired, ObjectRef};
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use crate::field_manager::{FIELD_MANAGER, REPLICAS_MANAGER};

use super::error::ApiError;
use super::guard::{GuardedCluster, PinnedCluster};
use super::request::{Answer, send};
use super::resource::path;

/// Outcome of a delete request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The deletion was accepted; finalizers may delay it.
    Started,
    /// It was gone before, or is another object of the same name by now.
    NotFound,
}

/// Building a request fails only for parameters that this program never gives.
fn built<T>(request: Result<T, kube::core::request::Error>) -> Result<T, ApiError> {
    request.map_err(|error| ApiError::Unreadable(error.to_string()))
}

impl GuardedCluster {
    /// The live object; none if it does not exist.
    pub async fn read(&self, object: &ObjectRef) -> Result<Option<Value>, ApiError> {
        let request = built(path(object).get(&object.name, &GetParams::default()))?;
        match send(&self.client, request).await {
            Ok(answer) => Ok(Some(answer.value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the API server knows the kind of the object. Who may not ask is taken to know that it does.
    pub(crate) async fn serves_kind_of(&self, object: &ObjectRef) -> Result<bool, ApiError> {
        let request = built(path(object).get(&object.name, &GetParams::default()))?;
        match send(&self.client, request).await {
            Err(error) if error.is_unknown_kind() => Ok(false),
            Err(error) if error.status().is_none_or(|status| status.code == 401) => Err(error),
            Ok(_) | Err(_) => Ok(true),
        }
    }

    /// All objects of a kind in a namespace. `like` names the kind and the namespace.
    pub async fn list(
        &self,
        like: &ObjectRef,
        labels: Option<&str>,
    ) -> Result<Vec<Value>, ApiError> {
        let parameters = ListParams {
            label_selector: labels.map(str::to_owned),
            ..ListParams::default()
        };
        let request = built(path(like).list(&parameters))?;
        let mut list = send(&self.client, request).await?.value;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// What an apply would make of the object; nothing is written.
    pub(crate) async fn dry_run(&self, desired: &Desired, force: bool) -> Result<Answer, ApiError> {
        let parameters = PatchParams::apply(FIELD_MANAGER).dry_run();
        patch(self, desired, parameters, force).await
    }
}

impl PinnedCluster {
    /// Applies the object and returns it as it is now.
    pub async fn apply(&self, desired: &Desired, force: bool) -> Result<Value, ApiError> {
        let parameters = PatchParams::apply(FIELD_MANAGER);
        Ok(patch(self, desired, parameters, force).await?.value)
    }

    /// Puts the number of replicas by, until an autoscaler sets it.
    pub async fn hold_replicas(
        &self,
        object: &ObjectRef,
        replicas: i64,
    ) -> Result<Value, ApiError> {
        let mut parameters = PatchParams::apply(REPLICAS_MANAGER).validation_strict();
        // It may be another number than the one that is applied under our name.
        parameters.force = true;
        let value = json!({
            "apiVersion": object.api_version,
            "kind": object.kind,
            "metadata": {"name": object.name, "namespace": object.namespace},
            "spec": {"replicas": replicas},
        });
        let request = path(object).patch(&object.name, &parameters, &Patch::Apply(value));
        Ok(send(&self.client, built(request)?).await?.value)
    }

    /// Deletes the object of that UID, with what it owns.
    pub async fn delete(&self, object: &ObjectRef, uid: &str) -> Result<DeleteOutcome, ApiError> {
        let parameters = DeleteParams::foreground().preconditions(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        });
        let request = built(path(object).delete(&object.name, &parameters))?;
        match send(&self.client, request).await {
            Ok(_) => Ok(DeleteOutcome::Started),
            Err(error) if error.is_not_found() || error.is_conflict() => {
                Ok(DeleteOutcome::NotFound)
            }
            Err(error) => Err(error),
        }
    }

    /// Changes an object by a JSON Patch (RFC 6902).
    pub async fn json_patch(
        &self,
        object: &ObjectRef,
        operations: Value,
    ) -> Result<Value, ApiError> {
        let mut request = built(path(object).patch(
            &object.name,
            &PatchParams::default(),
            &Patch::Merge(Value::Null),
        ))?;
        *request.body_mut() = operations.to_string().into_bytes();
        request.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json-patch+json"),
        );
        Ok(send(&self.client, request).await?.value)
    }
}

async fn patch(
    cluster: &GuardedCluster,
    desired: &Desired,
    parameters: PatchParams,
    force: bool,
) -> Result<Answer, ApiError> {
    let mut parameters = parameters.validation_strict();
    parameters.force = force;
    let object = desired.object();
    let request =
        built(path(object).patch(&object.name, &parameters, &Patch::Apply(desired.manifest())))?;
    send(&cluster.client, request).await
}
