//! A connection in use, for one statement or one transaction, and the state in which it is returned
//! to the pool.

use std::ops::{Deref, DerefMut};

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::connection::{Connection, PING_TIMEOUT};
use super::driver::Driver;
use super::manager::{InUse, discard, put_back};

/// A connection in use. It is returned to the pool on drop.
pub(crate) struct PooledConnection<D: Driver> {
    state: State,
    /// There until the drop.
    connection: Option<InUse<D>>,
}

/// The state in which a connection would be returned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its last statement was answered.
    Answered,
    /// Its user may have been cancelled while a statement was under way.
    Unknown,
    /// Likewise, and a transaction may be open.
    InTransaction,
    /// It failed.
    Broken,
}

/// A transaction. Dropped without [`Self::commit`], it is rolled back.
pub(crate) struct PooledTransaction<D: Driver>(PooledConnection<D>);

impl<D: Driver> PooledConnection<D> {
    pub(super) fn new(connection: InUse<D>) -> Self {
        Self {
            state: State::Unknown,
            connection: Some(connection),
        }
    }

    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.state = State::InTransaction;
        Connection::begin(self).await
    }

    async fn end(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        Connection::end(self, text).await?;
        self.state = State::Answered;
        Ok(())
    }

    /// Takes the result of the one statement for which this was acquired. Without that, the
    /// connection is tested before it is used again.
    pub(crate) async fn finish<T>(
        &mut self,
        result: Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        match (&result, self.state) {
            (Ok(_), State::InTransaction) => self.end("COMMIT").await?,
            (Ok(_), _) => self.state = State::Answered,
            (Err(error), State::Unknown) if is_reusable(error) => self.state = State::Answered,
            (Err(error), _) if !is_reusable(error) => self.state = State::Broken,
            (Err(_), _) => {}
        }
        result
    }

    /// Says that whatever ran on it was answered, and that no transaction is open.
    pub(super) fn answered(&mut self) {
        self.state = State::Answered;
    }
}

impl<D: Driver> Deref for PooledConnection<D> {
    type Target = Connection<D>;

    #[allow(
        clippy::expect_used,
        reason = "taken by `drop` alone, after which nobody looks"
    )]
    fn deref(&self) -> &Connection<D> {
        self.connection.as_ref().expect("present until drop")
    }
}

impl<D: Driver> DerefMut for PooledConnection<D> {
    #[allow(
        clippy::expect_used,
        reason = "taken by `drop` alone, after which nobody looks"
    )]
    fn deref_mut(&mut self) -> &mut Connection<D> {
        self.connection.as_mut().expect("present until drop")
    }
}

impl<D: Driver> Drop for PooledConnection<D> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        match self.state {
            State::Answered => put_back(connection),
            State::Broken => discard(connection),
            State::Unknown | State::InTransaction => match Handle::try_current() {
                Ok(runtime) => {
                    let connection = Untested(Some(connection));
                    runtime.spawn(recover(connection, self.state));
                }
                // Without a runtime the process is ending, and the connection with it.
                Err(_) => discard(connection),
            },
        }
    }
}

/// A connection whose last statement may not have ended. Dropped like that it is closed, and not
/// returned to the pool: a runtime that shuts down drops the task that would test it.
struct Untested<D: Driver>(Option<InUse<D>>);

impl<D: Driver> Drop for Untested<D> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            discard(connection);
        }
    }
}

/// Returns a connection to the pool if it can be used again.
async fn recover<D: Driver>(mut untested: Untested<D>, state: State) {
    let Some(connection) = &mut untested.0 else {
        return;
    };
    let rolled_back = async {
        if state == State::InTransaction
            && let Ok(driver) = connection.driver()
        {
            // Refused if the engine has rolled back by itself: the test below decides.
            let _ = driver.run("ROLLBACK").await;
        }
        connection.answers().await
    };
    let is_usable = matches!(timeout(PING_TIMEOUT, rolled_back).await, Ok(true));
    if is_usable && let Some(connection) = untested.0.take() {
        put_back(connection);
    }
}

/// Whether a connection can be used after an error: the server answered, and neither closes the
/// connection (class 08, 57P) nor is read-only (25006: after a failover another server takes writes).
fn is_reusable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => !error.code().is_some_and(|code| {
            let closing = ["08", "57P", "25006"];
            closing.iter().any(|it| code.starts_with(it))
        }),
        _ => false,
    }
}

impl<D: Driver> Deref for PooledTransaction<D> {
    type Target = Connection<D>;

    fn deref(&self) -> &Connection<D> {
        &self.0
    }
}

impl<D: Driver> DerefMut for PooledTransaction<D> {
    fn deref_mut(&mut self) -> &mut Connection<D> {
        &mut self.0
    }
}

impl<D: Driver> PooledTransaction<D> {
    pub(super) async fn begin(mut connection: PooledConnection<D>) -> Result<Self, sqlx::Error> {
        connection.begin().await?;
        Ok(Self(connection))
    }

    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.0.end("COMMIT").await
    }

    /// Rolls back, and waits until that is done.
    pub(crate) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        self.0.end("ROLLBACK").await
    }
}
