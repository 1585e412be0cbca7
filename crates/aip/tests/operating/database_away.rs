//! While the database is away, callers are told to come back, and the server comes back by itself.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::command::{Variables, aip};
use crate::server::{Server, request, send};

/// A request for which something is read. Its long `state` is stored when a person goes on.
const AUTHORIZE: &str = "/oauth/authorize?response_type=code&client_id=photo-book\
     &redirect_uri=https%3A%2F%2Fphotos.example%2Fcallback&scope=atproto\
     &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";

/// Registers the app that asks.
fn register(folder: &TempDir, variables: Variables<'_>) {
    let callback = "https://photos.example/callback";
    let words = [
        "clients",
        "create",
        "--id",
        "photo-book",
        "--name",
        "Photo Book",
        "--redirect-uri",
        callback,
    ];
    aip(folder.path(), variables, &words).ok();
}

fn begin(folder: &TempDir, variables: Variables<'_>) -> Server {
    register(folder, variables);
    let server = Server::start(folder.path(), variables);
    assert_eq!(request(server.public, AUTHORIZE).unwrap().0, 303);
    server
}

/// Submits the sign-in page of a request that is too long for a URL, for which something is written: status and head. The
/// account cannot be found: its server is this machine, and the outbound guard refuses that.
fn submit(server: &Server) -> (u16, String) {
    let state = "s".repeat(7000);
    let begun = send(
        server.public,
        "GET",
        &format!("{AUTHORIZE}&state={state}"),
        "",
        "",
    );
    let (status, head, page) = begun.unwrap();
    if status != 200 {
        return (status, head.to_ascii_lowercase());
    }
    let cookie = header(&head, "set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("csrf", field(&page, "csrf"))
        .append_pair("request", field(&page, "request"))
        .append_pair("subject", "did:web:localhost")
        .finish();
    let headers = format!(
        "Cookie: {cookie}\r\nOrigin: https://id.example.org\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n"
    );
    let (status, head, _) = send(server.public, "POST", "/login", &headers, &form).unwrap();
    (status, head.to_ascii_lowercase())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(it, _)| it.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

/// The value of a hidden field.
fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let start = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.split_once(&start).unwrap();
    rest.split('"').next().unwrap()
}

/// Refused for now, with the time after which to try again.
#[track_caller]
fn told_to_come_back(server: &Server) {
    let (status, head) = submit(server);
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("\r\nretry-after: "), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_server_that_goes_away_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let url = aip_testkit::postgres::create_database().await;
    let variables = [("AIP_DATABASE_URL", &*url)];
    aip(folder.path(), &variables, &["migrate"]).ok();
    let mut server = begin(&folder, &variables);

    let other = aip_testkit::postgres::create_database().await;
    let mut operator = PgConnection::connect(&other).await.unwrap();
    let before_options = url.split('?').next().unwrap();
    let name = before_options.rsplit('/').next().unwrap();
    let mut order = async |statement: String| {
        operator.execute(AssertSqlSafe(statement)).await.unwrap();
    };
    order(format!(
        "ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"
    ))
    .await;
    order(format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    ))
    .await;
    told_to_come_back(&server);
    assert_eq!(server.probe("/internal/ready"), Some(503));
    assert_eq!(server.probe("/internal/alive"), Some(200));

    order(format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")).await;
    server.until("ready again", |it| it.probe("/internal/ready") == Some(200));
    assert_eq!(request(server.public, AUTHORIZE).unwrap().0, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_that_somebody_else_holds_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let mut server = begin(&folder, &[]);
    let url = format!(
        "sqlite://{}",
        folder.path().join("aip-data/aip.db").display()
    );
    let mut somebody = SqliteConnection::connect(&url).await.unwrap();
    somebody.execute("BEGIN EXCLUSIVE").await.unwrap();
    told_to_come_back(&server);
    somebody.execute("ROLLBACK").await.unwrap();
    server.until("it works again", |it| submit(it).0 == 400);
}

#[test]
fn a_full_disk_is_waited_for() {
    let folder = TempDir::new().unwrap();
    register(&folder, &[]);
    let unlimited = [("AIP_RATE_LIMITS", "false")];
    let mut server = Server::start_within(folder.path(), &unlimited, 1024);
    server.until("the disk is full", |it| submit(it).0 == 503);
    told_to_come_back(&server);
    assert_eq!(server.probe("/internal/alive"), Some(200));

    server.make_room();
    server.until("it works again", |it| submit(it).0 == 400);
}
