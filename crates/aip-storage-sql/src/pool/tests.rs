//! The pool on a server made of switches, with the time set by hand.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::Sqlite;
use tokio::task::yield_now;
use tokio::time::{Instant, advance, sleep, timeout};

use super::{Driver, Pool, PoolConfig, PooledConnection, Row, Statement};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than anything here may take.
const TEST_TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Default)]
struct Server {
    connected: AtomicU32,
    /// Connections that are not there any more, and those of them that said so.
    gone: AtomicU32,
    closed: AtomicU32,
    pings: AtomicU32,
    rollbacks: AtomicU32,
    /// Statements and pings are not answered.
    silent: AtomicBool,
    /// It is starting up.
    refuses: AtomicBool,
}

struct FakeConnection(Arc<Server>);

impl Server {
    fn set(switch: &AtomicBool, on: bool) {
        switch.store(on, Ordering::SeqCst);
    }

    fn count(counter: &AtomicU32) -> u32 {
        counter.load(Ordering::SeqCst)
    }

    fn open(&self) -> u32 {
        Self::count(&self.connected) - Self::count(&self.gone)
    }

    async fn answer(&self) {
        while self.silent.load(Ordering::SeqCst) {
            sleep(SECOND / 10).await;
        }
    }
}

impl Drop for FakeConnection {
    fn drop(&mut self) {
        self.0.gone.fetch_add(1, Ordering::SeqCst);
    }
}

impl Driver for FakeConnection {
    type Engine = Sqlite;
    type Options = Arc<Server>;

    const BEGIN: &'static str = "BEGIN";

    async fn connect(server: &Arc<Server>) -> Result<Self, sqlx::Error> {
        if server.refuses.load(Ordering::SeqCst) {
            return Err(sqlx::Error::Io(io::ErrorKind::ConnectionRefused.into()));
        }
        server.connected.fetch_add(1, Ordering::SeqCst);
        Ok(Self(Arc::clone(server)))
    }

