//! Spans on their way from the crates to the exporter of traces. Only what the crates of this
//! program declare is recorded, never what a library puts into a span of its own.

use std::fmt;
use std::sync::Arc;

use aip_base::{Clock, Rng, Timestamp};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::export::Queue;

/// The field of a first span that names its trace; that of a child is its parent's.
const TRACE_ID: &str = "trace_id";
/// The field of a first span that names the caller's span.
const PARENT: &str = "parent_span_id";

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace: [u8; 16],
    pub(crate) id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) name: &'static str,
    pub(crate) began: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) fields: Vec<(&'static str, Value)>,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

/// Collects spans.
pub(crate) struct SpanLayer {
    queue: Queue<Span>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    /// Traces whose id, as a share of all ids, is below this are recorded.
    threshold: u64,
}

/// What the fields of a span hold.
#[derive(Default)]
struct Fields {
    trace: Option<[u8; 16]>,
    parent: Option<[u8; 8]>,
    others: Vec<(&'static str, Value)>,
}

impl SpanLayer {
    /// Records the share `ratio` (0 to 1) of all traces.
    pub(crate) fn new(
        queue: Queue<Span>,
        ratio: f64,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a share needs no more precision, and the cast saturates"
        )]
        let threshold = (ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
        Self {
            queue,
            clock,
            rng,
            threshold,
        }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill(&mut bytes);
        bytes
    }

    /// By the id of the trace alone: every server of a trace decides alike.
    fn is_recorded(&self, trace: [u8; 16]) -> bool {
        let (_, low) = trace.split_at(8);
        let low = low.try_into().map_or(0, u64::from_be_bytes);
        low <= self.threshold && self.threshold > 0
    }

    /// The trace and the parent of a new span; `None` when its trace is not recorded.
    fn place<'a, R: LookupSpan<'a>>(
        &self,
        span: &SpanRef<'a, R>,
        fields: &Fields,
    ) -> Option<([u8; 16], Option<[u8; 8]>)> {
        let outer = span.scope().skip(1).find(|outer| is_ours(outer.metadata()));
        if let Some(outer) = outer {
            let extensions = outer.extensions();
            let outer: &Span = extensions.get()?;
            return Some((outer.trace, Some(outer.id)));
        }
        let trace = fields.trace.unwrap_or_else(|| self.random());
        self.is_recorded(trace).then_some((trace, fields.parent))
    }
}

impl<S> Layer<S> for SpanLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if !is_ours(span.metadata()) {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let Some((trace, parent)) = self.place(&span, &fields) else {
            return;
        };
        let began = self.clock.now();
        span.extensions_mut().insert(Span {
            trace,
            id: self.random(),
            parent,
            name: span.name(),
            began,
            ended: began,
            fields: fields.others,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(span) = span.extensions_mut().get_mut::<Span>() {
            let mut fields = Fields::default();
            values.record(&mut fields);
            span.fields.extend(fields.others);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let closed = span.extensions_mut().remove::<Span>();
        if let Some(mut span) = closed {
            span.ended = self.clock.now();
            self.queue.put(span);
        }
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("aip")
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), &value) {
            (TRACE_ID, Value::Text(hex)) => {
                self.trace = u128::from_str_radix(hex, 16).ok().map(u128::to_be_bytes);
            }
            (PARENT, Value::Text(hex)) => {
                self.parent = u64::from_str_radix(hex, 16).ok().map(u64::to_be_bytes);
            }
            (name, _) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bool(value));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aip_testkit::clock::ManualClock;
    use aip_testkit::rng::SeededRng;
    use tokio::sync::watch;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::export::queue;

    /// The spans that `work` leaves when the share `ratio` of traces is recorded.
    async fn recorded(ratio: f64, work: impl FnOnce()) -> Vec<Span> {
        let (stop, stopped) = watch::channel(false);
        let (queue, mut batches) = queue("test", 1000, 1000, Duration::ZERO, stopped);
        let clock = Arc::new(ManualClock::new());
        let rng = Arc::new(SeededRng::new(1));
        let layer = SpanLayer::new(queue, ratio, clock, rng);
        tracing::subscriber::with_default(Registry::default().with(layer), work);
        stop.send(true).unwrap();
        batches.next().await.unwrap_or_default()
    }

    /// A hundred traces of two spans each.
    fn hundred() {
        for _ in 0..100 {
            let first = tracing::info_span!(target: "aip_room", "first").entered();
            let library = tracing::info_span!(target: "hyper", "library").entered();
            drop(tracing::info_span!(target: "aip_room", "second"));
            drop((library, first));
        }
    }

    #[tokio::test]
    async fn a_trace_is_recorded_as_a_whole_or_not_at_all() {
        assert_eq!(recorded(1.0, hundred).await.len(), 200);
        assert_eq!(recorded(0.0, hundred).await.len(), 0);
        let some = recorded(0.5, hundred).await;
        assert!((60..140).contains(&some.len()), "{}", some.len());
        for pair in some.chunks(2) {
            let [second, first] = pair else {
                panic!("half a trace");
            };
            assert_eq!((first.name, second.name), ("first", "second"));
            assert_eq!(first.parent, None);
            assert_eq!(second.parent, Some(first.id));
            assert_eq!(second.trace, first.trace);
        }
    }

    #[tokio::test]
    async fn servers_of_one_trace_choose_alike() {
        let trace = || {
            for id in 1..64_u128 {
                let trace_id = format!("{:032x}", id << 58);
                drop(tracing::info_span!(target: "aip_room", "it", trace_id));
            }
        };
        let chosen = recorded(0.25, trace).await;
        assert_eq!(chosen, recorded(0.25, trace).await);
        assert_eq!(chosen.len(), 16);
    }

    #[tokio::test]
    async fn ids_that_are_none_begin_a_new_trace() {
        let spans = recorded(1.0, || {
            drop(
                tracing::info_span!(target: "aip_room", "it", trace_id = "no", parent_span_id = 7),
            );
        })
        .await;
        assert_ne!(spans[0].trace, [0; 16]);
        assert_eq!(spans[0].parent, None);
    }
}
