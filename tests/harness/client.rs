//! A client of one node.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, redirect};

use crate::answer::Answer;
use crate::event_stream::EventStream;
use crate::names::Names;
use crate::views::{ClusterStats, Server, Stats};
use crate::wait::{self, GENEROUS, check};

/// How long one request may take. Above every time-out of the server, which must answer first.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection to a host with a name may take. Behind an address that a host had and has no
/// more there is nobody who refuses one, and the system waits for seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a stream may take in all. Longer than any test.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(600);

/// How many redirects are followed: more means that nodes point at each other.
const MAX_REDIRECTS: usize = 5;

/// A request that got no response.
#[derive(Debug, thiserror::Error)]
#[error("{request}: no answer: {source}")]
pub struct Unreachable {
    /// Method and URL.
    request: String,
    /// Whether the node never saw the request: there was no connection. Otherwise its fate is
    /// unknown.
    pub before_sending: bool,
    source: reqwest::Error,
}

/// Sends requests to one node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

/// The path of a key, every byte that is not a letter or a digit percent-encoded.
pub fn key_path(key: &str) -> String {
    format!("/keys/{}", utf8_percent_encode(key, NON_ALPHANUMERIC))
}

impl Client {
    /// A client of the node whose HTTP address this is.
    ///
    /// # Panics
    ///
    /// When the system lacks what any client needs.
    pub fn new(address: SocketAddr) -> Self {
        Self::build(&address.to_string(), reqwest::Client::builder())
    }

    /// A client of the node at `host:port`. This host, and those to which it redirects, are looked up
    /// in `names` and nowhere else, unless they are addresses.
    ///
    /// # Panics
    ///
    /// When the system lacks what any client needs.
    pub fn named(host_port: &str, names: Names) -> Self {
        let builder = reqwest::Client::builder()
            .dns_resolver(names)
            .connect_timeout(CONNECT_TIMEOUT);
        Self::build(host_port, builder)
    }

    fn build(host_port: &str, builder: reqwest::ClientBuilder) -> Self {
        let http = builder
            .redirect(redirect::Policy::none())
            .timeout(REQUEST_TIMEOUT)
            // A kept connection breaks when its node is killed, and belongs to the runtime of the
            // test that opened it. Without one, "no connection" means that nothing was sent.
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()
            .expect("a client without TLS needs nothing that can be missing");
        Self {
            http,
            base: format!("http://{host_port}"),
        }
    }

    /// A client of another node that shares this one's set-up.
    pub fn at(&self, address: SocketAddr) -> Self {
        Self {
            http: self.http.clone(),
            base: format!("http://{address}"),
        }
    }

