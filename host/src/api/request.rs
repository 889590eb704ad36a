//! Reading requests: bounded bodies, and text that is what it claims to be.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;

use super::problem::Problem;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// Bytes of a body that is too large which are read all the same: a client that is still sending
/// when it is answered and cut off may never see the answer.
pub(super) const DISCARDED_BYTES: usize = 64 << 20;

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read_body(body: Body, what: &str, limit: usize) -> Result<Bytes, Problem> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit.saturating_add(DISCARDED_BYTES) {
        return Err(Problem::too_large(what, limit as u64));
    }
    match tokio::time::timeout(BODY_DEADLINE, collect(body, what, limit)).await {
        Ok(read) => read,
        Err(_) if announced > limit => Err(Problem::too_large(what, limit as u64)),
        Err(_) => {
            let detail = format!("the body did not arrive within {BODY_DEADLINE:?}");
            Err(Problem::bad_request(detail))
        }
    }
}

async fn collect(mut body: Body, what: &str, limit: usize) -> Result<Bytes, Problem> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut content = Vec::with_capacity(announced.min(limit));
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let broken = |error| Problem::bad_request(format!("the body broke off: {error}"));
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        received += data.len();
        if received > limit.saturating_add(DISCARDED_BYTES) {
            break;
        }
        if received <= limit {
            content.extend_from_slice(&data);
        }
    }
    if received > limit {
        return Err(Problem::too_large(what, limit as u64));
    }
    Ok(Bytes::from(content))
}

/// The bytes of a query parameter, as a form encodes them: `%xx`, and `+` for a space. They need
/// not be text.
pub(crate) fn query_bytes(query: Option<&str>, name: &str) -> Option<Vec<u8>> {
    let pairs = query.unwrap_or_default().split('&');
    let mut value = pairs.filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    let value = value.next_back()?.replace('+', " ");
    Some(percent_decode_str(&value).collect())
}

/// A query parameter that has to be text.
pub(crate) fn query_text(query: Option<&str>, name: &str) -> Result<Option<String>, Problem> {
    query_bytes(query, name)
        .map(String::from_utf8)
        .transpose()
        .map_err(|_| Problem::bad_request(format!("the parameter {name} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_to_bytes() {
        let query = Some("a=1&val=x%00%ffy+z&empty=&bare");
        assert_eq!(query_bytes(query, "val").unwrap(), b"x\0\xffy z");
        assert_eq!(query_bytes(query, "empty").unwrap(), b"");
        assert_eq!(query_bytes(query, "bare").unwrap(), b"");
        assert_eq!(query_bytes(query, "absent"), None);
        assert!(query_text(query, "val").is_err());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_too_large_and_one_at_it_is_not() {
        assert_eq!(
            read_body(Body::from("12345"), "it", 5).await.unwrap(),
            "12345"
        );
        assert!(read_body(Body::from("123456"), "it", 5).await.is_err());
    }
}
