//! Everyday names of well-known record types, services and groups of methods, for consent pages.

use crate::nsid::Nsid;

/// Record types and what people call them.
const RECORDS: [(&str, &str); 22] = [
    ("app.bsky.actor.profile", "your profile"),
    ("app.bsky.actor.status", "your status"),
    ("app.bsky.feed.generator", "custom feeds"),
    ("app.bsky.feed.like", "likes"),
    ("app.bsky.feed.post", "posts"),
    ("app.bsky.feed.postgate", "rules for quoting your posts"),
    ("app.bsky.feed.repost", "reposts"),
    (
        "app.bsky.feed.threadgate",
        "rules for replies to your posts",
    ),
    ("app.bsky.graph.block", "blocks"),
    ("app.bsky.graph.follow", "follows"),
    ("app.bsky.graph.list", "lists"),
    ("app.bsky.graph.listblock", "blocks of lists"),
    ("app.bsky.graph.listitem", "members of your lists"),
    ("app.bsky.graph.starterpack", "starter packs"),
    ("app.bsky.graph.verification", "verifications"),
    ("app.bsky.labeler.service", "your labeling service"),
    (
        "app.bsky.notification.declaration",
        "your notification settings",
    ),
    ("chat.bsky.actor.declaration", "your chat settings"),
    ("com.atproto.lexicon.schema", "schemas"),
    ("com.whtwnd.blog.entry", "blog entries"),
    ("sh.tangled.repo", "code repositories"),
    ("place.stream.chat.message", "live-stream chat messages"),
];

/// Groups of methods and what people call them; the first match counts.
const METHODS: [(&str, &str); 9] = [
    ("app.bsky.actor", "profiles and preferences"),
    ("app.bsky.feed", "feeds and posts"),
    ("app.bsky.graph", "follows, blocks and lists"),
    ("app.bsky.notification", "notifications"),
    ("app.bsky.video", "video uploads"),
    ("chat.bsky", "direct messages"),
    ("com.atproto.moderation", "reports to moderators"),
    ("tools.ozone", "moderation tools"),
    ("app.bsky", "Bluesky"),
];

/// Services and what people call them.
const SERVICES: [(&str, &str); 3] = [
    (
        "did:web:api.bsky.app#bsky_appview",
        "the Bluesky app server",
    ),
    ("did:web:api.bsky.chat#bsky_chat", "the Bluesky chat server"),
    (
        "did:plc:ar7c4by46qjdydhdevvrndac#atproto_labeler",
        "Bluesky's moderation service",
    ),
];

/// What people call records of this type.
pub(super) fn record(collection: &Nsid) -> Option<&'static str> {
    RECORDS
        .iter()
        .find(|(nsid, _)| *nsid == collection.as_str())
        .map(|(_, name)| *name)
}

/// What people call the matter that this method is about.
pub(super) fn method(method: &Nsid) -> Option<&'static str> {
    METHODS
        .iter()
        .find(|(group, _)| method.is_within(group))
        .map(|(_, name)| *name)
}

/// What people call this service, or else the service as written.
pub(super) fn service(reference: &str) -> &str {
    SERVICES
        .iter()
        .find(|(service, _)| *service == reference)
        .map_or(reference, |(_, name)| *name)
}
