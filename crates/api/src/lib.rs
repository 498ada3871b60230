//! The protocols, one module each: translators that decode to our types, call one service method and encode the answer.
//! A rule that lives only here is a bug.
//!
//! ```text
//! native     /api/…      the original system's routes and ours
//! system     /health, /livez, /readyz, /version, /openapi.json
//! metrics    /metrics: what is counted, in the text format of Prometheus
//! access     the door before every route: Host, Origin, credentials, permission
//! problem    one error envelope, computed from the error's code
//! trace      one span per request for traces, with the names of OpenTelemetry
//! admission  how much work that lasts is let in at once
//! blocking   from the asynchronous world to the service's blocking calls
//! ```

#![forbid(unsafe_code)]

mod access;
mod admission;
mod blocking;
mod credentials;
mod entity_tag;
mod event_stream;
mod leftover;
mod limits;
mod metrics;
mod named_values;
mod native;
mod origin;
mod parameters;
mod problem;
mod request_body;
mod request_stream;
mod route_table;
mod router;
mod system;
mod trace;
mod type_mistake;
mod upload;

pub use access::Doors;
pub use limits::Limits;
pub use metrics::{MetricsAliases, MetricsSettings};
pub use origin::{AllowedHost, AllowedOrigin};
pub use router::{openapi_document, router};
