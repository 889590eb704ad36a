//! The routes, each with its methods. All of them are counted.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodRouter;

use super::ApiState;
use super::traffic::Traffic;
use crate::request_id::RequestIds;

/// Routes that are being put together.
#[derive(Debug, Default)]
pub(super) struct Routes {
    router: Router<Arc<ApiState>>,
    templates: Vec<&'static str>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn route(
        mut self,
        template: &'static str,
        methods: MethodRouter<Arc<ApiState>>,
    ) -> Self {
        self.router = self.router.route(template, methods);
        self.templates.push(template);
        self
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.templates.extend(other.templates);
        self
    }

    /// The router over them, and what is known of each request that comes to it.
    pub(super) fn finish(self, ids: RequestIds) -> (Router<Arc<ApiState>>, Traffic) {
        (self.router, Traffic::new(&self.templates, ids))
    }
}
