//! The limit: a bare hyper server that answers every request with the same body, after one
//! prepared statement of PostgreSQL if it is given a database. No server that does more can be
//! faster on this machine. It prints its address and runs until it is killed.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use sqlx::{Connection as _, PgConnection};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// As many as `aip serve` has.
const CONNECTIONS: usize = 16;
/// As many as there are tokens in the benchmarks of `aip`.
const ROWS: i32 = 256;

#[derive(Parser)]
#[command(about = "Answers every request with the same body")]
struct Arguments {
    /// The body of every answer.
    #[arg(long)]
    body: PathBuf,
    /// What is done in the database before each answer.
    #[arg(long, value_enum, requires = "database")]
    statement: Option<Statement>,
    /// The URL of a PostgreSQL database.
    #[arg(long, requires = "statement")]
    database: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Statement {
    /// Reads one row by its primary key, 32 random bytes.
    Read,
    /// Changes such a row and returns it: one commit.
    Write,
}

impl Statement {
    fn sql(self) -> &'static str {
        match self {
            Self::Read => "SELECT body FROM limit_rows WHERE id = $1",
            Self::Write => "UPDATE limit_rows SET used = used + 1 WHERE id = $1 RETURNING body",
        }
    }
}

/// Connections and the rows that they ask for, one after the other.
struct Database {
    statement: Statement,
    keys: Vec<Vec<u8>>,
    next: AtomicUsize,
    free: Semaphore,
    connections: Mutex<Vec<PgConnection>>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let body = std::fs::read(&arguments.body)
        .with_context(|| format!("cannot read {}", arguments.body.display()))?;
    let database = match arguments.database.as_deref().zip(arguments.statement) {
        Some((url, statement)) => Some(Database::open(url, statement, &body).await?),
        None => None,
    };
    let server = Arc::new((Bytes::from(body), database));
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let service = service_fn(|_| answer(&server));
            // A caller that hangs up ends its connection.
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
    }
}

async fn answer(
    (body, database): &(Bytes, Option<Database>),
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match database {
        None => Ok(body.clone()),
        Some(database) => database.body().await,
    };
    let (status, body) = match body {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into()),
    };
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    Ok(answer)
}

impl Database {
    /// Makes its table anew.
    async fn open(url: &str, statement: Statement, body: &[u8]) -> Result<Self> {
        let mut first = PgConnection::connect(url).await?;
        let setup = "DROP TABLE IF EXISTS limit_rows;
             CREATE TABLE limit_rows (id bytea PRIMARY KEY, used bigint NOT NULL, body text NOT NULL)";
        sqlx::raw_sql(setup).execute(&mut first).await?;
        let fill = "INSERT INTO limit_rows
             SELECT sha256(n::text::bytea), 0, $1 FROM generate_series(1, $2) AS n RETURNING id";
        let keys = sqlx::query_scalar(fill)
            .bind(std::str::from_utf8(body)?)
            .bind(ROWS)
            .fetch_all(&mut first)
            .await?;
        let mut connections = vec![first];
        while connections.len() < CONNECTIONS {
            connections.push(PgConnection::connect(url).await?);
        }
        Ok(Self {
            statement,
            keys,
            next: AtomicUsize::new(0),
            free: Semaphore::new(CONNECTIONS),
            connections: Mutex::new(connections),
        })
    }

    async fn body(&self) -> Result<Bytes> {
        let _free = self.free.acquire().await?;
        let connection = self.connections().pop();
        let mut connection = connection.context("there is a connection for every permit")?;
        let key = &self.keys[self.next.fetch_add(1, Ordering::Relaxed) % self.keys.len()];
        let body: String = sqlx::query_scalar(self.statement.sql())
            .bind(key)
            .fetch_one(&mut connection)
            .await?;
        self.connections().push(connection);
        Ok(body.into())
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
