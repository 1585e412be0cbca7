//! Answers that took effect and that nobody got, because a test ordered it: whoever counts what an
//! application lost can tell what it could not help losing.

use std::collections::VecDeque;
use std::sync::Mutex;

use aip_base::lock;

use super::faults::Endpoint;
use super::reply::Reply;

/// How many are remembered.
const KEPT: usize = 10_000;

/// The newest lost answers of a stand-in.
#[derive(Default)]
pub(crate) struct Lost(Mutex<VecDeque<(Endpoint, Reply)>>);

impl Lost {
    pub(crate) fn record(&self, endpoint: Endpoint, reply: &Reply) {
        let mut answers = lock(&self.0);
        if answers.len() >= KEPT {
            answers.pop_front();
        }
        answers.push_back((endpoint, reply.clone()));
    }

    pub(crate) fn at(&self, wanted: Endpoint) -> Vec<Reply> {
        lock(&self.0)
            .iter()
            .filter(|(endpoint, _)| wanted.includes(*endpoint))
            .map(|(_, reply)| reply.clone())
            .collect()
    }
}
