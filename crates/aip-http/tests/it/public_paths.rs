//! The paths that the deployer opens to the outside are those whose row in the table says `public`.
//! The deployer has them as a generated file, because it must not contain the server.

use std::fmt::Write as _;

use aip_http::{Endpoint, Payload};
use strum::IntoEnumIterator as _;

/// The file in `aip-stack`, as it follows from the table.
fn source() -> String {
    let mut source = String::from(
        "//! The paths that people, apps and PDSs may reach. Generated from the endpoint table of `aip-http`\n\
         //! by its test `the_public_paths_of_the_deployer_are_fresh`: do not edit.\n\n\
         use super::PublicPath;\n\n\
         pub(super) const PUBLIC_PATHS: &[PublicPath] = &[\n",
    );
    for spec in Endpoint::iter().map(Endpoint::spec) {
        if !spec.public {
            continue;
        }
        let (fixed, variable) = spec.path.split_once("/{").unwrap_or((spec.path, ""));
        assert!(
            variable.is_empty() || variable.find('}') == Some(variable.len() - 1),
            "{}: only the last segment of a public path may vary",
            spec.path
        );
        let constructor = match (variable.is_empty(), spec.payload) {
            (true, Payload::Stream) => panic!("{}: streams are below a path", spec.path),
            (true, _) => "exact",
            (false, Payload::Stream) => "streams_below",
            (false, _) => "below",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(source, "    PublicPath::{constructor}(\"{fixed}\"),");
    }
    source + "];\n"
}

#[test]
fn the_public_paths_of_the_deployer_are_fresh() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../aip-stack/src/desired/edge/public_paths.rs"
    );
    let fresh = source();
    if std::fs::read_to_string(path).unwrap_or_default() != fresh {
        std::fs::write(path, fresh).unwrap();
        panic!(
            "crates/aip-stack/src/desired/edge/public_paths.rs was stale and is written anew: look at it, keep it"
        );
    }
}
