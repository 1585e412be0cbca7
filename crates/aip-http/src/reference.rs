//! The reference page of the endpoints, generated from their table.

use std::fmt::Write as _;
use strum::IntoEnumIterator as _;

use crate::endpoint::{CachePolicy, Cors, Endpoint, Payload};

/// The table of endpoints as Markdown.
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Endpoints of the public listener\n\n\
         Generated from the table in `aip-http`. Errors of pages are pages, all others JSON.\n\
         Every endpoint answers `OPTIONS`; an unknown method gets 405 with `Allow`. A gateway or ingress\n\
         that `aip-deploy` sets up leads to those that are public ([the way in](../edge.md)). Those for apps of\n\
         [AIP v1](../move-from-v1.md) are there with `compat.v1` alone.\n\n\
         | path | methods | public | what | scripts of other origins | cache | body | standard |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for endpoint in Endpoint::iter() {
        let spec = endpoint.spec();
        let cors = match spec.cors {
            Cors::AnyOrigin => "any, without cookies",
            Cors::SameOrigin => "no",
        };
        let cache = match spec.cache {
            CachePolicy::NoStore => "no-store".to_owned(),
            CachePolicy::Minutes(minutes) => format!("{minutes} min"),
            CachePolicy::Immutable => "for ever".to_owned(),
            CachePolicy::Private => "only the caller, asking each time".to_owned(),
        };
        let body = match spec.payload {
            Payload::Nothing => "none",
            Payload::Form => "form, at most 64 KiB",
            Payload::Json => "JSON, at most 64 KiB",
            Payload::Stream => "streams",
        };
        let for_whom = if endpoint.is_of_v1() {
            "For apps of AIP v1: "
        } else {
            ""
        };
        let public = if spec.public { "yes" } else { "no" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {public} | {for_whom}{} | {cors} | {cache} | {body} | {} |",
            spec.path,
            spec.allow(),
            spec.summary,
            spec.standard,
        );
    }
    page
}
