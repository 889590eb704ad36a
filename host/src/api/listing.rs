//! `GET /keys`: any number of keys, a page in memory at a time.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rkv_kv_protocol::{Answer, Query};

use super::ApiState;
use super::keys::{broken_protocol, expect_kv};
use super::problem::Problem;
use super::redirect::Failed;
use super::request::query_text;

/// Keys that one query lists, all of one state. Keys of 4 KiB make that 40 MiB, which is within
/// what one call may bring out of a module.
const PAGE_KEYS: u32 = 10_000;

/// A listing under way.
pub(super) struct Listing {
    prefix: String,
    after: Option<String>,
    /// Keys still to list.
    left: u32,
    /// Whether anything was listed before, and wants a comma behind it.
    begun: bool,
    done: bool,
}

impl Listing {
    pub(super) fn parse(parameters: Option<&str>) -> Result<Self, Problem> {
        let left = match query_text(parameters, "limit")? {
            None => u32::MAX,
            Some(text) => match text.parse() {
                Ok(limit) if limit > 0 => limit,
                _ => {
                    let detail = format!("`{text}` is not a limit: a number from 1 on");
                    return Err(Problem::bad_request(detail));
                }
            },
        };
        Ok(Self {
            prefix: query_text(parameters, "prefix")?.unwrap_or_default(),
            after: query_text(parameters, "after")?,
            left,
            begun: false,
            done: false,
        })
    }

    fn query(&self) -> Bytes {
        let query = Query::Keys {
            prefix: self.prefix.as_bytes(),
            after: self.after.as_deref().map(str::as_bytes),
            limit: self.left.min(PAGE_KEYS),
        };
        Bytes::from(query.encode())
    }

    /// The next piece of the JSON array, from the answer to [`Listing::query`].
    fn page(&mut self, answer: &[u8]) -> Result<Bytes, Problem> {
        let Ok(Answer::Keys { keys, more }) = Answer::decode(answer) else {
            return Err(broken_protocol());
        };
        let keys: Result<Vec<&str>, _> = keys.into_iter().map(std::str::from_utf8).collect();
        let keys = keys.map_err(|_| broken_protocol())?;
        self.left = self
            .left
            .saturating_sub(u32::try_from(keys.len()).unwrap_or(u32::MAX));
        self.done = !more || self.left == 0 || keys.is_empty();
        let array = serde_json::to_vec(&keys).map_err(|_| broken_protocol())?;
        let inside = &array[1..array.len() - 1];
        let opening: &[u8] = if self.begun { b"," } else { b"[" };
        let closing: &[u8] = if self.done { b"]" } else { b"" };
        self.begun = true;
        self.after = keys.last().map(|key| (*key).to_owned());
        Ok(Bytes::from([opening, inside, closing].concat()))
    }
}

/// Lists keys in order. Each page of [`PAGE_KEYS`] is of one state; later pages are of the same or
/// a later one.
pub(super) async fn list(
    State(api): State<Arc<ApiState>>,
    RawQuery(parameters): RawQuery,
) -> Result<Response, Failed> {
    expect_kv(&api).await?;
    let mut listing = Listing::parse(parameters.as_deref())?;
    // Before the answer begins, so that a failure still has a status.
    let answer = api.ask(parameters.as_deref(), listing.query()).await?;
    let first = listing.page(&answer)?;
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    if listing.done {
        return Ok((content_type, first).into_response());
    }
    let rest = futures::stream::try_unfold((api, listing), async |(api, mut listing)| {
        if listing.done {
            return Ok(None);
        }
        // This node has caught up with the first page, and its state never goes back.
        let answer = api.consensus.query_stale(listing.query()).await;
        let answer = answer.map_err(std::io::Error::other)?;
        let page = listing.page(&answer);
        let page = page.map_err(|_| std::io::Error::other("the module broke its protocol"))?;
        Ok::<_, std::io::Error>(Some((page, (api, listing))))
    });
    let pages = futures::stream::once(async { Ok(first) });
    let body = Body::from_stream(futures::StreamExt::chain(pages, rest));
    Ok((content_type, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(keys: &[&str], more: bool) -> Vec<u8> {
        let keys = keys.iter().map(|key| key.as_bytes()).collect();
        Answer::Keys { keys, more }.encode()
    }

    #[test]
    fn pages_make_one_array() {
        let mut listing = Listing::parse(None).unwrap();
        let pages = [
            listing.page(&answer(&["a", "b"], true)).unwrap(),
            listing.page(&answer(&["c"], false)).unwrap(),
        ];
        assert!(listing.done);
        let keys: Vec<String> = serde_json::from_slice(&pages.concat()).unwrap();
        assert_eq!(keys, ["a", "b", "c"]);
    }

    #[test]
    fn a_limit_ends_the_listing() {
        let mut listing = Listing::parse(Some("limit=2&after=x")).unwrap();
        assert_eq!(
            listing.page(&answer(&["y", "z"], true)).unwrap(),
            r#"["y","z"]"#
        );
        assert!(listing.done);
        assert!(Listing::parse(Some("limit=0")).is_err());
    }

    #[test]
    fn nothing_is_an_empty_array() {
        let mut listing = Listing::parse(Some("prefix=q")).unwrap();
        assert_eq!(listing.page(&answer(&[], false)).unwrap(), "[]");
    }
}
