//! Shorthands for registrations.

use seedhouse_core::{
    Action, Applied, Change, Framework, Manifest, MetadataStore, ModelType, Registration, Result, Status, Timestamp,
};
use serde_json::Map;

pub(crate) fn registration(base: &str) -> Registration {
    Registration {
        base: base.parse().unwrap(),
        version: None,
        model_id: None,
        name: None,
        model_type: ModelType::Vision,
        framework: Framework::Pytorch,
        status: Status::Ready,
        manifest: None,
        fields: Map::new(),
        idempotency_key: None,
    }
}

pub(crate) fn with_files(base: &str, manifest: Manifest) -> Registration {
    Registration { manifest: Some(manifest), ..registration(base) }
}

pub(crate) fn change(registration: Registration) -> Change {
    Change {
        at: Timestamp::now(),
        actor: "test".into(),
        reason: None,
        action: Action::Register(Box::new(registration)),
    }
}

pub(crate) fn register(store: &dyn MetadataStore, base: &str) -> Result<Applied> {
    store.apply(change(registration(base)))
}
