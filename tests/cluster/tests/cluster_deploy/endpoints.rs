//! What `aip-deploy` lets in, and what there is: from the generated list and the generated page.

const PUBLIC_PATHS: &str =
    include_str!("../../../../crates/aip-stack/src/desired/edge/public_paths.rs");
const ENDPOINTS: &str = include_str!("../../../../docs/reference/endpoints.md");

/// A path that a gateway leads to.
pub(crate) struct PublicPath {
    pub(crate) path: &'static str,
    /// Whether everything below it is meant.
    pub(crate) is_prefix: bool,
    /// Whether bodies take as long as they take.
    pub(crate) streams: bool,
}

/// The paths that may be reached from outside.
pub(crate) fn public_paths() -> Vec<PublicPath> {
    let rows = PUBLIC_PATHS.lines().map(str::trim);
    let calls = rows.filter_map(|row| row.strip_prefix("PublicPath::"));
    let paths = calls.map(|call| PublicPath {
        path: call.split('"').nth(1).unwrap(),
        is_prefix: !call.starts_with("exact"),
        streams: call.starts_with("streams"),
    });
    paths.collect()
}

/// The path of every endpoint with something in place of what varies.
pub(crate) fn endpoint_paths() -> Vec<String> {
    let rows = ENDPOINTS.lines().filter_map(|row| row.strip_prefix("| `/"));
    let paths = rows.map(|row| {
        let path = row.split('`').next().unwrap();
        let fixed = path.split('{').next().unwrap();
        let variable = if fixed == path { "" } else { "something" };
        format!("/{fixed}{variable}")
    });
    paths.collect()
}
