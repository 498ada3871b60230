//! From spans of the `tracing` crate to spans of OpenTelemetry: fields become attributes, a request's `traceparent` its cause.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::otlp::Entrance;
use super::span::{Attribute, SpanKind, TraceContext, TraceSpan, random};

/// Hands every span that ends to the exporter.
pub(super) struct Traces {
    entrance: Entrance,
}

impl Traces {
    pub(super) fn new(entrance: Entrance) -> Traces {
        Traces { entrance }
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Traces {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let parent = span.parent().and_then(|parent| parent.extensions().get::<TraceSpan>().cloned());
        let (trace, inherited) = match &parent {
            Some(parent) => {
                (TraceContext { parent: Some(parent.span_id), ..parent.context }, server_attributes(parent))
            }
            None => {
                let given = fields.traceparent.as_deref().and_then(TraceContext::from_header);
                let Some(trace) = given.or_else(TraceContext::new_trace) else { return };
                (trace, Vec::new())
            }
        };
        let Some(span_id) = random() else { return };
        let mut new = TraceSpan {
            context: trace,
            span_id,
            name: attributes.metadata().name().to_owned(),
            kind: if parent.is_none() { SpanKind::Server } else { SpanKind::Internal },
            start_nanos: now(),
            end_nanos: 0,
            attributes: inherited,
            is_error: false,
        };
        fields.add_to(&mut new);
        span.extensions_mut().insert(new);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(recorded) = span.extensions_mut().get_mut::<TraceSpan>() {
            fields.add_to(recorded);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let ended = span.extensions_mut().remove::<TraceSpan>();
        if let Some(mut ended) = ended.filter(|ended| ended.context.is_sampled) {
            ended.end_nanos = now();
            self.entrance.send(ended);
        }
    }
}

/// What a child says of the server is what its request said.
fn server_attributes(parent: &TraceSpan) -> Vec<(String, Attribute)> {
    let of_server = |(key, _): &&(String, Attribute)| key.starts_with("server.");
    parent.attributes.iter().filter(of_server).cloned().collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

/// Fields that were recorded at once.
#[derive(Default)]
struct Fields {
    attributes: Vec<(String, Attribute)>,
    name: Option<String>,
    traceparent: Option<String>,
    is_error: bool,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Attribute) {
        match (field.name(), value) {
            ("otel.name", Attribute::Text(text)) => self.name = Some(text),
            ("traceparent", Attribute::Text(text)) => self.traceparent = Some(text),
            (name @ "gen_ai.response.finish_reasons", Attribute::Text(text)) => {
                let reasons = text.split(',').map(str::to_owned).collect();
                self.attributes.push((name.to_owned(), Attribute::Texts(reasons)));
            }
            (name, value) => {
                self.is_error |= name == "error.type";
                self.is_error |= name == "http.response.status_code" && matches!(value, Attribute::Whole(500..));
                self.attributes.push((name.to_owned(), value));
            }
        }
    }

    fn add_to(self, span: &mut TraceSpan) {
        for (key, value) in self.attributes {
            span.attributes.retain(|(other, _)| *other != key);
            span.attributes.push((key, value));
        }
        if let Some(name) = self.name {
            span.name = name;
        }
        span.is_error |= self.is_error;
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Attribute::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Attribute::Whole(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, i64::try_from(value).map_or(Attribute::Number(value as f64), Attribute::Whole));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Attribute::Number(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Attribute::Truth(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, Attribute::Text(format!("{value:?}")));
    }
}
