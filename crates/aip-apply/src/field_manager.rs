//! The names under which this program owns fields of objects.

/// The field manager of every write of this program.
pub(crate) const FIELD_MANAGER: &str = "aip-deploy";

/// The field manager that keeps the number of replicas from the moment this program gives it up
/// until an autoscaler sets it: a field that nobody owns any more is removed, and then defaults to
/// one Pod.
/// <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#migrating-deployments-and-statefulsets-to-horizontal-autoscaling>
pub(crate) const REPLICAS_MANAGER: &str = "aip-deploy-replicas";
