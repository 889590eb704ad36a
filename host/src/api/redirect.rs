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

/// What a request is for: the path and the query of its URI. A copy, because the parts of a head share the
/// buffer that the connection reads into: while one of them is there, it reads into another.
#[derive(Debug)]
pub(super) struct Target(Box<str>);

impl Target {
    pub(super) fn of(uri: &Uri) -> Self {
        let target = uri.path_and_query();
        Self(target.map_or("/", |target| target.as_str()).into())
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.0.split_once('?').map(|(_, query)| query)
    }
}

/// Adds `Location` to an answer that names a leader: the same request, there.
pub(super) fn locate(target: &Target, mut response: Response) -> Response {
    if let Some(LeaderAddr(addr)) = response.extensions_mut().remove()
        && let Ok(location) = HeaderValue::try_from(format!("http://{addr}{}", target.0))
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
