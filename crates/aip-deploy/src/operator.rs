//! Who works here and where, as history and leases name them.

use aip_base::Environment;

/// Who works here, as history and leases name them: the shell's word, else the system's.
pub(crate) fn user(environment: &Environment) -> String {
    let named = ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(|name| environment.non_empty(name));
    named
        .map(str::to_owned)
        .or_else(|| known(whoami::username()))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The machine, as history and leases name it: the shell's word, else the system's.
pub(crate) fn host(environment: &Environment) -> String {
    let named = environment.non_empty("HOSTNAME");
    named
        .map(|name| name.trim().to_owned())
        .or_else(|| known(whoami::hostname()))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// What the system says, if it says anything. Every system has a call for it; `/proc` is Linux's.
fn known(said: whoami::Result<String>) -> Option<String> {
    said.ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_names_the_user_and_the_machine_without_a_shell() {
        assert!(known(whoami::username()).is_some());
        assert!(known(whoami::hostname()).is_some());
        assert_eq!(known(Ok(" \n".to_owned())), None);
    }
}
