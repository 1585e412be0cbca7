//! What the user may do, asked before it is tried; and what the API server is.

use aip_stack::desired::ObjectRef;
use serde_json::{Value, json};

use super::error::ApiError;
use super::guard::GuardedCluster;
use super::request::send;

impl GuardedCluster {
    /// Whether the user may do this to objects of that kind, by a `SelfSubjectAccessReview`.
    pub async fn can_i(&self, verb: &str, object: &ObjectRef) -> Result<bool, ApiError> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "verb": verb,
                "group": object.group(),
                "resource": object.plural,
                "namespace": object.namespace,
            }},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = self.exchange("POST", path, review.to_string()).await?;
        Ok(answer["status"]["allowed"] == true)
    }

    /// The version of the API server: `v1.36.3`.
    pub async fn version(&self) -> Result<String, ApiError> {
        let answer = self.exchange("GET", "/version", String::new()).await?;
        Ok(answer["gitVersion"]
            .as_str()
            .unwrap_or("unknown")
            .to_owned())
    }

    async fn exchange(&self, method: &str, path: &str, body: String) -> Result<Value, ApiError> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.into_bytes())
            .map_err(|error| ApiError::Unreadable(error.to_string()))?;
        Ok(send(&self.client, request).await?.value)
    }
}
