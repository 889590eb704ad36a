//! Sends clients to the leader: 307, with the path and the query that they came with.

use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// Where a handler's [`Failed`] leaves the leader's address for [`locate`].
#[derive(Debug, Clone)]
struct LeaderAddr(String);

/// A problem on its way to the client. Turned into a redirect by [`locate`] when it names a leader.
#[derive(Debug)]
pub(crate) struct Failed(Problem);

impl<E: Into<Problem>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let leader = self.0.leader().map(|addr| LeaderAddr(addr.to_owned()));
        let mut response = self.0.into_response();
        if let Some(leader) = leader {
            response.extensions_mut().insert(leader);
        }
        response
    }
}

/// Adds `Location` to an answer that names a leader: the same request, there.
pub(super) fn locate(uri: &Uri, mut response: Response) -> Response {
    if let Some(LeaderAddr(addr)) = response.extensions_mut().remove() {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        if let Ok(location) = HeaderValue::try_from(format!("http://{addr}{target}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
    }
    response
}
