//! One run: in this order clients, sessions, app passwords, then what became of the rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aip_atproto::ScopeSet;
use aip_base::Timestamp;
use aip_oauth::imported::ImportClient;
use aip_oauth::registration::RegistrationError;
use aip_storage::client::ClientId;
use aip_storage::imports::{HeldSession, HeldTokenKind, HoldOutcome, ImportState};

use crate::app_passwords::{self, app_password_name};
use crate::grants::report_older_tokens;
use crate::report::{MAX_LISTED_ROWS, Reason, Report};
use crate::rows::{
    APP_PASSWORDS, AppPasswordRow, CLIENTS, ClientRow, ORPHAN_TOKENS, OrphanToken, SESSIONS,
    SessionRow,
};
use crate::server_lookup::ServerLookup;
use crate::sessions::{self, Converter, IdentifiedRow, RowError, session_name};
use crate::source::{Source, SourceError};
use crate::{FINISH_TIME, Import, ImportError, Mode, clients, instant, may_have_credentials};

/// The task of which one process is the leader.
const LEADERSHIP_TASK: &str = "aip import aip-v2";
/// How long a run that was killed keeps the next one from beginning.
const LEADERSHIP_TIME: Duration = Duration::from_mins(1);
/// How many held sessions are released in one transaction.
const RELEASE_BATCH: u32 = 500;

/// What a run reads of v2's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadScope {
    All,
    Nothing,
}

/// One run.
pub(crate) struct Run<'a> {
    pub(crate) import: &'a Import,
    pub(crate) source: Source,
    pub(crate) mode: Mode,
    pub(crate) began: Timestamp,
    pub(crate) owner: String,
    pub(crate) report: Report,
    /// Told how many sessions of how many were looked at.
    pub(crate) progress: &'a mut (dyn FnMut(u64, u64) + Send),
}

