//! Traces (OpenTelemetry, OTLP over HTTP in protobuf): one span for each request and one for each attempt to deliver. They tell
//! routes, statuses, identifiers of copies and organisations; nothing of what was asked or sent. W3C `traceparent` is taken from callers
//! and passed on to whom is pushed to; `tracestate` is not, since callers write in it what they like.
//!
//! It waits for nothing: a span that finds the queue full is dropped and counted.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use onward_connect::http::{self as client, HeaderName, HeaderValue, HttpClient};
use onward_core::TRACES;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};
use prost::Message as _;
use tokio::sync::{Mutex, mpsc, watch};
use tracing::Subscriber;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::config::{Sampling, Traces};

/// Spans that wait to be exported.
const QUEUE: usize = 2_048;
/// Spans of one export.
const BATCH: usize = 512;
/// How often is exported.
const EVERY: Duration = Duration::from_secs(1);
/// What is left when the gateway stops is exported within this, or dropped: open requests get 30 s meanwhile (`listener::DRAIN`).
const LAST: Duration = Duration::from_secs(10);
/// Attempts of one export, for answers that ask for another (OTLP/HTTP, Failures).
const ATTEMPTS: u32 = 3;

/// Takes what has ended, as long as there is room.
#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<SpanData>,
    dropped: Arc<AtomicU64>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.sender.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Spans that have ended and are not exported yet.
pub struct Ended {
    /// One exporter at a time.
    receiver: Mutex<mpsc::Receiver<SpanData>>,
    dropped: Arc<AtomicU64>,
    resource: Resource,
    _provider: SdkTracerProvider,
}

/// The layer of the process's log that makes spans, and where they come out.
pub(crate) fn start<S>(traces: &Traces) -> (Box<dyn Layer<S> + Send + Sync>, Ended)
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let (sender, receiver) = mpsc::channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let attributes = traces.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let resource = Resource::builder_empty()
        .with_attributes([KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))])
        .with_attributes(attributes)
        .with_service_name(traces.service_name.clone())
        .build();
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler(traces))
        .with_resource(resource.clone())
        .with_span_processor(Queue { sender, dropped: Arc::clone(&dropped) })
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("onward"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_level(false)
        // Nothing but the spans that are made to be told: neither log lines nor what libraries note.
        .with_filter(filter_fn(|of| of.target() == TRACES));
    (layer.boxed(), Ended { receiver: Mutex::new(receiver), dropped, resource, _provider: provider })
}

fn sampler(traces: &Traces) -> Sampler {
    let own = match traces.sampling {
        Sampling::All => Sampler::AlwaysOn,
        Sampling::Nothing => Sampler::AlwaysOff,
        Sampling::Share(share) => Sampler::TraceIdRatioBased(share),
    };
    if traces.by_parent { Sampler::ParentBased(Box::new(own)) } else { own }
}

impl Ended {
    /// Exports until `stop` turns true, and then what is left, as far as the collector takes it in time. What an exporter that fell had
    /// taken out is lost; what came since waits for the next.
    pub(crate) async fn export_until(self: Arc<Self>, http: HttpClient, traces: Traces, stop: watch::Receiver<bool>) {
        let mut stopping = stop.clone();
        let too_late = async {
            let _ = stopping.wait_for(|stop| *stop).await;
            tokio::time::sleep(LAST).await;
        };
        tokio::select! {
            () = self.export_all(http, traces, stop) => {}
            () = too_late => tracing::warn!("the last traces are not taken in time, and dropped"),
        }
    }

    async fn export_all(&self, http: HttpClient, traces: Traces, mut stop: watch::Receiver<bool>) {
        let mut receiver = self.receiver.lock().await;
        let resource = ResourceAttributesWithSchema::from(&self.resource);
        let mut failing = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            loop {
                let mut spans = Vec::new();
                while spans.len() < BATCH
                    && let Ok(span) = receiver.try_recv()
                {
                    spans.push(span);
                }
                if spans.is_empty() {
                    break;
                }
                let count = spans.len();
                let resource_spans = group_spans_by_resource_and_scope(spans, &resource);
                let exported = export(&http, &traces, &ExportTraceServiceRequest { resource_spans }).await;
                if let Err(reason) = &exported {
                    self.dropped.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
                    if !failing {
                        tracing::warn!(reason, "traces are not taken, and dropped");
                    }
                }
                failing = exported.is_err();
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::debug!(dropped, "spans were dropped");
            }
            if *stop.borrow() {
                return;
            }
        }
    }
}

/// `OTEL_EXPORTER_OTLP_TIMEOUT` is that of a whole export.
async fn export(http: &HttpClient, traces: &Traces, request: &ExportTraceServiceRequest) -> Result<(), String> {
    let exported = tokio::time::timeout(traces.timeout, exported(http, traces, request)).await;
    exported.unwrap_or_else(|_| Err("the collector does not answer in time".to_owned()))
}

