//! `GET /backup`: all that a cluster has, in one file.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::stream::{self, Stream};
use tokio::sync::OwnedSemaphorePermit;

use super::ApiState;
use super::redirect::Failed;
use super::request::is_stale;
use super::routes::Routes;
use crate::raft::BackupFile;

/// Bytes of the answer that are in memory at a time.
const PIECE_BYTES: u64 = 256 << 10;

pub(super) fn routes() -> Routes {
    Routes::new().route("/backup", get(backup))
}

async fn backup(
    State(api): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failed> {
    let is_stale = is_stale(query.as_deref())?;
    let (backup, permit) = api.backup(is_stale).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, backup.size().to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}\"", file_name(&backup)),
        ),
    ];
    let body = Body::from_stream(pieces(backup, permit));
    Ok((headers, body).into_response())
}

/// Which cluster, up to which entry: later backups of a cluster sort behind earlier ones.
fn file_name(backup: &BackupFile) -> String {
    let cluster = backup.cluster().to_string();
    let index = backup.index().unwrap_or(0);
    format!("rkv-{cluster}-{index:012}.rkv")
}

/// The file's bytes, at the client's pace. Nobody else gets a backup until the last of them is sent, or
/// the client is gone.
fn pieces(
    backup: BackupFile,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((backup, permit, 0), async |(backup, permit, offset)| {
        let left = backup.size() - offset;
        if left == 0 {
            return Ok(None);
        }
        let piece = backup
            .read_at(offset, left.min(PIECE_BYTES) as usize)
            .await?;
        let next = offset + piece.len() as u64;
        Ok(Some((piece, (backup, permit, next))))
    })
}
