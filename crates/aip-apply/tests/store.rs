//! The state backend in a folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod contract;

use std::sync::Arc;
use std::time::Duration;

use aip_aws::Aws;
use aip_base::{Body, Environment, Http, HttpError, SystemClock};
use async_trait::async_trait;
use contract::{TestStore, contract};
use http::{Request, Response};

struct Offline;

#[async_trait]
impl Http for Offline {
    async fn send(&self, request: Request<Body>, _: Duration) -> Result<Response<Body>, HttpError> {
        Err(HttpError::Refused(request.uri().to_string()))
    }
}

struct FolderStore {
    folder: tempfile::TempDir,
    store: TestStore,
}

#[allow(
    clippy::unused_async,
    reason = "the same call as for a store that has to be started"
)]
async fn folder_store() -> FolderStore {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let aws = Aws::new(Arc::new(Offline), Arc::new(SystemClock));
    let store = TestStore::new(&url, &Environment::default(), &aws);
    FolderStore { folder, store }
}

contract!(folder_store);

#[tokio::test]
async fn a_folder_honours_conditional_writes_and_keeps_nothing_of_the_probe() {
    let folder_store = folder_store().await;
    let store = &folder_store.store;
    store.stacks.probe().await.unwrap();
    assert!(store.stacks.names("aip").await.unwrap().is_empty());
    let left = std::fs::read_dir(folder_store.folder.path().join(".aip-deploy")).unwrap();
    let left: Vec<_> = left
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != ".lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_damaged_document_is_named_and_not_overwritten() {
    let folder_store = folder_store().await;
    let store = &folder_store.store;
    let path = folder_store
        .folder
        .path()
        .join(".aip-deploy/aip/main/inventory.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "junk").unwrap();
    let error = store.state().promote(vec![]).await.unwrap_err().to_string();
    assert!(
        error.starts_with(
            ".aip-deploy/aip/main/inventory.json in the state backend is not readable"
        ),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "junk");
}

#[tokio::test]
async fn the_stacks_of_pulumi_are_listed_beside_those_of_this_program() {
    let folder_store = folder_store().await;
    let store = &folder_store.store;
    let checkpoints = folder_store.folder.path().join(".pulumi/stacks/aip");
    std::fs::create_dir_all(&checkpoints).unwrap();
    std::fs::write(checkpoints.join("main.json"), "{\"version\":3}").unwrap();
    std::fs::write(checkpoints.join("main.json.bak"), "{}").unwrap();
    store.state().promote(vec![]).await.unwrap();
    store
        .stacks
        .register("aip", &"dev".parse().unwrap())
        .await
        .unwrap();
    let names: Vec<_> = store
        .stacks
        .names("aip")
        .await
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["dev", "main"]);
}
