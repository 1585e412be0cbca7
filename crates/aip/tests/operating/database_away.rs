//! While the database is away, callers are told to come back, and the server comes back by itself.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::command::{Variables, aip};
use crate::server::{Server, request};

/// A request for which something is read and written.
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

/// Refused for now, with the time after which to try again.
#[track_caller]
fn told_to_come_back(server: &Server) {
    let (status, head, body) = request(server.public, AUTHORIZE).unwrap();
    assert_eq!(status, 503, "{head}\n{body}");
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
    server.until("it works again", |it| {
        request(it.public, AUTHORIZE).unwrap().0 == 303
    });
}

#[test]
fn a_full_disk_is_waited_for() {
    let folder = TempDir::new().unwrap();
    register(&folder, &[]);
    let mut server = Server::start_within(folder.path(), &[], 1024);
    server.until("the disk is full", |it| {
        request(it.public, AUTHORIZE).unwrap().0 != 303
    });
    told_to_come_back(&server);
    assert_eq!(server.probe("/internal/alive"), Some(200));

    server.make_room();
    server.until("it works again", |it| {
        request(it.public, AUTHORIZE).unwrap().0 == 303
    });
}
