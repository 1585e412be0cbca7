//! What holds of a document, by what this process has read and by what all of them have noted.

use aip_base::{Body, HttpError};
use async_trait::async_trait;
use http::{Request, Response};

use super::*;

const ID: &str = "https://app.example/client.json";
const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_hours(1);

/// Nothing is read here.
struct NoHttp;

#[async_trait]
impl Http for NoHttp {
    async fn send(
        &self,
        _request: Request<Body>,
        _deadline: Duration,
    ) -> Result<Response<Body>, HttpError> {
        Err(HttpError::NoHost)
    }
}

fn read(_: &[u8], _: &ClientId, _: ClientSettings) -> Result<ClientSettings, String> {
    Err("no document is read here".to_owned())
}

/// A process, with what it knows of the document.
struct Process(ClientDocuments);

impl Process {
    fn new() -> Self {
        let policy = DocumentPolicy {
            max_clients: 10,
            read,
        };
        Self(ClientDocuments::new(Arc::new(NoHttp), Some(policy)))
    }

    fn takes(&self, outcome: Result<(), Failure>, now: Timestamp) {
        let id: ClientId = ID.parse().unwrap();
        let document = self
            .0
            .documents
            .get_or_insert_with(&id, || Ok::<_, Infallible>(Arc::default()))
            .unwrap();
        let outcome = outcome.map(|()| (ClientSettings::default(), HOUR));
        lock(&document.known).take(outcome, &id, now);
    }

    fn holds(&self, kept: Option<Client>, now: Timestamp) -> bool {
        let current = self.0.current(&ID.parse().unwrap(), kept, now);
        current.is_some()
    }
}

/// The row of the client, which holds until then.
fn row(holds_until: Timestamp) -> Client {
    Client {
        id: ID.parse().unwrap(),
        settings: ClientSettings::default(),
        secret_hash: None,
        registered_itself: false,
        from_document: true,
        document_holds_until: Some(holds_until),
        created_at: BEGIN,
        updated_at: BEGIN,
    }
}

fn gone() -> Result<(), Failure> {
    Err(Failure::permanent("the answer has status 404"))
}

fn down() -> Result<(), Failure> {
    Err(Failure {
        why: "there is no host of this name".to_owned(),
        is_transient: true,
    })
}

#[test]
fn what_this_process_saw_withdrawn_holds_when_another_has_read_it_since() {
    let process = Process::new();
    let day = MAX_UNREAD_AGE;
    process.takes(gone(), BEGIN);
    let now = BEGIN + HOUR * 2;
    for is_down in [false, true] {
        if is_down {
            // This process alone cannot reach the site any more.
            process.takes(down(), BEGIN + HOUR);
        }
        for (read_at, is_read_since) in [
            (BEGIN - HOUR, false),
            (BEGIN, false),
            (BEGIN + Duration::from_micros(1), true),
            (BEGIN + HOUR, true),
        ] {
            let until = read_at + day;
            assert_eq!(
                process.holds(Some(row(until)), now),
                is_read_since,
                "{read_at:?}"
            );
            assert!(
                !process.holds(Some(row(until)), until),
                "not for longer than a day"
            );
        }
        assert!(
            !process.holds(Some(row(BEGIN)), now),
            "it is noted as withdrawn"
        );
        assert!(!process.holds(None, now), "nothing is noted");
    }
    assert!(!process.0.is_unreachable(&ID.parse().unwrap()));
    // And withdrawn once more.
    process.takes(gone(), now);
    assert!(!process.holds(Some(row(BEGIN + HOUR + day)), now));
    process.takes(Ok(()), now + HOUR);
    assert!(process.holds(Some(row(BEGIN)), now + HOUR));
}

#[test]
fn what_cannot_be_read_holds_for_a_day_in_every_process() {
    let process = Process::new();
    process.takes(Ok(()), BEGIN);
    let until = BEGIN + MAX_UNREAD_AGE;
    for hours in [2, 10, 23] {
        let now = BEGIN + HOUR * hours;
        process.takes(down(), now);
        assert!(process.holds(Some(row(until)), now));
        assert!(process.holds(None, now));
        assert!(process.0.is_unreachable(&ID.parse().unwrap()));
        // One that never read it.
        let other = Process::new();
        other.takes(down(), now);
        assert!(other.holds(Some(row(until)), now));
        assert!(!other.holds(None, now));
    }
    process.takes(down(), until);
    assert!(!process.holds(Some(row(until)), until));
}
