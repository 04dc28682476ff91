//! One accepted connection, and how a handler ends it other than by an answer.
//!
//! Faults of the transport can not be said in HTTP: a reset, a body that breaks off, an answer that never comes. hyper
//! owns the socket while it serves, so the handler and the bodies it returns hold a [`Cord`] to pull: the task that
//! drives the connection then drops it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// The socket as hyper sees it.
#[derive(Debug)]
pub struct Line {
    socket: TcpStream,
    cord: Arc<Cord>,
}

/// What ends a line from within.
#[derive(Debug, Default)]
pub struct Cord {
    is_reset: AtomicBool,
    is_silent: AtomicBool,
    pulled: Notify,
}

impl Cord {
    /// Ends the connection by a TCP reset; what was not read by then is lost to the client.
    pub fn reset(&self) {
        self.is_reset.store(true, Ordering::Release);
        self.pulled.notify_one();
    }

    /// Ends the connection in TCP's good order, in the middle of whatever HTTP was saying.
    pub fn hang_up(&self) {
        self.pulled.notify_one();
    }

    /// Says that nothing more will come, so that a stop of the sandbox need not wait for it.
    pub fn fall_silent(&self) {
        self.is_silent.store(true, Ordering::Release);
    }

    pub fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Acquire)
    }

    /// Until somebody pulls.
    pub async fn pulled(&self) {
        self.pulled.notified().await;
    }
}

impl Line {
    pub fn new(socket: TcpStream) -> (Line, Arc<Cord>) {
        // Answers are small and clients wait for them; failing to say so only makes them later.
        let _ = socket.set_nodelay(true);
        let cord = Arc::new(Cord::default());
        (Line { socket, cord: Arc::clone(&cord) }, cord)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.cord.is_reset.load(Ordering::Acquire) {
            // Closing a socket that does not linger at all sends RST (tcp(7), SO_LINGER).
            let _ = self.socket.set_zero_linger();
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
