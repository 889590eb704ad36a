//! What a node answered.

use std::fmt;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use serde::de::DeserializeOwned;

use crate::views::Problem;

/// How much of a body a failed assertion prints.
const SHOWN_BYTES: usize = 600;

/// Words that only appear when an error of the implementation leaks out.
const LEAKS: [&str; 4] = ["panicked at", "stack backtrace", "RUST_BACKTRACE", ".rs:"];

/// Status, headers and body of one response, and the request that it answers.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Method and URL, for messages.
    pub request: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Itself, if it has this status.
    ///
    /// # Panics
    ///
    /// When the status is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The body as text.
    ///
    /// # Panics
    ///
    /// When it is not UTF-8.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The body as JSON of this form.
    ///
    /// # Panics
    ///
    /// When the body has another form, or is not declared as JSON.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        assert!(
            self.content_type().starts_with("application/json"),
            "{self}"
        );
        self.parse()
    }

    /// A header's value, empty when there is none.
    pub fn header(&self, name: impl reqwest::header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Where a redirect points to.
    ///
    /// # Panics
    ///
    /// When this is no 307, or has no target.
    #[track_caller]
    pub fn location(&self) -> &str {
        assert_eq!(self.status, 307, "{self}");
        let target = self.header(LOCATION);
        assert!(!target.is_empty(), "a redirect without a target: {self}");
        target
    }

    /// The error body, held to all that every error promises: this status, the content type, the
    /// same status in the body, texts that are not empty, and nothing of the implementation.
    ///
    /// # Panics
    ///
    /// When any of that is not so.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Problem {
        assert_eq!(self.status, status, "{self}");
        assert!(
            self.content_type().starts_with("application/problem+json"),
            "{self}"
        );
        let problem: Problem = self.parse();
        assert_eq!(problem.status, status, "{self}");
        for text in [
            &problem.kind,
            &problem.title,
            &problem.detail,
            &problem.code,
        ] {
            assert!(!text.trim().is_empty(), "an empty field: {self}");
        }
        for leak in LEAKS {
            assert!(!self.text().contains(leak), "'{leak}' leaked out: {self}");
        }
        problem
    }

    fn content_type(&self) -> &str {
        self.header(CONTENT_TYPE)
    }

    #[track_caller]
    fn parse<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(SHOWN_BYTES)];
        write!(
            f,
            "{} answered {} {:?}, {} bytes: {}",
            self.request,
            self.status,
            self.content_type(),
            self.body.len(),
            String::from_utf8_lossy(shown)
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn answer(status: u16, content_type: &'static str, body: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            reqwest::header::HeaderValue::from_static(content_type),
        );
        Answer {
            request: "GET /".to_owned(),
            status,
            headers,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    const FULL: &str = r#"{"type":"about:blank","title":"Full","status":507,"detail":"no room",
        "code":"full","retryable":false}"#;

    #[test]
    fn a_complete_problem_passes() {
        let problem = answer(507, "application/problem+json", FULL).problem(507);
        assert_eq!((problem.code.as_str(), problem.outcome), ("full", None));
    }

    #[test]
    #[should_panic(expected = "application/json")]
    fn a_problem_under_another_content_type_fails() {
        answer(507, "application/json", FULL).problem(507);
    }

    #[test]
    #[should_panic(expected = "leaked out")]
    fn a_problem_that_shows_a_source_line_fails() {
        let leak = r#"{"type":"t","title":"t","status":500,"detail":"at src/api/keys.rs:7",
            "code":"c","retryable":false}"#;
        answer(500, "application/problem+json", leak).problem(500);
    }

    #[test]
    #[should_panic(expected = "an empty field")]
    fn a_problem_without_a_code_fails() {
        let empty =
            r#"{"type":"t","title":"t","status":500,"detail":"d","code":"","retryable":false}"#;
        answer(500, "application/problem+json", empty).problem(500);
    }
}
