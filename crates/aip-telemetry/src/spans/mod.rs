//! Spans of `tracing` as spans of OpenTelemetry. Only what the crates of this program declare is
//! recorded, never what a library puts into a span of its own.
//!
//! `tracing-opentelemetry` 0.34.0 was tried on 2026-11-29 and is not used: it breaks promises that
//! tests hold.
//! * A trace has the id that its request has in the log (`servers_of_one_trace_choose_alike`).
//!   There, a span that begins a trace cannot be given one: the field `trace_id` 4bf92f35… became an
//!   attribute, and the trace 52ed91c6….
//! * Times come from the clock that is handed in (`every_collector_gets_its_part_and_no_secret`).
//!   There, they are those of `SystemTime`.
//! * A status is a number (`a_status_is_a_number_of_any_type_and_a_failure_from_500_on`). There,
//!   502 of type u16 became the text "502".

mod fields;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aip_base::{Clock, Rng, Timestamp};
use opentelemetry::trace::{
    SpanBuilder, SpanId, Status, TraceContextExt as _, TraceId, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context as OtelContext, InstrumentationScope};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    IdGenerator, Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanLimits, SpanProcessor,
};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use self::fields::{Fields, FirstTraceId, kind, name};
use crate::export::Queue;

/// Collects spans.
pub(crate) struct SpanLayer {
    tracer: SdkTracer,
    clock: Arc<dyn Clock>,
}

/// Hands spans that have ended to the exporter.
struct QueueProcessor(Queue<SpanData>);

/// Makes the ids of spans and, unless the context names one ([`FirstTraceId`]), of traces.
struct RngIds(Arc<dyn Rng>);

impl SpanLayer {
    /// Records the share `ratio` (0 to 1) of all traces, chosen by the id of the trace alone: every
    /// server of a trace decides alike.
    pub(crate) fn new(
        queue: Queue<SpanData>,
        ratio: f64,
        version: &'static str,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let provider = SdkTracerProvider::builder()
            .with_span_processor(QueueProcessor(queue))
            .with_sampler(Sampler::TraceIdRatioBased(ratio))
            .with_id_generator(RngIds(rng))
            .with_span_limits(SpanLimits::default())
            .build();
        let scope = InstrumentationScope::builder("aip").with_version(version);
        Self {
            tracer: provider.tracer_with_scope(scope.build()),
            clock,
        }
    }

    fn now(&self) -> SystemTime {
        system_time(self.clock.now())
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
        // Libraries' spans have no context.
        let mut outer = span.scope().skip(1);
        let outer = outer.find_map(|outer| outer.extensions().get::<OtelContext>().cloned());
        let parent = outer.unwrap_or_else(|| fields.context_of_caller());
        let builder = SpanBuilder::from_name(name(span.name(), &fields.attributes))
            .with_kind(kind(span.name()))
            .with_start_time(self.now())
            .with_attributes(fields.attributes);
        let started = {
            let _current = parent.clone().attach();
            self.tracer.build(builder)
        };
        let started = parent.with_span(started);
        if fields.has_failed {
            started.span().set_status(Status::error(""));
        }
        span.extensions_mut().insert(started);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let extensions = span.extensions();
        let Some(started) = extensions.get::<OtelContext>() else {
            return;
        };
        let mut fields = Fields::default();
        values.record(&mut fields);
        started.span().set_attributes(fields.attributes);
        if fields.has_failed {
            started.span().set_status(Status::error(""));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let started = span.extensions_mut().remove::<OtelContext>();
        if let Some(started) = started {
            started.span().end_with_timestamp(self.now());
        }
    }
}

impl SpanProcessor for QueueProcessor {
    fn on_start(&self, _: &mut Span, _: &OtelContext) {}

    fn on_end(&self, span: SpanData) {
        self.0.put(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl fmt::Debug for QueueProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueProcessor").finish_non_exhaustive()
    }
}

impl RngIds {
    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

impl IdGenerator for RngIds {
    fn new_trace_id(&self) -> TraceId {
        OtelContext::map_current(|context| context.get().map(|FirstTraceId(id)| *id))
            .unwrap_or_else(|| TraceId::from_bytes(self.random()))
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_bytes(self.random())
    }
}

impl fmt::Debug for RngIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RngIds").finish_non_exhaustive()
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("aip")
}

fn system_time(at: Timestamp) -> SystemTime {
    let micros = u64::try_from(at.as_micros()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aip_testkit::clock::ManualClock;
    use aip_testkit::rng::SeededRng;
    use opentelemetry::Value;
    use tokio::sync::watch;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::export::queue;

    /// The spans that `work` leaves when the share `ratio` of traces is recorded.
    async fn recorded(ratio: f64, work: impl FnOnce()) -> Vec<SpanData> {
        let (stop, stopped) = watch::channel(false);
        let (queue, mut batches) = queue("test", 1000, 1000, Duration::ZERO, stopped);
        let clock = Arc::new(ManualClock::new());
        let rng = Arc::new(SeededRng::new(1));
        let layer = SpanLayer::new(queue, ratio, "1.2.3", clock, rng);
        tracing::subscriber::with_default(Registry::default().with(layer), work);
        stop.send(true).unwrap();
        batches.next().await.unwrap_or_default()
    }

    fn trace(span: &SpanData) -> TraceId {
        span.span_context.trace_id()
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
            assert_eq!((&*first.name, &*second.name), ("first", "second"));
            assert_eq!(first.parent_span_id, SpanId::INVALID);
            assert_eq!(second.parent_span_id, first.span_context.span_id());
            assert_eq!(trace(second), trace(first));
        }
    }

    #[tokio::test]
    async fn servers_of_one_trace_choose_alike() {
        let work = || {
            for id in 1..64_u128 {
                let trace_id = format!("{:032x}", id << 58);
                drop(tracing::info_span!(target: "aip_room", "it", trace_id));
            }
        };
        let chosen = recorded(0.25, work).await;
        assert_eq!(chosen, recorded(0.25, work).await);
        let ids: Vec<TraceId> = chosen.iter().map(trace).collect();
        let below_a_quarter: Vec<TraceId> = (1..16).map(|id| TraceId::from(id << 58)).collect();
        assert_eq!(ids, below_a_quarter);
    }

    #[tokio::test]
    async fn ids_that_are_none_begin_a_new_trace() {
        let spans = recorded(1.0, || {
            drop(
                tracing::info_span!(target: "aip_room", "it", trace_id = "no", parent_span_id = 7),
            );
        })
        .await;
        assert_ne!(trace(&spans[0]), TraceId::INVALID);
        assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
    }

    #[tokio::test]
    async fn a_status_is_a_number_of_any_type_and_a_failure_from_500_on() {
        let spans = recorded(1.0, || {
            drop(tracing::info_span!(target: "aip_room", "upstream", method = "GET", status = 502_u16));
            drop(tracing::info_span!(target: "aip_room", "upstream", method = "GET", status = 404_i32));
        })
        .await;
        let read = |span: &SpanData| {
            let found = span
                .attributes
                .iter()
                .find(|it| it.key.as_str() == "http.response.status_code");
            (found.unwrap().value.clone(), span.status.clone())
        };
        assert_eq!(read(&spans[0]), (Value::I64(502), Status::error("")));
        assert_eq!(read(&spans[1]), (Value::I64(404), Status::Unset));
    }
}