    async fn run(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        self.0.answer().await;
        if text == "ROLLBACK" {
            self.0.rollbacks.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn execute(&mut self, _: Statement<Self>) -> Result<u64, sqlx::Error> {
        self.0.answer().await;
        Ok(0)
    }

    async fn fetch_all(&mut self, _: Statement<Self>) -> Result<Vec<Row<Self>>, sqlx::Error> {
        self.0.answer().await;
        Ok(Vec::new())
    }

    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        self.0.pings.fetch_add(1, Ordering::SeqCst);
        self.0.answer().await;
        Ok(())
    }

    async fn close(self) -> Result<(), sqlx::Error> {
        self.0.closed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn config(max_connections: u32) -> PoolConfig {
    PoolConfig {
        name: "test",
        max_connections,
        acquire_timeout: 10 * SECOND,
        max_age: Duration::MAX,
        test_after_idle: 5 * SECOND,
        statement_timeout: 30 * SECOND,
        prepares_statements: true,
    }
}

async fn open(config: PoolConfig) -> (Arc<Server>, Pool<FakeConnection>) {
    let server = Arc::new(Server::default());
    let pool = Pool::open(Arc::clone(&server), config).await.unwrap();
    (server, pool)
}

async fn use_for_one_statement(mut connection: PooledConnection<FakeConnection>) {
    let done = connection.execute(sqlx::query("SELECT 1")).await;
    connection.finish(done).await.unwrap();
}

/// So many connections, all idle.
async fn open_idle(config: PoolConfig, count: u32) -> (Arc<Server>, Pool<FakeConnection>) {
    let (server, pool) = open(config).await;
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(pool.acquire().await.unwrap());
    }
    for connection in connections {
        use_for_one_statement(connection).await;
    }
    assert_eq!(server.open(), count);
    (server, pool)
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_answered_is_used_again_without_a_ping() {
    let (server, pool) = open(config(4)).await;
    for _ in 0..10 {
        use_for_one_statement(pool.acquire().await.unwrap()).await;
    }
    assert_eq!(Server::count(&server.connected), 1);
    assert_eq!(Server::count(&server.pings), 0);
}

#[tokio::test(start_paused = true)]
async fn callers_are_served_in_the_order_in_which_they_came() {
    let (_server, pool) = open(config(1)).await;
    let held = pool.acquire().await.unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut callers = Vec::new();
    for n in 0..5 {
        let (pool, served) = (pool.clone(), Arc::clone(&served));
        callers.push(tokio::spawn(async move {
            let connection = pool.acquire().await.unwrap();
            served.lock().unwrap().push(n);
            use_for_one_statement(connection).await;
        }));
        yield_now().await;
    }
    use_for_one_statement(held).await;
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(*served.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_the_queue_takes_no_connection_with_it() {
    let (server, pool) = open(config(1)).await;
    for _ in 0..5 {
        let held = pool.acquire().await.unwrap();
        let waiting = timeout(SECOND, pool.acquire()).await;
        assert!(waiting.is_err());
        // This one leaves at the moment at which it is served.
        let leaving = tokio::spawn({
            let pool = pool.clone();
            async move { drop(pool.acquire().await) }
        });
        yield_now().await;
        use_for_one_statement(held).await;
        leaving.abort();
    }
    let began = Instant::now();
    use_for_one_statement(pool.acquire().await.unwrap()).await;
    assert!(began.elapsed() < SECOND);
    assert_eq!(server.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_idle_for_long_is_tested_before_it_is_used() {
    let (server, pool) = open_idle(config(4), 1).await;
    advance(6 * SECOND).await;
    use_for_one_statement(pool.acquire().await.unwrap()).await;
    assert_eq!(Server::count(&server.pings), 1);
    assert_eq!(Server::count(&server.connected), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_takes_the_idle_ones_with_it() {
    let (server, pool) = open_idle(config(4), 4).await;
    advance(6 * SECOND).await;
    Server::set(&server.silent, true);
    let connection = pool.acquire().await.unwrap();
    assert_eq!(Server::count(&server.pings), 1);
    assert_eq!(server.open(), 1);
    Server::set(&server.silent, false);
    use_for_one_statement(connection).await;
}

/// The test alone takes as long as a caller may wait.
#[tokio::test(start_paused = true)]
async fn a_caller_who_waited_too_long_leaves_no_silent_connection_to_the_next() {
    let hasty = PoolConfig {
        acquire_timeout: 3 * SECOND,
        ..config(4)
    };
    let (server, pool) = open_idle(hasty, 4).await;
    advance(6 * SECOND).await;
    Server::set(&server.silent, true);
    let began = Instant::now();
    let refused = pool.acquire().await.err();
    assert!(matches!(refused, Some(sqlx::Error::PoolTimedOut)));
    assert!(began.elapsed() < 4 * SECOND);
    assert_eq!(server.open(), 0);
    pool.acquire().await.unwrap();
    assert_eq!(Server::count(&server.pings), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_cancelled_statement_a_connection_that_answers_is_used_again() {
    let (server, pool) = open(config(1)).await;
    Server::set(&server.silent, true);
    let mut connection = pool.acquire().await.unwrap();
    let cancelled = timeout(SECOND, connection.execute(sqlx::query("SELECT 1"))).await;
    assert!(cancelled.is_err());
    drop(connection);
    Server::set(&server.silent, false);
    use_for_one_statement(pool.acquire().await.unwrap()).await;
    assert_eq!(Server::count(&server.pings), 1);
    assert_eq!(Server::count(&server.connected), 1);
}

/// The permit comes back however long the server stays silent (sqlx issue #4349).
#[tokio::test(start_paused = true)]
async fn after_a_cancelled_statement_a_connection_that_is_silent_is_replaced() {
    let (server, pool) = open(config(1)).await;
    Server::set(&server.silent, true);
    let mut connection = pool.acquire().await.unwrap();
    let cancelled = timeout(SECOND, connection.execute(sqlx::query("SELECT 1"))).await;
    assert!(cancelled.is_err());
    drop(connection);
    let connection = pool.acquire().await.unwrap();
    assert_eq!(Server::count(&server.connected), 2);
    assert_eq!(server.open(), 1);
    Server::set(&server.silent, false);
    use_for_one_statement(connection).await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_dropped_is_rolled_back_before_the_connection_is_used_again() {
    let (server, pool) = open(config(1)).await;
    drop(pool.begin().await.unwrap());
    use_for_one_statement(pool.acquire().await.unwrap()).await;
    assert_eq!(Server::count(&server.rollbacks), 1);
    assert_eq!(Server::count(&server.pings), 1);
    assert_eq!(Server::count(&server.connected), 1);

    pool.begin().await.unwrap().commit().await.unwrap();
    pool.begin().await.unwrap().rollback().await.unwrap();
    use_for_one_statement(pool.acquire().await.unwrap()).await;
    assert_eq!(Server::count(&server.pings), 1);
}

#[test]
fn what_a_runtime_that_shuts_down_leaves_open_is_closed_and_not_used_again() {
    let one = || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all().build().unwrap()
    };
    let doomed = one();
    let (server, pool) = doomed.block_on(open(config(1)));
    let pool = Arc::new(pool);
    let (begun, wait) = std::sync::mpsc::channel();
    let used = Arc::clone(&pool);
    doomed.spawn(async move {
        let transaction = used.begin().await.unwrap();
        begun.send(()).unwrap();
        std::future::pending::<()>().await;
        drop(transaction);
    });
    wait.recv().unwrap();
    doomed.shutdown_timeout(TEST_TIMEOUT);
    assert_eq!(server.open(), 0, "its transaction ends with it");

    one().block_on(async {
        use_for_one_statement(pool.acquire().await.unwrap()).await;
    });
    assert_eq!(Server::count(&server.connected), 2);
}

#[tokio::test(start_paused = true)]
async fn a_statement_that_takes_too_long_costs_its_connection_and_the_idle_ones() {
    let (server, pool) = open_idle(config(2), 2).await;
    let mut connection = pool.acquire().await.unwrap();
    Server::set(&server.silent, true);
    let late = connection.execute(sqlx::query("SELECT 1")).await;
    assert!(
        matches!(&late, Err(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::TimedOut)
    );
    assert!(connection.finish(late).await.is_err());
    drop(connection);
    assert_eq!(server.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_too_old_is_closed_and_replaced() {
    let short_lived = PoolConfig {
        max_age: Duration::ZERO,
        ..config(4)
    };
    let (server, pool) = open(short_lived).await;
    for replaced in 1..5 {
        use_for_one_statement(pool.acquire().await.unwrap()).await;
        assert_eq!(Server::count(&server.connected), 1 + replaced);
        assert_eq!(Server::count(&server.closed), replaced);
    }
    assert_eq!(server.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_starting_up_is_waited_for() {
    let (server, pool) = open(config(1)).await;
    let held = pool.acquire().await.unwrap();
    Server::set(&server.silent, true);
    drop(held);
    Server::set(&server.refuses, true);
    let began = Instant::now();
    let refused = pool.acquire().await.err().unwrap();
    // It says what the server said, not that the pool is busy.
    assert!(
        matches!(&refused, sqlx::Error::Io(it) if it.kind() == io::ErrorKind::ConnectionRefused),
        "{refused:?}"
    );
    assert!((9 * SECOND..11 * SECOND).contains(&began.elapsed()));

    Server::set(&server.silent, false);
    let started = async {
        sleep(2 * SECOND).await;
        Server::set(&server.refuses, false);
    };
    let (connection, ()) = tokio::join!(pool.acquire(), started);
    use_for_one_statement(connection.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_the_first_connection_is_reported_at_once() {
    let server = Arc::new(Server::default());
    Server::set(&server.refuses, true);
    let began = Instant::now();
    let refused = Pool::<FakeConnection>::open(server, config(1)).await;
    assert!(matches!(refused, Err(sqlx::Error::Io(_))));
    assert!(began.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_those_in_use_and_refuses_others() {
    let (server, pool) = open_idle(config(2), 2).await;
    let held = pool.acquire().await.unwrap();
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    yield_now().await;
    let refused = pool.acquire().await.err();
    assert!(matches!(refused, Some(sqlx::Error::PoolClosed)));
    assert!(!closing.is_finished());

    use_for_one_statement(held).await;
    timeout(TEST_TIMEOUT, closing).await.unwrap().unwrap();
    assert_eq!(server.open(), 0);
    assert_eq!(
        Server::count(&server.closed),
        Server::count(&server.connected)
    );
    let refused = pool.acquire().await.err();
    assert!(matches!(refused, Some(sqlx::Error::PoolClosed)));
}
