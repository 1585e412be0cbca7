//! The commands of the page "Call the network through AIP" work as they are written, with the access token
//! of a person. The marks of blocks are those of the tests `documented_commands`.

use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use self::page::{Mark, blocks};
use crate::app::App;
use crate::on_both_engines;
use crate::world::World;

#[path = "../documented_commands/page.rs"]
mod page;

on_both_engines!(the_commands_of_the_page_on_calls_work);

const PAGE: &str = "docs/call-the-network.md";
/// What the page asks for in its calls, and no more.
const SCOPE: &str = "atproto repo:app.bsky.feed.post blob:image/* \
                     rpc:app.bsky.feed.getTimeline?aud=did:web:api.bsky.app%23bsky_appview";
/// The signature of a PNG, which is all that anybody looks at here.
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The blocks of the page as one script.
fn script(page: &str) -> String {
    let mut script = String::new();
    for block in blocks(page) {
        match block.mark {
            Mark::Run => script.push_str(&block.commands),
            Mark::NotRun(_) => {}
            Mark::KeepsRunning(url) => panic!("{PAGE}:{}: {url}", block.line),
        }
    }
    script
}

async fn the_commands_of_the_page_on_calls_work(world: &World) {
    let app = App::register(world, |settings| {
        settings.scope = SCOPE.parse().unwrap();
    });
    let app = app.await;
    let browser = world.browser();
    let tokens = app.sign_in_for(&browser, world.alice(), SCOPE).await;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let page = std::fs::read_to_string(format!("{root}{PAGE}")).unwrap();
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("picture.png"), PICTURE).unwrap();
    let output = Command::new("/bin/sh")
        .args(["-eux", "-c", &script(&page)])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("AIP_URL", format!("http://{}", world.address()))
        .env("ACCESS_TOKEN", &tokens.access)
        .env("DID", world.alice().did.as_str())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output();
    let output = output.await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{PAGE}: {said}");
}