async fn exported(http: &HttpClient, traces: &Traces, request: &ExportTraceServiceRequest) -> Result<(), String> {
    let mut headers = client::HeaderMap::new();
    for (name, value) in &traces.headers {
        if let (Ok(name), Ok(mut value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers.insert("content-type", HeaderValue::from_static("application/x-protobuf"));
    let mut body = request.encode_to_vec();
    if traces.gzip {
        headers.insert("content-encoding", HeaderValue::from_static("gzip"));
        body = packed(&body);
    }
    let body = bytes::Bytes::from(body);
    let (mut attempt, mut wait) = (1, Duration::from_secs(1));
    loop {
        let sent = http.send(Method::POST, traces.endpoint.clone(), headers.clone(), body.clone());
        let reason = match sent.await {
            Ok(answer) => match answer.status() {
                status if status.is_success() => return Ok(()),
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => format!("the collector answered {}", answer.status().as_u16()),
                status => return Err(format!("the collector answered {}", status.as_u16())),
            },
            Err(fault) => fault.to_string(),
        };
        if attempt == ATTEMPTS {
            return Err(reason);
        }
        tokio::time::sleep(wait).await;
        attempt += 1;
        wait *= 2;
    }
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut packing = GzEncoder::new(Vec::new(), Compression::fast());
    packing.write_all(body).and_then(|()| packing.finish()).expect("memory takes what is written")
}

/// The method as it may be told: any word may stand there, so only those of HTTP are.
pub(crate) fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}

/// The span of a request, part of its caller's trace where it names one.
pub(crate) fn request(method: &Method, route: &str, headers: &HeaderMap) -> tracing::Span {
    let method = self::method(method);
    let span = tracing::info_span!(
        target: TRACES, "request", otel.name = %format_args!("{method} {route}"), otel.kind = "server",
        http.request.method = method, http.route = route, http.response.status_code = Empty, otel.status_code = Empty,
    );
    if let Some(parent) = headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(parent) {
        // Not set where nothing is traced.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    span
}

/// How the request ended.
pub(crate) fn answered(span: &tracing::Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// `traceparent` (W3C Trace Context, section 3.2).
fn parent(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let right = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    if !right || version == "00" && parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default())).filter(SpanContext::is_valid)
}

/// `traceparent` of what is being done now; nothing where it is not traced.
pub(crate) fn traceparent() -> Option<String> {
    let context = tracing::Span::current().context();
    let own = context.span().span_context().clone();
    let sampled = u8::from(own.is_sampled());
    own.is_valid().then(|| format!("00-{}-{}-{sampled:02x}", own.trace_id(), own.span_id()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use onward_connect::egress::EgressHost;
    use onward_connect::http::HttpConfig;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[tokio::test]
    async fn an_exporter_that_broke_off_leaves_what_comes_to_the_next() {
        let (came, mut exports) = mpsc::unbounded_channel::<Bytes>();
        let collector = axum::Router::new().fallback(move |body: Bytes| {
            came.send(body).expect("the test listens");
            async { StatusCode::OK }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, collector).await });
        let http = HttpClient::new(&HttpConfig {
            egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
            allow_plain_loopback: true,
            system_roots: false,
            ..HttpConfig::default()
        })
        .expect("a client");
        let traces = Traces {
            endpoint: format!("http://{address}/v1/traces").parse().expect("a URL"),
            headers: Vec::new(),
            gzip: false,
            timeout: Duration::from_secs(60),
            service_name: "onward".to_owned(),
            resource: Vec::new(),
            sampling: Sampling::All,
            by_parent: true,
        };
        let (layer, ended) = start::<Registry>(&traces);
        let _told = tracing::subscriber::set_default(Registry::default().with(layer));
        let (stop, stopped) = watch::channel(false);
        let ended = Arc::new(ended);
        let begin = || tokio::spawn(Arc::clone(&ended).export_until(http.clone(), traces.clone(), stopped.clone()));
        let mut exported = async |route: &str| {
            drop(request(&Method::GET, route, &HeaderMap::new()));
            let export = exports.recv().await.expect("the collector listens");
            assert!(String::from_utf8_lossy(&export).contains(&format!("GET {route}")), "{export:?}");
        };
        let first = begin();
        exported("/first").await;
        first.abort();
        assert!(first.await.is_err_and(|ended| ended.is_cancelled()));
        let second = begin();
        exported("/second").await;
        stop.send(true).expect("it listens");
        second.await.expect("it ends");
    }

    #[test]
    fn a_parent_is_what_the_standard_calls_one() {
        let right = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent_of = parent(right).expect("a parent");
        assert!(parent_of.is_sampled() && parent_of.is_remote());
        assert_eq!(parent_of.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(parent(&right.replace("00-0a", "cc-0a")).is_some(), "a later version begins the same");
        assert!(parent(&format!("{}-more", right.replace("00-0a", "cc-0a"))).is_some());
        assert!(!parent(&right.replace("-01", "-02")).expect("a parent").is_sampled());
        for wrong in [
            "",
            "9990000018",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
        ] {
            assert!(parent(wrong).is_none(), "{wrong}");
        }
    }
}