impl Run<'_> {
    /// All of it, whatever comes of it: the next run need not wait.
    pub(crate) async fn run_to_end(mut self) -> Result<Report, ImportError> {
        let done = self.run_steps().await;
        if self.writes() && !matches!(done, Err(ImportError::Busy)) {
            let given_up = self.extend_leadership(Duration::ZERO).await;
            // Why the run failed is said first.
            done?;
            given_up?;
        } else {
            done?;
        }
        self.source.close().await?;
        Ok(self.report)
    }

    async fn run_steps(&mut self) -> Result<(), ImportError> {
        if self.begin().await? == ReadScope::All {
            let clients = self.clients().await?;
            self.sessions(clients).await?;
            self.report_orphan_tokens().await?;
            self.drop_unseen().await?;
            // It may have been started meanwhile.
            self.refuse_while_in_use().await?;
        }
        self.release().await
    }

    /// Refuses to finish while v2 may be running.
    async fn refuse_while_in_use(&mut self) -> Result<(), ImportError> {
        if let Mode::Finish { other_connections } = self.mode {
            let (number, who) = self.source.others().await?;
            if number > other_connections {
                return Err(ImportError::StillInUse { number, who });
            }
        }
        Ok(())
    }

    fn writes(&self) -> bool {
        self.mode != Mode::DryRun
    }

    /// Before anything is written.
    async fn begin(&mut self) -> Result<ReadScope, ImportError> {
        let storage = &self.import.server.storage;
        let released_at = storage.released_at().await?;
        if let Some(at) = released_at.filter(|at| self.began.since(*at) >= FINISH_TIME) {
            // A release that was killed is completed, however late.
            let finishes = matches!(self.mode, Mode::Finish { .. });
            if !finishes || storage.count_held_sessions().await? == 0 {
                return Err(ImportError::Finished(at));
            }
            self.extend_leadership(LEADERSHIP_TIME).await?;
            return Ok(ReadScope::Nothing);
        }
        self.refuse_while_in_use().await?;
        self.extend_leadership(LEADERSHIP_TIME).await?;
        Ok(ReadScope::All)
    }

    async fn extend_leadership(&self, time: Duration) -> Result<(), ImportError> {
        let server = &self.import.server;
        let now = server.clock.now();
        let leading = server
            .storage
            .acquire_leadership(LEADERSHIP_TASK, &self.owner, time, now);
        if self.writes() && !leading.await? {
            return Err(ImportError::Busy);
        }
        Ok(())
    }

    /// Registers the clients; those that are here afterwards, with their scopes.
    async fn clients(&mut self) -> Result<BTreeMap<ClientId, ScopeSet>, ImportError> {
        const TABLE: &str = "oauth_clients";
        let mut here: BTreeMap<ClientId, ScopeSet> = BTreeMap::new();
        let mut used = self.import.server.used_upstream_scopes().await?;
        self.source.begin(CLIENTS).await?;
        loop {
            let rows = self.source.next().await?;
            if rows.is_empty() {
                let without = here.iter();
                let without = without.filter(|(_, it)| !may_have_credentials(it));
                let without = without.take(MAX_LISTED_ROWS);
                self.report.clients_without_credentials =
                    without.map(|(id, it)| (id.clone(), it.clone())).collect();
                return Ok(here);
            }
            self.extend_leadership(LEADERSHIP_TIME).await?;
            for row in &rows {
                let row = ClientRow::try_from(row).map_err(SourceError::from)?;
                let name = format!("client {}", row.client_id);
                let out = &mut self.report;
                if row.client_id == clients::OWN_CLIENT {
                    let detail = "v2's own, for its device pages; AIP's need no client";
                    out.skip_row(TABLE, name, Reason::OwnClient, detail);
                    continue;
                }
                let converted = match clients::convert(row, &self.import.default_scope) {
                    Ok(converted) => converted,
                    Err(detail) => {
                        out.skip_row(TABLE, name, Reason::ClientRefused, detail);
                        continue;
                    }
                };
                let id = converted.client.id.clone();
                let scope = converted.client.settings.scope.clone();
                let write = self.mode != Mode::DryRun;
                let server = &self.import.server;
                let mut refused = false;
                let outcome = server.import_client(converted.client, &mut used, write);
                match outcome.await {
                    Ok(ImportClient::New) => out.clients_new += 1,
                    Ok(ImportClient::Changed) => out.clients_changed += 1,
                    Ok(ImportClient::Unchanged) => out.clients_unchanged += 1,
                    Err(RegistrationError::Storage(error)) => return Err(error.into()),
                    Err(error) => {
                        out.skip_row(TABLE, name, Reason::ClientRefused, error.to_string());
                        refused = true;
                    }
                }
                if !refused {
                    out.note(converted.notes);
                }
                // One that is here and whose change is refused keeps its sessions.
                let registered = server.storage.client(&id).await?;
                let registered = registered.map(|it| it.settings.scope);
                if let Some(scope) = registered.or((!refused).then_some(scope)) {
                    here.insert(id, scope);
                }
            }
        }
    }

    async fn sessions(&mut self, clients: BTreeMap<ClientId, ScopeSet>) -> Result<(), ImportError> {
        let Import {
            server,
            pds,
            sealer,
            rng,
            ..
        } = self.import;
        let kids = self.import.upstream_keys.iter();
        let mut converter = Converter {
            upstream_client_id: self.import.upstream_client_id.clone(),
            kids: kids
                .map(|(thumbprint, kid)| (thumbprint.as_str().to_owned(), kid.clone()))
                .collect::<BTreeMap<_, _>>(),
            clients,
            sealer: Arc::clone(sealer),
            hasher: Arc::clone(&server.hasher),
            rng: Arc::clone(rng),
            now: server.clock.now(),
            server_lookup: ServerLookup::new(Arc::clone(pds)),
        };
        let total = self.source.count_sessions().await?;
        let mut done = 0;
        self.source.begin(SESSIONS).await?;
        loop {
            let rows = self.source.next().await?;
            if rows.is_empty() {
                break;
            }
            self.extend_leadership(LEADERSHIP_TIME).await?;
            let rows: Vec<SessionRow> = read(&rows)?;
            done += rows.len() as u64;
            let identified = rows.into_iter().map(|row| converter.identify_session(row));
            let fresh = self.changed(identified.collect()).await?;
            let mut held = Vec::with_capacity(fresh.len());
            for one in fresh {
                let name = session_name(&one.row);
                report_older_tokens(&one.row, &name, &mut self.report);
                let taken = converter.session(one, &mut self.report).await;
                held.extend(self.or_skip(sessions::TABLE, name, taken)?);
            }
            self.hold(held).await?;
            (self.progress)(done, total.max(done));
        }
        self.source.begin(APP_PASSWORDS).await?;
        loop {
            let rows = self.source.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            self.extend_leadership(LEADERSHIP_TIME).await?;
            let rows: Vec<AppPasswordRow> = read(&rows)?;
            let identified = rows.into_iter();
            let identified = identified.map(|row| converter.identify_app_password(row));
            let fresh = self.changed(identified.collect()).await?;
            let mut held = Vec::with_capacity(fresh.len());
            for one in fresh {
                let name = app_password_name(&one.row);
                let taken = converter.app_password(one).await;
                held.extend(self.or_skip(app_passwords::TABLE, name, taken)?);
            }
            self.hold(held).await?;
        }
    }

    /// Those that are not held as they are, and not released.
    async fn changed<T>(
        &mut self,
        all: Vec<IdentifiedRow<T>>,
    ) -> Result<Vec<IdentifiedRow<T>>, ImportError> {
        if !self.writes() {
            return Ok(all);
        }
        let names: Vec<_> = all.iter().map(|it| (it.id, it.content)).collect();
        let known = self
            .import
            .server
            .storage
            .known_sessions(&names, self.began);
        let mut changed = Vec::new();
        for (one, known) in all.into_iter().zip(known.await?) {
            match known {
                ImportState::Unchanged => self.report.unchanged += 1,
                ImportState::Released => self.report.released_before += 1,
                ImportState::Changed => changed.push(one),
            }
        }
        Ok(changed)
    }

    fn or_skip(
        &mut self,
        table: &'static str,
        name: String,
        taken: Result<HeldSession, RowError>,
    ) -> Result<Option<HeldSession>, ImportError> {
        match taken {
            Ok(held) => Ok(Some(held)),
            Err(RowError::Row(reason, detail)) => {
                self.report.skip_row(table, name, reason, detail);
                Ok(None)
            }
            Err(RowError::Seal(error)) => Err(error.into()),
        }
    }

    async fn hold(&mut self, sessions: Vec<HeldSession>) -> Result<(), ImportError> {
        let outcomes = if self.writes() {
            // The PDSs that were asked may have taken longer than that.
            self.extend_leadership(LEADERSHIP_TIME).await?;
            let storage = &self.import.server.storage;
            storage.hold_sessions(&sessions, self.began).await?
        } else {
            vec![HoldOutcome::Held; sessions.len()]
        };
        for (held, outcome) in sessions.into_iter().zip(outcomes) {
            match outcome {
                HoldOutcome::Held => self.count(held),
                HoldOutcome::Released => self.report.released_before += 1,
                HoldOutcome::NoClient => {
                    let client = &held.session.client_id;
                    let detail = format!("the client `{client}` was deleted meanwhile");
                    let name = format!("session of {}", held.session.did);
                    let table = sessions::TABLE;
                    self.report
                        .skip_row(table, name, Reason::UnknownClient, detail);
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, held: HeldSession) {
        let report = &mut self.report;
        let Some(grant) = held.grant else {
            report.app_passwords_taken += 1;
            return;
        };
        report.sessions_taken += 1;
        for token in grant.tokens {
            match token.kind {
                HeldTokenKind::Access { .. } => report.access_tokens_taken += 1,
                HeldTokenKind::Refresh => report.refresh_tokens_taken += 1,
            }
        }
    }

    /// Tells of the tokens that belong to no session.
    async fn report_orphan_tokens(&mut self) -> Result<(), ImportError> {
        self.source.begin(ORPHAN_TOKENS).await?;
        loop {
            let rows = self.source.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in &rows {
                let token = OrphanToken::try_from(row).map_err(SourceError::from)?;
                let given = instant(Timestamp::from_micros(token.created_at));
                let name = format!("token of {}, given at {given}", token.client_id);
                let table = if token.table == "access_tokens" {
                    "access_tokens"
                } else {
                    "refresh_tokens"
                };
                let (reason, detail) = match (token.user_id, token.session_id) {
                    (None, _) => (
                        Reason::ClientCredentials,
                        "a token of the client itself, which asks for a new one".to_owned(),
                    ),
                    (Some(did), None) => (
                        Reason::NoSession,
                        format!("it is for {did} and names no session"),
                    ),
                    (Some(did), Some(session)) => (
                        Reason::NoSession,
                        format!("it is for {did}, and its session {session} is not there"),
                    ),
                };
                self.report.skip_row(table, name, reason, detail);
            }
        }
    }

    async fn drop_unseen(&mut self) -> Result<(), ImportError> {
        if self.writes() {
            let storage = &self.import.server.storage;
            self.report.dropped = storage.drop_unseen_sessions(self.began).await?;
        }
        Ok(())
    }

    async fn release(&mut self) -> Result<(), ImportError> {
        let storage = &self.import.server.storage;
        if matches!(self.mode, Mode::Finish { .. }) {
            storage.begin_release(self.began).await?;
            loop {
                self.extend_leadership(LEADERSHIP_TIME).await?;
                let released = storage.release_sessions(RELEASE_BATCH).await?;
                self.report.released += released;
                if released == 0 && storage.count_held_sessions().await? == 0 {
                    break;
                }
            }
        }
        self.report.held = storage.count_held_sessions().await?;
        Ok(())
    }
}

fn read<'a, T: TryFrom<&'a R, Error = sqlx::Error>, R>(
    rows: &'a [R],
) -> Result<Vec<T>, SourceError> {
    let read: Result<Vec<T>, sqlx::Error> = rows.iter().map(T::try_from).collect();
    Ok(read?)
}
