//! `/fsm/events`: what commands emit, as server-sent events, from this node as it applies.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::sse::{self, Sse};
use axum::routing::get;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::ApiState;
use super::problem::Problem;
use super::redirect::Failed;
use super::request::query_text;
use super::routes::Routes;
use crate::raft::{EmittedEvent, EventId, EventNews, EventReader, ReadError};

/// How long a stream is silent at most: whoever is between the two ends may take a connection that
/// is silent for a minute for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a client that reconnects says it has seen.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) fn routes() -> Routes {
    Routes::new().route("/fsm/events", get(listen))
}

async fn listen(
    State(api): State<Arc<ApiState>>,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, axum::Error>>>, Failed> {
    let topic = query_text(parameters.as_deref(), "topic")?;
    let after = starting_point(parameters.as_deref(), &headers)?;
    if api.stop_streams.is_cancelled() {
        let reason = api.consensus.stopped();
        let reason = reason.unwrap_or_else(|| "it is shutting down".to_owned());
        return Err(ReadError::Stopped(reason).into());
    }
    let slot = Arc::clone(&api.listeners)
        .try_acquire_owned()
        .map_err(|_| {
            let limit = api.limits.max_event_listeners;
            Problem::overloaded(
                "as many clients listen to events as this node serves",
                limit,
            )
        })?;
    let reader = api.consensus.events().read(after, topic)?;
    let feed = Feed::new(reader, api.stop_streams.clone(), slot);
    Ok(Sse::new(stream::unfold(feed, async |mut feed| {
        Some((feed.next().await?, feed))
    })))
}

/// The id after which the client wants events. The header goes before the parameter: a browser that
/// reconnects sends both, and has come further since it was given the URL.
pub(super) fn starting_point(
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Option<EventId>, Problem> {
    let header = headers
        .get(LAST_EVENT_ID)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .filter(|id| !id.is_empty());
    let (name, text) = match header {
        Some(id) => ("the header Last-Event-ID", id),
        None => match query_text(query, "after")? {
            Some(id) => ("the parameter after", id),
            None => return Ok(None),
        },
    };
    match text.parse() {
        Ok(id) => Ok(Some(id)),
        Err(error) => Err(Problem::bad_request(format!("{name} is `{text}`: {error}"))),
    }
}

/// One client's stream of events.
struct Feed {
    reader: EventReader,
    /// Taken from the reader, not sent yet.
    ready: VecDeque<Arc<EmittedEvent>>,
    /// The id that the client would come back with.
    told: Option<EventId>,
    stop: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

impl Feed {
    fn new(reader: EventReader, stop: CancellationToken, slot: OwnedSemaphorePermit) -> Self {
        Self {
            reader,
            ready: VecDeque::new(),
            told: None,
            stop,
            _slot: slot,
        }
    }

    /// `None`: this node stops, and the client has to go on elsewhere or later.
    async fn next(&mut self) -> Option<Result<sse::Event, axum::Error>> {
        if self.stop.is_cancelled() {
            return None;
        }
        if self.told.is_none() {
            // At once: who loses the connection before the first event can go on from here, too.
            return Some(Ok(self.bookmark()));
        }
        if self.ready.is_empty() {
            let news = tokio::select! {
                () = self.stop.cancelled() => return None,
                news = self.reader.next(KEEP_ALIVE) => news,
            };
            match news {
                Some(EventNews::Events(events)) => self.ready = events.into(),
                Some(EventNews::Missed(after)) => {
                    self.told = Some(after);
                    return Some(missed(after));
                }
                None => return Some(Ok(self.bookmark())),
            }
        }
        let event = self.ready.pop_front()?;
        self.told = Some(event.id);
        Some(message(&event))
    }

    /// Tells how far the stream has come, when that is further than the last event. An id without
    /// data is no event to a client, but what it remembers: otherwise one that listens to a silent
    /// topic would come back with an id that is long gone.
    fn bookmark(&mut self) -> sse::Event {
        let cursor = self.reader.cursor();
        if self.told == Some(cursor) {
            return sse::Event::default().comment("");
        }
        self.told = Some(cursor);
        sse::Event::default().id(cursor.to_string())
    }
}

#[derive(Serialize)]
struct Message<'a> {
    topic: &'a str,
    index: u64,
    time_ms: u64,
    #[serde(flatten)]
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Data<'a> {
    Text(&'a str),
    /// Of bytes that are not UTF-8.
    Base64(String),
}

fn message(event: &EmittedEvent) -> Result<sse::Event, axum::Error> {
    let data = match std::str::from_utf8(&event.data) {
        Ok(text) => Data::Text(text),
        Err(_) => Data::Base64(BASE64_STANDARD.encode(&event.data)),
    };
    sse::Event::default()
        .id(event.id.to_string())
        .json_data(Message {
            topic: &event.topic,
            index: event.id.index(),
            time_ms: event.time_ms,
            data,
        })
}

/// Tells that events up to `after` were dropped before the client got them.
fn missed(after: EventId) -> Result<sse::Event, axum::Error> {
    #[derive(Serialize)]
    struct Missed {
        after: String,
    }
    let after = after.to_string();
    sse::Event::default()
        .event("missed")
        .id(&after)
        .json_data(Missed {
            after: after.clone(),
        })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;

    use super::*;

    fn start(query: &str, header: Option<&'static str>) -> Result<Option<String>, Problem> {
        let mut headers = HeaderMap::new();
        if let Some(id) = header {
            headers.insert(LAST_EVENT_ID, HeaderValue::from_static(id));
        }
        let after = starting_point(Some(query), &headers)?;
        Ok(after.map(|id| id.to_string()))
    }

    #[test]
    fn the_header_of_a_reconnect_goes_before_the_url() {
        assert_eq!(start("topic=a", None).unwrap(), None);
        assert_eq!(start("after=7.1", None).unwrap().unwrap(), "7.1");
        assert_eq!(start("after=7", Some("")).unwrap().unwrap(), "7");
        assert_eq!(start("after=7", Some("9.0")).unwrap().unwrap(), "9.0");
        for bad in [start("after=", None), start("after=7", Some("x"))] {
            assert!(bad.is_err());
        }
    }

    async fn sent(event: sse::Event) -> String {
        let one = stream::iter([Ok::<_, axum::Error>(event)]);
        let body = Sse::new(one).into_response().into_body();
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn data_is_text_where_it_can_be() {
        let mut event = EmittedEvent {
            id: "12.3".parse().unwrap(),
            time_ms: 5,
            topic: "a \"b\"\n".to_owned(),
            data: b"{\"lock\":1}\n".to_vec(),
        };
        let text = sent(message(&event).unwrap()).await;
        let json = r#"{"topic":"a \"b\"\n","index":12,"time_ms":5,"text":"{\"lock\":1}\n"}"#;
        assert_eq!(text, format!("id: 12.3\ndata: {json}\n\n"));

        event.data = vec![0xff, 0];
        let bytes = sent(message(&event).unwrap()).await;
        assert!(bytes.ends_with("\"base64\":\"/wA=\"}\n\n"), "{bytes}");
    }

    #[tokio::test]
    async fn a_gap_is_an_event_of_its_own_with_the_id_to_go_on_from() {
        let text = sent(missed("12.3".parse().unwrap()).unwrap()).await;
        assert_eq!(
            text,
            "event: missed\nid: 12.3\ndata: {\"after\":\"12.3\"}\n\n"
        );
    }
}
