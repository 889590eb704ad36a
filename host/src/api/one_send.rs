//! Short answers leave by one `send`.
//!
//! hyper hands over the head and the body of an answer as two pieces. For the kernel a list of pieces costs
//! more than the copy that puts them together, as long as they are short.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is put together: the head of an answer and a value of some hundred bytes.
const SHORT_BYTES: usize = 1 << 10;

/// A connection that takes short pieces together.
#[derive(Debug)]
pub(super) struct OneSend<S>(pub(super) S);

impl<S: AsyncRead + Unpin> AsyncRead for OneSend<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OneSend<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.0);
        if pieces.iter().map(|piece| piece.len()).sum::<usize>() > SHORT_BYTES {
            return stream.poll_write_vectored(context, pieces);
        }
        let mut together = [0; SHORT_BYTES];
        let mut used = 0;
        for piece in pieces {
            together[used..used + piece.len()].copy_from_slice(piece);
            used += piece.len();
        }
        stream.poll_write(context, &together[..used])
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use futures::FutureExt;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Takes a few bytes at a time, and notes how many pieces it was offered.
    #[derive(Default)]
    struct Peer {
        takes: usize,
        taken: Vec<u8>,
        offered: Vec<usize>,
    }

    impl AsyncWrite for Peer {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.takes);
            self.taken.extend_from_slice(&bytes[..taken]);
            self.offered.push(1);
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let bytes: Vec<u8> = pieces
                .iter()
                .flat_map(|piece| piece.iter().copied())
                .collect();
            let written = self.as_mut().poll_write(context, &bytes);
            *self.offered.last_mut().unwrap() = pieces.len();
            written
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What a peer that takes so much at once is offered of a head and a body.
    fn offered(head: &[u8], body: &[u8], takes: usize) -> Vec<usize> {
        let peer = Peer {
            takes,
            ..Peer::default()
        };
        let mut stream = OneSend(peer);
        let written = stream.write_all_buf(&mut head.chain(body)).now_or_never();
        written.expect("the peer is always ready").unwrap();
        assert!(stream.0.taken == [head, body].concat());
        stream.0.offered
    }

    #[test]
    fn short_pieces_leave_together_and_long_ones_as_they_are() {
        let head = [b'h'; 200];
        assert_eq!(offered(&head, b"value", usize::MAX), [1]);
        assert_eq!(offered(&head, &[b'v'; SHORT_BYTES - 200], usize::MAX), [1]);
        assert_eq!(offered(&head, &[b'v'; SHORT_BYTES - 199], usize::MAX), [2]);
    }

    #[test]
    fn what_the_peer_does_not_take_at_once_is_offered_again() {
        assert_eq!(offered(b"head", b"body", 3), [1, 1, 1]);
        let takes = SHORT_BYTES;
        assert_eq!(offered(b"head", &[b'v'; SHORT_BYTES], takes), [2, 1]);
    }
}
