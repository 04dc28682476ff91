//! A body that is sent at the pace of the model and may end badly.
//!
//! It is pulled by the connection, so a client that reads slowly holds it up and not the memory of the server; a client
//! that goes away drops it, and the purchase inside with it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::line::Cord;
use super::purchase::Purchase;

/// How much is handed to the connection at once.
const PIECE_MAX_BYTES: usize = 16 << 10;

/// What is to be sent.
#[derive(Debug, Default)]
pub struct Script {
    pub bytes: Vec<u8>,
    /// Ends of parts, in order, and how many tokens have been said by then. Behind the last one nothing waits.
    pub marks: Vec<(usize, u64)>,
    /// The length that is announced; `None`: not announced (chunked).
    pub announced_bytes: Option<u64>,
    pub ending: Ending,
}

/// What follows the last byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// The end of the body.
    #[default]
    InOrder,
    /// The connection is closed in the middle of the body.
    HangUp,
    /// Nothing at all.
    Silence,
}

/// A script on its way.
pub struct Play {
    bytes: Bytes,
    marks: std::vec::IntoIter<(usize, u64)>,
    next: Option<(usize, Instant)>,
    sent_bytes: usize,
    /// How far may be sent by now.
    due_bytes: usize,
    announced_bytes: Option<u64>,
    ending: Ending,
    is_flushed: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    purchase: Purchase,
    cord: Arc<Cord>,
}

impl Play {
    pub fn new(script: Script, purchase: Purchase, cord: Arc<Cord>) -> Play {
        let marks = if purchase.visit().is_paced() { script.marks } else { Vec::new() };
        let mut play = Play {
            bytes: script.bytes.into(),
            marks: marks.into_iter(),
            next: None,
            sent_bytes: 0,
            due_bytes: 0,
            announced_bytes: script.announced_bytes,
            ending: script.ending,
            is_flushed: false,
            sleep: None,
            purchase,
            cord,
        };
        play.advance();
        play
    }

    fn advance(&mut self) {
        self.next = self.marks.next().map(|(end, tokens)| (end, self.purchase.visit().due(tokens)));
    }

    /// Until there is something to send.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.due_bytes <= self.sent_bytes {
            let Some((end, due)) = self.next else {
                self.due_bytes = self.bytes.len();
                break;
            };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
            sleep.as_mut().reset(due);
            ready!(sleep.as_mut().poll(cx));
            self.due_bytes = end;
            self.advance();
        }
        // What became due in the meantime goes with it.
        let now = Instant::now();
        while let Some((end, _)) = self.next.filter(|(_, due)| *due <= now) {
            self.due_bytes = end;
            self.advance();
        }
        Poll::Ready(())
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.ending {
            Ending::InOrder => {
                self.purchase.end();
                return Poll::Ready(None);
            }
            // hyper writes out what it has when a body makes it wait, so it is made to wait once.
            Ending::HangUp if !self.is_flushed => {
                self.is_flushed = true;
                cx.waker().wake_by_ref();
            }
            Ending::HangUp => {
                self.purchase.end();
                self.cord.hang_up();
            }
            Ending::Silence => {
                self.purchase.end();
                self.cord.fall_silent();
            }
        }
        Poll::Pending
    }
}

impl Body for Play {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.sent_bytes == self.bytes.len() {
            return self.poll_end(cx);
        }
        ready!(self.poll_due(cx));
        let end = self.due_bytes.min(self.sent_bytes + PIECE_MAX_BYTES);
        let piece = self.bytes.slice(self.sent_bytes..end);
        self.sent_bytes = end;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        self.announced_bytes.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;

    use super::super::super::stats::{Fingerprint, Stats};
    use super::super::super::weather::{Fate, Weather};
    use super::super::super::{Latency, Options};
    use super::super::answer::Usage;
    use super::super::purchase::Label;
    use super::*;

    /// A purchase whose answer has some tokens, at this pace.
    fn purchase(per_output_token: Duration, stats: &Arc<Stats>) -> Purchase {
        let latency = Latency { fixed: Duration::ZERO, per_output_token };
        let weather = Arc::new(Weather::new(&Options { latency, ..Options::default() }));
        let Fate::Serve(visit) = weather.receive("m", 1, 1, 1) else { panic!("the weather is fair") };
        let request = Fingerprint::of("m", b"a body");
        let label = Label { operation: "ConverseStream", model: "m".into(), request };
        let usage = Usage { input: 10, output: 6, ..Usage::default() };
        Purchase::new(visit, Arc::clone(stats), label, usage)
    }

    #[tokio::test]
    async fn all_is_sent_in_pieces_and_counted_once() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        for pace in [Duration::ZERO, Duration::from_micros(20)] {
            let stats = Arc::new(Stats::default());
            let marks = (1..=100).map(|n| (n * 1_000, n as u64)).collect();
            let script = Script { bytes: bytes.clone(), marks, ..Script::default() };
            let mut play = Play::new(script, purchase(pace, &stats), Arc::default());
            let mut sent: Vec<u8> = Vec::new();
            while let Some(frame) = play.frame().await {
                let piece = frame.expect("no error").into_data().expect("data");
                assert!(!piece.is_empty() && piece.len() <= PIECE_MAX_BYTES);
                // A client that stops reading here holds up nobody else: nothing is sent that is not asked for.
                sent.extend_from_slice(&piece);
            }
            assert_eq!(sent, bytes, "{pace:?}");
            drop(play);
            let weather = Weather::new(&Options::default());
            let counts = stats.to_json(&weather)["operations"][0].clone();
            assert_eq!((&counts["answered"], &counts["abandoned"]), (&1.into(), &0.into()));
        }
    }

    #[tokio::test]
    async fn what_is_dropped_on_its_way_is_abandoned() {
        let stats = Arc::new(Stats::default());
        let script = Script { bytes: vec![0; 50_000], ..Script::default() };
        let mut play = Play::new(script, purchase(Duration::ZERO, &stats), Arc::default());
        play.frame().await.expect("a piece").expect("no error");
        drop(play);
        let weather = Weather::new(&Options::default());
        let books = stats.to_json(&weather);
        assert_eq!((&books["answers_paid"], &books["answers_delivered"]), (&1.into(), &0.into()));
        assert_eq!(books["operations"][0]["abandoned"], 1);
    }
}
