//! Style sheet and icon: compiled in, and named by their content so that they may be cached for ever.

/// A compiled-in file.
pub(crate) struct Asset {
    stem: &'static str,
    extension: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) content: &'static str,
    hash: u64,
}

/// The one style sheet.
pub(crate) static STYLE: Asset = Asset::new(
    "aip",
    "css",
    "text/css; charset=utf-8",
    include_str!("../static/aip.css"),
);

/// The icon of the tab.
pub(crate) static ICON: Asset = Asset::new(
    "icon",
    "svg",
    "image/svg+xml",
    include_str!("../static/icon.svg"),
);

/// All of them.
pub(crate) static ASSETS: [&Asset; 2] = [&STYLE, &ICON];

impl Asset {
    const fn new(
        stem: &'static str,
        extension: &'static str,
        media_type: &'static str,
        content: &'static str,
    ) -> Self {
        let hash = fnv1a(content.as_bytes());
        Self {
            stem,
            extension,
            media_type,
            content,
            hash,
        }
    }

    /// The path under which pages refer to it.
    pub(crate) fn path(&self) -> String {
        format!(
            "/static/{}.{:016x}.{}",
            self.stem, self.hash, self.extension
        )
    }
}

/// FNV-1a, because it can be computed while compiling. Not a protection: only names differ by it.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < bytes.len() {
        hash ^= bytes[i] as u64;
        hash = hash.wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}
