//! What an import took, and what it left out and why.

use std::collections::BTreeMap;

use aip_atproto::ScopeSet;
use aip_storage::client::ClientId;
use strum::IntoStaticStr;

/// How many rows that were left out are listed, how many notes, and how many clients. More are counted.
pub const MAX_LISTED_ROWS: usize = 10_000;
/// How many characters are shown of a text that repeats what v2's database has.
const MAX_SHOWN_CHARS: usize = 1000;

/// What a run did, or in a dry run what it would do.
#[derive(Debug, Default)]
pub struct Report {
    /// Clients that were registered.
    pub clients_new: u64,
    /// Clients that were changed at v2 since an earlier run.
    pub clients_changed: u64,
    /// Clients that stay as they are here.
    pub clients_unchanged: u64,
    /// Sessions of OAuth that were taken, new or as they are now.
    pub sessions_taken: u64,
    /// Sessions of app passwords that were taken.
    pub app_passwords_taken: u64,
    /// Access tokens of apps in the sessions that were taken.
    pub access_tokens_taken: u64,
    /// Refresh tokens of apps in the sessions that were taken.
    pub refresh_tokens_taken: u64,
    /// Sessions that an earlier run has taken, and that are as they were.
    pub unchanged: u64,
    /// Sessions that were released earlier and are AIP's own.
    pub released_before: u64,
    /// Sessions that were held and have ended at v2.
    pub dropped: u64,
    /// Sessions that are held after this run.
    pub held: u64,
    /// Sessions that this run released.
    pub released: u64,
    /// The clients that may need v2's session body and that the operator has not allowed it, each with
    /// the scope that it has here. v2 knows no more of it: it gave that body to every client. The first
    /// [`MAX_LISTED_ROWS`].
    pub clients_without_credentials: Vec<(ClientId, ScopeSet)>,
    /// The first [`MAX_LISTED_ROWS`] rows that were left out.
    pub left_out: Vec<SkippedRow>,
    /// How many rows were left out, for each reason.
    pub left_out_counts: BTreeMap<&'static str, u64>,
    /// Things that are otherwise at AIP than at v2, of rows that were taken. The first
    /// [`MAX_LISTED_ROWS`].
    pub notes: Vec<String>,
    /// How many of those things there are.
    pub notes_total: u64,
}

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedRow {
    /// Its table in v2's database, such as `oauth_clients`.
    pub table: &'static str,
    /// Its key in that table, never a secret.
    pub row: String,
    /// The kind of fault, by which rows are counted.
    pub reason: Reason,
    /// What is wrong with it, in words.
    pub detail: String,
}

/// Why a row is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// It is v2's own client, for its device pages.
    OwnClient,
    /// What the client is registered with cannot be registered here.
    ClientRefused,
    /// It is of a client that is not there, or was left out.
    UnknownClient,
    /// It holds no tokens of a PDS: the sign-in was not finished.
    NoUpstreamTokens,
    /// No app holds a live token of it, so nobody can use it.
    NoAppToken,
    /// The account is not a DID.
    BadDid,
    /// The DPoP key is not the private `did:key` of a P-256 key.
    BadDpopKey,
    /// It is bound to a client key that is not among those that were given.
    UnknownSigningKey,
    /// Its scope cannot be read.
    BadScope,
    /// Tokens of one session are of several clients or accounts.
    MixedTokens,
    /// It was begun as another client than AIP is at PDSs.
    OtherUpstreamClient,
    /// A token that v2 does not give out so.
    BadToken,
    /// Tokens of a session that has newer ones, as many as are taken.
    OlderTokens,
    /// A token of a client itself: it asks for a new one by itself.
    ClientCredentials,
    /// A token whose session is not there.
    NoSession,
    /// An app password that has not the form of one.
    BadAppPassword,
    /// Its authorization server is not known yet, because a server does not answer now.
    NotNow,
}

impl Reason {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Report {
    pub(crate) fn skip_row(
        &mut self,
        table: &'static str,
        row: String,
        reason: Reason,
        detail: impl Into<String>,
    ) {
        *self.left_out_counts.entry(reason.as_str()).or_default() += 1;
        if self.left_out.len() < MAX_LISTED_ROWS {
            self.left_out.push(SkippedRow {
                table,
                row: visible(row),
                reason,
                detail: visible(detail.into()),
            });
        }
    }

    pub(crate) fn note(&mut self, notes: Vec<String>) {
        for note in notes {
            self.notes_total += 1;
            if self.notes.len() < MAX_LISTED_ROWS {
                self.notes.push(visible(note));
            }
        }
    }

    /// How many rows were left out in all.
    pub fn skipped_total(&self) -> u64 {
        self.left_out_counts.values().sum()
    }

    /// How many sessions a later run may take.
    pub fn not_now(&self) -> u64 {
        let counts = &self.left_out_counts;
        counts.get(Reason::NotNow.as_str()).copied().unwrap_or(0)
    }
}

/// Text with words of v2's database as it is printed: on one line, without anything that a terminal
/// would act on, and not too long.
fn visible(text: String) -> String {
    if text.len() <= MAX_SHOWN_CHARS && text.chars().all(|it| matches!(it, ' '..='~')) {
        return text;
    }
    let mut shown = String::new();
    for character in text.chars() {
        match character {
            ' '..='~' => shown.push(character),
            _ => shown.extend(character.escape_default()),
        }
        if shown.len() >= MAX_SHOWN_CHARS {
            shown.push('…');
            break;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_v2_cannot_act_on_a_terminal_and_are_cut() {
        for (word, shown) in [
            ("did:plc:abc", "did:plc:abc"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\r\nb", "a\\r\\nb"),
            ("\u{202e}txt", "\\u{202e}txt"),
        ] {
            let mut report = Report::default();
            report.skip_row("oauth_clients", word.to_owned(), Reason::BadDid, word);
            report.note(vec![word.to_owned()]);
            let left_out = &report.left_out[0];
            assert_eq!((&*left_out.row, &*left_out.detail), (shown, shown));
            assert_eq!(report.notes, [shown]);
        }
        assert!(visible("\u{1f600}".repeat(1_000_000)).chars().count() < 1100);
    }

    #[test]
    fn what_is_listed_is_bounded_and_what_is_counted_is_not() {
        let mut report = Report::default();
        for number in 0..MAX_LISTED_ROWS + 5 {
            let row = format!("session {number}");
            report.skip_row("atp_oauth_sessions", row, Reason::NoAppToken, "why");
            report.note(vec![format!("note {number}"), "another".to_owned()]);
        }
        assert_eq!(report.left_out.len(), MAX_LISTED_ROWS);
        assert_eq!(report.skipped_total(), MAX_LISTED_ROWS as u64 + 5);
        assert_eq!(report.notes.len(), MAX_LISTED_ROWS);
        assert_eq!(report.notes_total, 2 * (MAX_LISTED_ROWS as u64 + 5));
    }
}
