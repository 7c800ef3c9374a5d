//! What a flaky proxy does to a request, and bodies on their way through.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::{HeaderMap, Method};
use tokio::sync::watch;

use super::Flow;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The connection is closed, and the store sees nothing of the request.
    Reset,
    /// The store carries it out, and the connection is closed without an answer.
    Unanswered,
    /// It comes later.
    Slow(Duration),
    /// It is answered with this status, and the store sees nothing of it.
    Status(u16),
    /// The answer's body ends in the middle.
    Truncate,
    /// A bit in the middle of the answer's body is another one.
    FlipReceived,
    /// A bit in the middle of the request's body is another one.
    FlipSent,
}

impl Trouble {
    /// What happens to the request of this number, if anything does.
    pub(super) fn choose(seed: u64, one_in: u64, number: u64, method: &Method) -> Option<Trouble> {
        let chance = mixed(seed ^ mixed(number));
        if !chance.is_multiple_of(one_in) {
            return None;
        }
        let choice = mixed(chance);
        Some(match choice % 8 {
            0 => Trouble::Reset,
            1 => Trouble::Unanswered,
            2 => Trouble::Slow(Duration::from_millis(choice / 8 % 500)),
            3 => Trouble::Status(500),
            4 => Trouble::Status(503),
            5 => Trouble::Status(429),
            6 if *method != Method::PUT => Trouble::Truncate,
            7 if *method != Method::PUT => Trouble::FlipReceived,
            _ => Trouble::FlipSent,
        })
    }
}

/// SplitMix64: numbers without a pattern, from a count.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The middle of a body whose length is announced; none of an empty one.
pub(super) fn middle(headers: &HeaderMap) -> Option<u64> {
    let length: u64 = headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    (length > 0).then_some(length / 2)
}

/// A body that is counted, passes while the gate is open, ends at `end`, and has another bit at `flip`.
pub(super) fn flow(
    body: Incoming,
    count: Arc<AtomicU64>,
    gate: watch::Receiver<bool>,
    end: Option<u64>,
    flip: Option<u64>,
) -> Flow {
    if hyper::body::Body::is_end_stream(&body) {
        return body.map_err(io::Error::other).boxed_unsync();
    }
    let length = hyper::body::Body::size_hint(&body).exact();
    let state = (body, count, gate, false);
    let frames = stream::unfold(state, move |(mut body, count, mut gate, ended)| async move {
        if ended {
            // The error must not overtake the bytes.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Some((Err(io::ErrorKind::ConnectionReset.into()), (body, count, gate, true)));
        }
        let frame = body.frame().await?;
        super::wait(&mut gate).await;
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Some((Err(io::Error::other(error)), (body, count, gate, false))),
        };
        let Ok(mut bytes) = frame.into_data() else {
            return Some((Ok(Frame::data(Bytes::new())), (body, count, gate, false)));
        };
        let begin = count.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        let inside =
            |place: u64| (place >= begin && place < begin + bytes.len() as u64).then(|| (place - begin) as usize);
        if let Some(place) = flip.and_then(inside) {
            let mut changed = bytes.to_vec();
            changed[place] ^= 1;
            bytes = changed.into();
        } else if let Some(place) = end.and_then(inside) {
            return Some((Ok(Frame::data(bytes.slice(..place))), (body, count, gate, true)));
        }
        Some((Ok(Frame::data(bytes)), (body, count, gate, false)))
    });
    let sized = Sized { frames: StreamBody::new(Box::pin(frames)), length };
    sized.boxed_unsync()
}

/// A body whose length is known, though it comes as a stream.
struct Sized<B> {
    frames: B,
    length: Option<u64>,
}

impl<B: hyper::body::Body<Data = Bytes, Error = io::Error> + Unpin> hyper::body::Body for Sized<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        std::pin::Pin::new(&mut self.frames).poll_frame(context)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.length.map_or_else(hyper::body::SizeHint::default, hyper::body::SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many() {
        let all = |seed| (0..20_000).filter_map(|number| Trouble::choose(seed, 20, number, &Method::GET)).collect();
        let troubles: Vec<Trouble> = all(1);
        assert!((800..1_200).contains(&troubles.len()), "{}", troubles.len());
        assert_eq!(troubles, all(1));
        assert_ne!(troubles, all(2));
        for kind in
            [Trouble::Reset, Trouble::Unanswered, Trouble::Status(503), Trouble::Truncate, Trouble::FlipReceived]
        {
            assert!(troubles.contains(&kind), "{kind:?}");
        }
    }
}
