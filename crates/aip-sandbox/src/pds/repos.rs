//! The repositories of a PDS: records in memory, with content identifiers but without a Merkle
//! tree (<https://atproto.com/specs/repository>).

use std::collections::{BTreeMap, HashMap};

use aip_base::Timestamp;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use serde_json::{Value, json};

/// The codecs of CIDs: DAG-CBOR for records, raw bytes for files.
const DAG_CBOR: u8 = 0x71;
const RAW: u8 = 0x55;

/// The records and files of all accounts.
#[derive(Default)]
pub(crate) struct Repos {
    records: BTreeMap<RecordKey, Value>,
    blobs: HashMap<(String, String), Blob>,
    last_tid: u64,
}

/// Account, collection, record key: in this order records are listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordKey {
    pub(crate) did: String,
    pub(crate) collection: String,
    pub(crate) rkey: String,
}

/// An uploaded file.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) content: Bytes,
}

impl RecordKey {
    pub(crate) fn uri(&self) -> String {
        format!("at://{}/{}/{}", self.did, self.collection, self.rkey)
    }
}

impl Repos {
    pub(crate) fn get(&self, key: &RecordKey) -> Option<&Value> {
        self.records.get(key)
    }

    /// The records of one collection, oldest first.
    pub(crate) fn collection<'a>(
        &'a self,
        did: &'a str,
        collection: &'a str,
    ) -> impl DoubleEndedIterator<Item = (&'a RecordKey, &'a Value)> {
        self.records
            .iter()
            .filter(move |(key, _)| key.did == did && key.collection == collection)
    }

    /// The collections in which an account has records.
    pub(crate) fn collections(&self, did: &str) -> Vec<String> {
        let keys = self.records.keys().filter(|key| key.did == did);
        let mut names: Vec<String> = keys.map(|key| key.collection.clone()).collect();
        names.dedup();
        names
    }

    pub(crate) fn put(&mut self, key: RecordKey, record: Value) {
        self.records.insert(key, record);
    }

    pub(crate) fn remove(&mut self, key: &RecordKey) {
        self.records.remove(key);
    }

    pub(crate) fn blob(&self, did: String, cid: String) -> Option<Blob> {
        self.blobs.get(&(did, cid)).cloned()
    }

    /// Stores a file and names it.
    pub(crate) fn add_blob(&mut self, did: String, blob: Blob) -> String {
        let cid = cid(RAW, &blob.content);
        self.blobs.insert((did, cid.clone()), blob);
        cid
    }

    /// A record key or revision of the present: 13 characters that sort by time
    /// (<https://atproto.com/specs/tid>).
    pub(crate) fn next_tid(&mut self, now: Timestamp) -> String {
        const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
        let micros = u64::try_from(now.as_micros()).unwrap_or_default();
        self.last_tid = (micros << 10).max(self.last_tid + 1);
        let digit = |at: u32| char::from(ALPHABET[(self.last_tid >> (5 * at) & 31) as usize]);
        (0..13).rev().map(digit).collect()
    }

    /// Forgets everything of an account.
    pub(crate) fn forget(&mut self, did: &str) {
        self.records.retain(|key, _| key.did != did);
        self.blobs.retain(|(owner, _), _| owner != did);
    }

    /// Copies everything of an account, as a migration does.
    pub(crate) fn copy_to(&self, other: &mut Self, did: &str) {
        let records = self.records.iter().filter(|(key, _)| key.did == did);
        let records = records.map(|(key, record)| (key.clone(), record.clone()));
        other.records.extend(records);
        let blobs = self.blobs.iter().filter(|((owner, _), _)| owner == did);
        other
            .blobs
            .extend(blobs.map(|(key, blob)| (key.clone(), blob.clone())));
    }
}

/// A record as `getRecord` and `listRecords` show it.
pub(crate) fn record_view(key: &RecordKey, record: &Value) -> Value {
    json!({ "uri": key.uri(), "cid": record_cid(record), "value": record })
}

/// A CID of the right shape. The hash is of the JSON, not of DAG-CBOR: nobody recomputes it.
pub(crate) fn record_cid(record: &Value) -> String {
    cid(DAG_CBOR, record.to_string().as_bytes())
}

/// CID version 1 with SHA-256, in base32 (<https://github.com/multiformats/cid>).
fn cid(codec: u8, content: &[u8]) -> String {
    let mut bytes = vec![1, codec, 0x12, 0x20];
    bytes.extend_from_slice(digest(&SHA256, content).as_ref());
    format!("b{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}
