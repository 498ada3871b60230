//! The route table. There is no way into it without a permission, so no route can be without one; the document shows it.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{self, Next};
use seedhouse_service::Service;
use seedhouse_service::core::Permission;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, Paths, SecurityRequirement};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::access::{Refusal, check};

/// Routes of one or more protocols.
pub(crate) struct RouteTable {
    router: OpenApiRouter<Arc<Service>>,
    refusal: Refusal,
}

/// Where the document names the permission of an operation.
const PERMISSION: &str = "x-permission";

/// The names of the security schemes in the document; any one of them suffices.
pub(crate) const SECURITY_SCHEMES: [&str; 4] = ["bearer", "basic", "x_api_key", "api_key"];

impl RouteTable {
    /// Returns an empty table with the head of a document. `refusal` is how the protocol of these routes answers those who
    /// may not.
    pub(crate) fn new(document: OpenApi, refusal: Refusal) -> RouteTable {
        RouteTable { router: OpenApiRouter::with_openapi(document), refusal }
    }

    /// Adds routes that need a permission. A path may come again with other methods.
    pub(crate) fn routes(self, permission: Permission, routes: UtoipaMethodRouter<Arc<Service>>) -> RouteTable {
        let refusal = self.refusal;
        let (schemas, paths, methods) = routes;
        let guarded = methods.route_layer(middleware::from_fn(move |request: Request, next: Next| {
            check(permission, refusal, request, next)
        }));
        let router = self.router.routes((schemas, described(paths, permission), guarded));
        RouteTable { router, refusal }
    }

    /// Returns the routes and their document.
    pub(crate) fn split(self) -> (axum::Router<Arc<Service>>, OpenApi) {
        let (router, mut document) = self.router.split_for_parts();
        // The router marks parameters that may contain `/`; OpenAPI has no word for them.
        let paths = std::mem::take(&mut document.paths.paths).into_iter();
        document.paths.paths = paths.map(|(path, item)| (path.replace("{*", "{"), item)).collect();
        (router, document)
    }
}

fn described(mut paths: Paths, permission: Permission) -> Paths {
    for operation in paths.paths.values_mut().flat_map(operations) {
        operation.extensions.get_or_insert_default().merge(Extensions::from_iter([(PERMISSION, permission.as_str())]));
        if permission != Permission::Open {
            let requirement = |scheme| SecurityRequirement::new::<_, [String; 0], String>(scheme, []);
            operation.security = Some(SECURITY_SCHEMES.map(requirement).into());
        }
    }
    paths
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}
