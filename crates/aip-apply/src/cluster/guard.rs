//! The guard: the only way to a cluster. It checks that the context is the one the stack demands
//! and that the cluster behind it is the one the stack was pinned to, whatever its name or address.
//!
//! The identity of a cluster is the UID of its namespace `kube-system`: made with the cluster,
//! never changed, never the same twice. Nothing switches the check off.

use aip_base::Clock;
use aip_stack::desired::ObjectRef;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;

use crate::store::{Pin, PinOutcome, State, StoreError};

use super::connect::{Access, ConnectError, Connection, connect};
use super::error::ApiError;
use super::request::send;
use super::resource::path;

/// A cluster that was checked: reads and dry runs start here. Only the guard makes it.
#[derive(Clone)]
pub struct GuardedCluster {
    pub(crate) client: Client,
    context: String,
    uid: String,
    pinned: bool,
    /// How far the API server's clock is ahead of this machine's.
    clock_skew: SignedDuration,
}

/// A checked cluster that the stack is pinned to: writes start here. Only the guard makes it.
#[derive(Clone)]
pub struct PinnedCluster(GuardedCluster);

/// The cluster of the context may not be used.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The cluster does not tell who it is.
    #[error(
        "the identity of the cluster behind context `{context}` cannot be read{}: {source}{}",
        via.as_ref().map_or(String::new(), |proxy| format!(" through the proxy {proxy}")),
        hint(source)
    )]
    Identity {
        /// `k8s_context` of the stack.
        context: String,
        /// The underlying error.
        source: ApiError,
        /// The proxy in between.
        via: Option<String>,
    },
    /// It is another cluster.
    #[error(
        "context `{context}` leads to another cluster than the one this stack was deployed to\n  pinned: {} \
         (context `{}`)\n  found:  {found}\nNothing was changed. If the stack has moved to this cluster: \
         aip-deploy repin",
        pinned.cluster_uid, pinned.context
    )]
    AnotherCluster {
        /// The context of the stack.
        context: String,
        /// The cluster the stack belongs to.
        pinned: Pin,
        /// UID of the cluster that answered.
        found: String,
    },
    /// The stack has no pin: it was never deployed.
    #[error("this stack is not pinned to a cluster yet: run `aip-deploy up` first")]
    NotPinned,
    /// The pin cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn hint(error: &ApiError) -> &'static str {
    if error.lacks_right() {
        "\nPermission to `get` the namespace `kube-system` is required: its UID identifies the cluster."
    } else {
        ""
    }
}

impl GuardedCluster {
    /// Connects and checks. A stack that was never deployed has no pin yet: then any cluster
    /// behind the right context may be read.
    pub async fn open(
        access: &Access,
        context: &str,
        pin: Option<&Pin>,
        clock: &dyn Clock,
    ) -> Result<Self, GuardError> {
        let Connection { client, proxy } = connect(access, context).await?;
        let (uid, date) = identity(&client)
            .await
            .map_err(|source| GuardError::Identity {
                context: context.to_owned(),
                source,
                via: proxy.map(|proxy| proxy.to_string().trim_end_matches('/').to_owned()),
            })?;
        match pin {
            Some(pinned) if pinned.cluster_uid != uid => Err(GuardError::AnotherCluster {
                context: context.to_owned(),
                pinned: pinned.clone(),
                found: uid,
            }),
            _ => Ok(Self {
                client,
                context: context.to_owned(),
                uid,
                pinned: pin.is_some(),
                clock_skew: measure_clock_skew(date, clock),
            }),
        }
    }

    /// The time by the API server's clock, which made the times in its objects: this machine's
    /// clock may be wrong.
    pub fn now(&self, clock: &dyn Clock) -> Timestamp {
        let now = local_now(clock);
        now.checked_add(self.clock_skew).unwrap_or(now)
    }

    /// The name of the context.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// UID of the namespace `kube-system`.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Whether the stack is pinned to this cluster.
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// What a stack that belongs here remembers.
    pub fn to_pin(&self) -> Pin {
        Pin {
            context: self.context.clone(),
            cluster_uid: self.uid.clone(),
        }
    }

    /// For commands that change what was deployed before.
    pub fn pinned(self) -> Result<PinnedCluster, GuardError> {
        if self.pinned {
            Ok(PinnedCluster(self))
        } else {
            Err(GuardError::NotPinned)
        }
    }

    /// For the first deployment: pins the stack to this cluster unless somebody was faster.
    pub async fn pin(mut self, store: &State) -> Result<PinnedCluster, GuardError> {
        if !self.pinned {
            match store.pin(&self.to_pin()).await? {
                PinOutcome::AlreadyPinned(pinned) if pinned.cluster_uid != self.uid => {
                    return Err(GuardError::AnotherCluster {
                        context: self.context,
                        pinned,
                        found: self.uid,
                    });
                }
                PinOutcome::Pinned | PinOutcome::AlreadyPinned(_) => self.pinned = true,
            }
        }
        Ok(PinnedCluster(self))
    }
}

impl std::ops::Deref for PinnedCluster {
    type Target = GuardedCluster;

    fn deref(&self) -> &GuardedCluster {
        &self.0
    }
}

fn local_now(clock: &dyn Clock) -> Timestamp {
    Timestamp::from_microsecond(clock.now().as_micros()).unwrap_or(Timestamp::MAX)
}

/// How far a clock that just said `date`, to the second, is ahead. Less than two seconds are the
/// time the answer took.
fn measure_clock_skew(date: Option<Timestamp>, clock: &dyn Clock) -> SignedDuration {
    let clock_skew = date.map_or(SignedDuration::ZERO, |date| {
        date.duration_since(local_now(clock))
    });
    if clock_skew.abs() < SignedDuration::from_secs(2) {
        SignedDuration::ZERO
    } else {
        clock_skew
    }
}

async fn identity(client: &Client) -> Result<(String, Option<Timestamp>), ApiError> {
    let namespace = ObjectRef::of::<Namespace>(None, "kube-system");
    let request = path(&namespace)
        .get(&namespace.name, &kube::api::GetParams::default())
        .map_err(|error| ApiError::Unreadable(error.to_string()))?;
    let answer = send(client, request).await?;
    let uid = answer.value["metadata"]["uid"].as_str();
    let uid = uid.ok_or_else(|| ApiError::Unreadable("the namespace has no UID".to_owned()))?;
    Ok((uid.to_owned(), answer.date))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoonClock;

    impl Clock for NoonClock {
        fn now(&self) -> aip_base::Timestamp {
            aip_base::Timestamp::from_secs(1_790_000_000)
        }
    }

    #[test]
    fn a_clock_that_is_wrong_is_corrected_and_one_that_is_right_is_left_alone() {
        let clock = NoonClock;
        let at = |seconds: i64| {
            local_now(&clock)
                .checked_add(SignedDuration::from_secs(seconds))
                .ok()
        };
        for (seconds, clock_skew) in [(-3600, -3600), (600, 600), (-1, 0), (1, 0)] {
            assert_eq!(
                measure_clock_skew(at(seconds), &clock),
                SignedDuration::from_secs(clock_skew)
            );
        }
        assert_eq!(measure_clock_skew(None, &clock), SignedDuration::ZERO);
    }
}