    /// Sends one request and follows nothing. `path` begins with a slash and may have a query.
    ///
    /// # Errors
    ///
    /// [`Unreachable`] when there was no response.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Unreachable> {
        self.exchange(method, format!("{}{path}", self.base), body.into())
            .await
    }

    /// Like [`Self::try_send`], and goes where a redirect points to.
    ///
    /// # Errors
    ///
    /// [`Unreachable`] when one of the nodes gave no response.
    ///
    /// # Panics
    ///
    /// When a redirect has no target.
    pub async fn try_follow(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Unreachable> {
        let body = body.into();
        let mut answer = self.try_send(method.clone(), path, body.clone()).await?;
        for _ in 0..MAX_REDIRECTS {
            if answer.status != 307 {
                break;
            }
            let target = answer.location().to_owned();
            answer = self.exchange(method.clone(), target, body.clone()).await?;
        }
        Ok(answer)
    }

    /// [`Self::try_send`] to a node that must answer.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        self.try_send(method, path, body)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`Self::try_follow`] to nodes that must answer.
    ///
    /// # Panics
    ///
    /// When one does not.
    pub async fn follow(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        self.try_follow(method, path, body)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// `GET`, one hop.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    /// `POST`, one hop.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, path, body).await
    }

    /// `DELETE`, one hop.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, "").await
    }

    /// Starts to listen to `path`, with the header `Last-Event-ID` if there is an id. An answer that
    /// is not 200 comes back as the error.
    ///
    /// # Errors
    ///
    /// The answer of a node that serves no events.
    ///
    /// # Panics
    ///
    /// When the node does not answer.
    pub async fn listen(&self, path: &str, last: Option<&str>) -> Result<EventStream, Answer> {
        let url = format!("{}{path}", self.base);
        let request = format!("GET {url}");
        let mut asked = self.http.get(url).timeout(LISTEN_TIMEOUT);
        if let Some(id) = last {
            asked = asked.header("last-event-id", id);
        }
        let response = asked.send().await;
        let response = response.unwrap_or_else(|error| panic!("{request}: {error}"));
        if response.status() == 200 {
            return Ok(EventStream::new(response));
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await;
        let body = body.unwrap_or_else(|error| panic!("{request}: {error}"));
        Err(Answer {
            request,
            status,
            headers,
            body,
        })
    }

    /// Writes a key through the leader. As every client should, repeats what was refused for now,
    /// such as during an election.
    ///
    /// # Panics
    ///
    /// When it is not acknowledged in the end, or refused for good.
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) {
        self.write(Method::POST, key, value.into()).await;
    }

    /// Removes a key through the leader, like [`Self::put`].
    ///
    /// # Panics
    ///
    /// When it is not acknowledged in the end, or refused for good.
    pub async fn remove(&self, key: &str) {
        self.write(Method::DELETE, key, Bytes::new()).await;
    }

    /// `POST` through the leader, like [`Self::put`], until there is an answer that is final.
    ///
    /// # Panics
    ///
    /// When there is none in the end.
    pub async fn act(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.settle(Method::POST, path, body.into()).await
    }

    async fn write(&self, method: Method, key: &str, body: Bytes) {
        let answer = self.settle(method, &key_path(key), body).await;
        answer.expect(200);
    }

    async fn settle(&self, method: Method, path: &str, body: Bytes) -> Answer {
        wait::until("the request has a final answer", GENEROUS, async || {
            let answer = self.follow(method.clone(), path, body.clone()).await;
            match answer.status {
                200..300 => Ok(answer),
                // Nodes that do not agree on a leader yet.
                307 => Err(answer.to_string()),
                status => {
                    let problem = answer.problem(status);
                    let is_unknown = problem.outcome.as_deref() == Some("unknown");
                    let refused_for_now = problem.retryable && !is_unknown;
                    check(!refused_for_now, || answer.to_string())?;
                    Ok(answer)
                }
            }
        })
        .await
    }

    /// Reads a key linearizably.
    pub async fn value(&self, key: &str) -> Option<Bytes> {
        found(self.get(&key_path(key)).await)
    }

    /// Reads a key from this node's state as it is.
    pub async fn stale_value(&self, key: &str) -> Option<Bytes> {
        found(
            self.get(&format!("{}?consistency=stale", key_path(key)))
                .await,
        )
    }

    /// All keys, linearizably.
    pub async fn keys(&self) -> Vec<String> {
        self.get("/keys").await.expect(200).json()
    }

    /// All keys of this node's state as it is.
    pub async fn stale_keys(&self) -> Vec<String> {
        self.get("/keys?consistency=stale").await.expect(200).json()
    }

    /// `GET /servers`.
    pub async fn servers(&self) -> Vec<Server> {
        self.get("/servers").await.expect(200).json()
    }

    /// `GET /stats`.
    pub async fn stats(&self) -> Stats {
        self.get("/stats").await.expect(200).json()
    }

    /// `GET /stats?scope=cluster`.
    pub async fn cluster_stats(&self) -> ClusterStats {
        self.get("/stats?scope=cluster").await.expect(200).json()
    }

    async fn exchange(
        &self,
        method: Method,
        url: String,
        body: Bytes,
    ) -> Result<Answer, Unreachable> {
        let request = format!("{method} {url}");
        let failed = |source: reqwest::Error| Unreachable {
            request: request.clone(),
            before_sending: source.is_connect(),
            source,
        };
        let sent = self.http.request(method, url).body(body).send().await;
        let response = sent.map_err(failed)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.map_err(failed)?;
        Ok(Answer {
            request,
            status,
            headers,
            body,
        })
    }
}

fn found(answer: Answer) -> Option<Bytes> {
    if answer.status == 404 {
        answer.problem(404);
        return None;
    }
    Some(answer.expect(200).body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Loopback;

    #[test]
    fn a_key_is_one_segment_whatever_is_in_it() {
        assert_eq!(key_path("a/b ?é"), "/keys/a%2Fb%20%3F%C3%A9");
    }

    #[tokio::test]
    async fn a_node_that_is_down_was_sent_nothing() {
        let nobody = Loopback::random().free().expect("a port");
        let failed = Client::new(nobody)
            .try_send(Method::GET, "/health", "")
            .await;
        assert!(failed.expect_err("nobody listens").before_sending);
    }
}
