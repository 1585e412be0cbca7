//! Objects of a namespace as the last watch events left them.

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::cluster::ApiError;

/// Objects of one kind, by name.
pub(super) struct Cache<K> {
    objects: BTreeMap<String, K>,
    fresh: BTreeMap<String, K>,
    complete: bool,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            fresh: BTreeMap::new(),
            complete: false,
        }
    }
}

impl<K: Resource + Clone> Cache<K> {
    /// Takes in what the watch saw. A new list replaces the old one when it is complete.
    pub(super) fn observe(&mut self, event: watcher::Event<K>) {
        match event {
            watcher::Event::Init => self.fresh.clear(),
            watcher::Event::InitApply(object) => {
                self.fresh.insert(object.name_any(), object);
            }
            watcher::Event::InitDone => {
                self.objects = std::mem::take(&mut self.fresh);
                self.complete = true;
            }
            watcher::Event::Apply(object) => {
                self.objects.insert(object.name_any(), object);
            }
            watcher::Event::Delete(object) => {
                self.objects.remove(&object.name_any());
            }
        }
    }

    /// Whether the first list is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The objects, sorted by name.
    pub(super) fn all(&self) -> Vec<K> {
        self.objects.values().cloned().collect()
    }

    /// The object of this name.
    pub(super) fn get(&self, name: &str) -> Option<&K> {
        self.objects.get(name)
    }
}

/// What a watch saw, to be taken in by the snapshot `S` that has the cache of its kind.
pub(super) type Change<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A watch of any kind that feeds the snapshot `S`.
pub(super) type WatchStream<S> = BoxStream<'static, Result<Change<S>, watcher::Error>>;

/// Watches the objects of one kind that a field or label selector chooses, for one cache of the
/// snapshot.
pub(super) fn watch<K, S>(
    client: &Client,
    namespace: &str,
    config: watcher::Config,
    cache: fn(&mut S) -> &mut Cache<K>,
) -> WatchStream<S>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned + Send + 'static,
    S: 'static,
{
    watch_by(Api::namespaced(client.clone(), namespace), config, cache)
}

/// The same for a kind that is known only when the program runs.
pub(super) fn watch_by<K, S>(
    api: Api<K>,
    config: watcher::Config,
    cache: fn(&mut S) -> &mut Cache<K>,
) -> WatchStream<S>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    S: 'static,
{
    watcher(api, config)
        .default_backoff()
        .map_ok(move |event| -> Change<S> {
            Box::new(move |snapshot| cache(snapshot).observe(event))
        })
        .boxed()
}

/// A watch whose failures count for nothing: not everybody may read events, and no verdict needs
/// them.
pub(super) fn best_effort<S: 'static>(watch: WatchStream<S>) -> WatchStream<S> {
    watch
        .filter(|seen| std::future::ready(seen.is_ok()))
        .boxed()
}

/// The refusal that no retry will end.
pub(super) fn is_final(error: &watcher::Error) -> Option<ApiError> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
            if status.is_forbidden() || status.code == 401 =>
        {
            Some(ApiError::Status(status.clone()))
        }
        _ => None,
    }
}

/// What went wrong with a watch, in our own words.
pub(super) fn watch_error(error: watcher::Error) -> ApiError {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error.into(),
        watcher::Error::WatchError(status) => ApiError::Status(status),
        watcher::Error::NoResourceVersion => {
            ApiError::Unreadable("a list has no resourceVersion".to_owned())
        }
    }
}
