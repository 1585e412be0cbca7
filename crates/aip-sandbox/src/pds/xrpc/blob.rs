//! `com.atproto.repo.uploadBlob` and `com.atproto.sync.getBlob`.

use aip_base::lock;
use http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::super::error::XrpcError;
use super::super::inner::Site;
use super::super::repos::Blob;
use super::parameter;
use crate::stage::reply::Reply;
use crate::stage::request::Received;

impl Site {
    pub(super) fn upload_blob(&self, request: &Received) -> Result<Reply, XrpcError> {
        let caller = self.caller(request)?;
        let media_type = request.header("content-type").filter(|it| !it.is_empty());
        let media_type = media_type.ok_or_else(|| {
            let message = "Request encoding (Content-Type) required but not provided";
            XrpcError::invalid_request(message)
        })?;
        caller.must_upload(media_type)?;
        let blob = Blob {
            media_type: media_type.to_owned(),
            content: request.body.clone(),
        };
        let cid = lock(&self.inner.repos).add_blob(caller.did, blob);
        let body = json!({
            "blob": {
                "$type": "blob",
                "ref": { "$link": cid },
                "mimeType": media_type,
                "size": request.body.len(),
            },
        });
        Ok(Reply::json(StatusCode::OK, &body))
    }

    pub(super) fn get_blob(&self, request: &Received) -> Result<Reply, XrpcError> {
        let (did, cid) = (parameter(request, "did")?, parameter(request, "cid")?);
        let blob = lock(&self.inner.repos).blob(did, cid.clone());
        let blob = blob.ok_or_else(|| XrpcError::bad_request("BlobNotFound", "Blob not found"))?;
        let (status, headers) = (StatusCode::OK, HeaderMap::new());
        Ok(Reply {
            status,
            headers,
            body: blob.content,
        }
        .with(CONTENT_TYPE, &blob.media_type)
        .with(
            CONTENT_DISPOSITION,
            &format!("attachment; filename=\"{cid}\""),
        )
        .with(CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"))
    }
}
