//! One statement on its way to the engine: on any connection that is free, or on one that is held
//! already.

use aip_storage::StorageError;
use sqlx::{Encode, Type};

use crate::columns::Stored;
use crate::failure::DriverError;
use crate::pool::{Connection, Driver, Pool, PooledConnection, Row, Statement};

/// A statement with its values. Its text is fixed at compile time.
#[must_use = "a statement does nothing until it is run"]
pub(crate) struct Sql<D: Driver>(Statement<D>);

/// The engine failed; what was asked may be asked again later.
pub(crate) fn unavailable(error: sqlx::Error) -> StorageError {
    StorageError::Unavailable(Box::new(DriverError::from(error)))
}

impl<D: Driver> Sql<D> {
    /// Begins a statement; `$1` is the first value bound.
    pub(crate) fn new(text: &'static str) -> Self {
        metrics::counter!("aip_sql_statements_total").increment(1);
        Self(sqlx::query(text))
    }

    /// Binds the next value, or the next values of a tuple.
    pub(crate) fn bind(self, values: impl Values<D>) -> Self {
        Self(values.bind_to(self.0))
    }

    /// Runs it for its effect; the number of rows it touched.
    pub(crate) async fn execute(self, on: impl Executor<D>) -> Result<u64, StorageError> {
        let mut acquired = on.acquire().await.map_err(unavailable)?;
        let done = acquired.connection().execute(self.0).await;
        acquired.finish(done).await.map_err(unavailable)
    }

    /// Its rows.
    pub(crate) async fn all(self, on: impl Executor<D>) -> Result<Vec<Row<D>>, StorageError> {
        let mut acquired = on.acquire().await.map_err(unavailable)?;
        let rows = acquired.connection().fetch_all(self.0).await;
        acquired.finish(rows).await.map_err(unavailable)
    }

    /// Its first row. The statement is run to its end all the same: a `RETURNING` that is left
    /// half-read would leave its write unfinished.
    pub(crate) async fn first(self, on: impl Executor<D>) -> Result<Option<Row<D>>, StorageError> {
        Ok(self.all(on).await?.into_iter().next())
    }

    /// What its first row holds.
    pub(crate) async fn one<T>(
        self,
        on: impl Executor<D>,
        read: impl FnOnce(&Row<D>) -> Result<T, StorageError>,
    ) -> Result<Option<T>, StorageError> {
        self.first(on).await?.as_ref().map(read).transpose()
    }
}

/// One value, or a tuple of them, for the next parameters of a statement.
pub(crate) trait Values<D: Driver> {
    /// Adds them.
    fn bind_to(self, statement: Statement<D>) -> Statement<D>;
}

impl<D: Driver, T: Stored> Values<D> for &T
where
    T::Column: Encode<'static, D::Engine> + Type<D::Engine>,
{
    fn bind_to(self, statement: Statement<D>) -> Statement<D> {
        statement.bind(self.to_column())
    }
}

macro_rules! values_of_tuple {
    ($($value:ident)+) => {
        impl<D: Driver, $($value: Values<D>),+> Values<D> for ($($value,)+) {
            #[allow(non_snake_case, reason = "a value is named like its type")]
            fn bind_to(self, statement: Statement<D>) -> Statement<D> {
                let ($($value,)+) = self;
                $(let statement = $value.bind_to(statement);)+
                statement
            }
        }
    };
}

values_of_tuple!(A B);
values_of_tuple!(A B C);
values_of_tuple!(A B C E);
values_of_tuple!(A B C E F);
values_of_tuple!(A B C E F G);

/// Where a statement can be run.
pub(crate) trait Executor<D: Driver>: Send {
    /// The connection while the statement runs.
    type Acquired: Acquired<D>;

    /// Gets it.
    fn acquire(self) -> impl Future<Output = Result<Self::Acquired, sqlx::Error>> + Send;
}

/// A connection for one statement.
pub(crate) trait Acquired<D: Driver>: Send {
    /// The connection.
    fn connection(&mut self) -> &mut Connection<D>;

    /// Takes the result of the statement.
    fn finish<T: Send>(
        &mut self,
        result: Result<T, sqlx::Error>,
    ) -> impl Future<Output = Result<T, sqlx::Error>> + Send;
}

impl<D: Driver> Executor<D> for &Pool<D> {
    type Acquired = PooledConnection<D>;

    fn acquire(self) -> impl Future<Output = Result<PooledConnection<D>, sqlx::Error>> + Send {
        self.for_one_statement()
    }
}

impl<'c, D: Driver> Executor<D> for &'c mut Connection<D> {
    type Acquired = &'c mut Connection<D>;

    async fn acquire(self) -> Result<&'c mut Connection<D>, sqlx::Error> {
        Ok(self)
    }
}

impl<D: Driver> Acquired<D> for PooledConnection<D> {
    fn connection(&mut self) -> &mut Connection<D> {
        self
    }

    fn finish<T: Send>(
        &mut self,
        result: Result<T, sqlx::Error>,
    ) -> impl Future<Output = Result<T, sqlx::Error>> + Send {
        PooledConnection::finish(self, result)
    }
}

impl<D: Driver> Acquired<D> for &mut Connection<D> {
    fn connection(&mut self) -> &mut Connection<D> {
        self
    }

    /// The end of its transaction says so.
    async fn finish<T: Send>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        result
    }
}
