//! The variables of a container.
//! <https://kubernetes.io/docs/tasks/inject-data-application/>

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVarSource, Pod, Service};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use super::sources::{Source, SourceError, field};

/// Names and values; a later one wins, at the place of the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment(Vec<(String, String)>);

/// Where variables are looked up.
pub(crate) struct Lookup<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a Pod,
    pub(crate) address: &'a str,
}

impl Environment {
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name, value)),
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter()
    }

    fn get(&self, name: &str) -> Option<&str> {
        let entry = self.0.iter().find(|(known, _)| known == name)?;
        Some(&entry.1)
    }

    /// Replaces `$(NAME)` by the variable's value, if there is one; `$$` is a dollar sign.
    pub(crate) fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let named = after
                .strip_prefix('(')
                .and_then(|name| name.split_once(')'));
            rest = match (after.strip_prefix('$'), named) {
                (Some(after), _) => {
                    out.push('$');
                    after
                }
                (None, Some((name, after))) if self.get(name).is_some() => {
                    out.push_str(self.get(name).unwrap_or_default());
                    after
                }
                _ => {
                    out.push('$');
                    after
                }
            };
        }
        out + rest
    }
}

impl Lookup<'_> {
    /// Adds what Kubernetes adds to `environment`, in its order: Services, `envFrom`, `env`.
    pub(crate) async fn fill(
        &self,
        environment: &mut Environment,
        container: &Container,
    ) -> Result<(), SourceError> {
        self.services(environment).await?;
        for source in container.env_from.iter().flatten() {
            self.all_of(environment, source).await?;
        }
        for variable in container.env.iter().flatten() {
            let value = match (&variable.value, &variable.value_from) {
                (_, Some(source)) => self.value_from(source).await?,
                (value, None) => Some(environment.expand(value.as_deref().unwrap_or_default())),
            };
            if let Some(value) = value {
                environment.set(&variable.name, value);
            }
        }
        Ok(())
    }

    async fn all_of(
        &self,
        environment: &mut Environment,
        source: &EnvFromSource,
    ) -> Result<(), SourceError> {
        let (from, optional) = match (&source.secret_ref, &source.config_map_ref) {
            (Some(secret), _) => (Source::Secret(&secret.name), secret.optional),
            (None, Some(map)) => (Source::ConfigMap(&map.name), map.optional),
            (None, None) => return Ok(()),
        };
        let data = from.read(self.client, self.namespace, optional).await?;
        let prefix = source.prefix.as_deref().unwrap_or_default();
        for (key, value) in data.unwrap_or_default() {
            environment.set(format!("{prefix}{key}"), String::from_utf8_lossy(&value));
        }
        Ok(())
    }

    async fn value_from(&self, source: &EnvVarSource) -> Result<Option<String>, SourceError> {
        if let Some(selector) = &source.field_ref {
            return field(self.pod, self.address, selector).map(Some);
        }
        if let Some(secret) = &source.secret_key_ref {
            let of = Source::Secret(&secret.name);
            return of
                .value(self.client, self.namespace, &secret.key, secret.optional)
                .await;
        }
        if let Some(map) = &source.config_map_key_ref {
            let of = Source::ConfigMap(&map.name);
            return of
                .value(self.client, self.namespace, &map.key, map.optional)
                .await;
        }
        Err(SourceError::Unknown("this source of a variable".to_owned()))
    }

    /// `AIP_SERVICE_HOST` and its like: every Service of the namespace, unless the Pod declines
    /// (`enableServiceLinks`), and always the API server. A program that reads variables with a
    /// Service's name as prefix meets them here as it would in production.
    async fn services(&self, environment: &mut Environment) -> Result<(), SourceError> {
        let spec = self.pod.spec.as_ref();
        let linked = spec.and_then(|spec| spec.enable_service_links) != Some(false);
        let all = ListParams::default();
        let list = async |namespace| {
            Api::<Service>::namespaced(self.client.clone(), namespace)
                .list(&all)
                .await
        };
        for service in list("default").await? {
            if service.name_any() == "kubernetes" {
                link(environment, &service);
            }
        }
        if linked {
            for service in list(self.namespace).await? {
                link(environment, &service);
            }
        }
        Ok(())
    }
}

/// The variables of one Service; a headless one has none.
fn link(environment: &mut Environment, service: &Service) {
    let spec = service.spec.clone().unwrap_or_default();
    let host = match spec.cluster_ip {
        Some(host) if host != "None" && !host.is_empty() => host,
        _ => return,
    };
    let upper = |name: &str| name.to_uppercase().replace('-', "_");
    let prefix = upper(&service.name_any());
    let ports = spec.ports.unwrap_or_default();
    let Some(first) = ports.first() else { return };
    environment.set(format!("{prefix}_SERVICE_HOST"), &host);
    environment.set(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    environment.set(
        format!("{prefix}_PORT"),
        format!("tcp://{host}:{}", first.port),
    );
    for port in &ports {
        let number = port.port;
        if let Some(name) = &port.name {
            environment.set(
                format!("{prefix}_SERVICE_PORT_{}", upper(name)),
                number.to_string(),
            );
        }
        let prefix = format!("{prefix}_PORT_{number}_TCP");
        environment.set(&prefix, format!("tcp://{host}:{number}"));
        environment.set(format!("{prefix}_PROTO"), "tcp");
        environment.set(format!("{prefix}_PORT"), number.to_string());
        environment.set(format!("{prefix}_ADDR"), &host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_as_kubernetes_does() {
        let mut environment = Environment::default();
        environment.set("HOST", "db");
        for (text, expanded) in [
            ("pg://$(HOST)/x", "pg://db/x"),
            ("$(NONE)", "$(NONE)"),
            ("$$(HOST)", "$(HOST)"),
            ("100$", "100$"),
            ("$HOST $(", "$HOST $("),
        ] {
            assert_eq!(environment.expand(text), expanded);
        }
    }

    #[test]
    fn a_service_is_announced_in_variables_and_a_headless_one_is_not() {
        let service = |ip: &str| {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "aip-web"},
                "spec": {"clusterIP": ip, "ports": [{"name": "http", "port": 80}]},
            }))
            .unwrap()
        };
        let mut environment = Environment::default();
        link(&mut environment, &service("None"));
        assert_eq!(environment, Environment::default());
        link(&mut environment, &service("10.0.0.7"));
        assert_eq!(environment.get("AIP_WEB_PORT"), Some("tcp://10.0.0.7:80"));
        assert_eq!(environment.get("AIP_WEB_SERVICE_PORT_HTTP"), Some("80"));
        assert_eq!(
            environment.get("AIP_WEB_PORT_80_TCP_ADDR"),
            Some("10.0.0.7")
        );
    }
}
