//! The door: who calls, from which page, and may they? Every protocol asks here and answers a refusal in its own shape.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use seedhouse_service::core::{Error, Permission, Result};
use seedhouse_service::{Caller, Reach, Service};

use crate::blocking;
use crate::credentials::credentials;
use crate::origin::{AllowedHost, AllowedOrigin, check_host, check_origin};

/// From where the server can be reached, and which names and pages are allowed besides its own.
#[derive(Debug, Clone)]
pub struct Doors {
    /// How far the address reaches that the server listens on.
    pub reach: Reach,
    /// Further names by which clients call the server.
    pub hosts: Vec<AllowedHost>,
    /// Web pages that may send requests.
    pub origins: Vec<AllowedOrigin>,
}

/// What a refusal looks like in a protocol.
pub(crate) type Refusal = fn(Error) -> Response;

/// What the check of every route needs.
#[derive(Clone)]
pub(crate) struct Guard {
    service: Arc<Service>,
    doors: Arc<Doors>,
}

impl Guard {
    /// Returns the guard of a server.
    pub(crate) fn new(service: Arc<Service>, doors: Doors) -> Guard {
        Guard { service, doors: Arc::new(doors) }
    }

    /// Returns who calls, if they may.
    ///
    /// # Errors
    /// [`Error::ForeignRequest`], [`Error::Unauthenticated`], [`Error::PermissionDenied`]; those of the token store.
    async fn admit(&self, authority: Option<&str>, headers: &HeaderMap, permission: Permission) -> Result<Caller> {
        let host = check_host(authority, headers, &self.doors)?;
        check_origin(host.as_deref(), headers, &self.doors)?;
        let caller = self.authenticate(headers).await?;
        caller.check(permission)?;
        Ok(caller)
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller> {
        let credentials = credentials(headers);
        let reach = self.doors.reach;
        if let Some(decided) = self.service.access().authenticate_now(&credentials, reach) {
            return decided;
        }
        let service = self.service.clone();
        blocking::run(move || service.access().authenticate(&credentials, reach)).await
    }
}

/// Middleware of one route: handlers behind it find the [`Caller`] among the extensions of the request.
pub(crate) async fn check(permission: Permission, refusal: Refusal, mut request: Request, next: Next) -> Response {
    if permission == Permission::Open {
        return next.run(request).await;
    }
    // A router without a guard would be a fault of ours; it lets nobody in.
    let Some(guard) = request.extensions().get::<Guard>().cloned() else {
        return refusal(Error::Internal("the router has no guard".into()));
    };
    let authority = request.uri().authority().map(|authority| authority.as_str());
    match guard.admit(authority, request.headers(), permission).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => refusal(error),
    }
}
