use super::{
    FRAME_HEAD, HeadScan, Looks, MAX_BODY, MAX_HEAD, Sink, content_length, find_resume, looks_like_frame,
    looks_like_head, may_follow, scan_head,
};

/// Copied at a time while the end of a head is not known.
const COPY_CHUNK: usize = 512;
/// Capacity kept by [`Splitter::shrink`].
const IDLE_CAPACITY: usize = 2048;

/// Splits one direction of an RTSP connection. Whole items are handed out in place from the caller's bytes;
/// only what is incomplete is copied, at most [`MAX_HEAD`] + [`MAX_BODY`] or one frame.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The beginning of an item whose rest has not come.
    partial: Vec<u8>,
    /// Bytes of the head at the front that were searched for its end.
    scanned: usize,
    searching: bool,
    dead: bool,
}

enum Step {
    /// The item at the front ends after this many bytes in total.
    Need(usize),
    /// The item at the front has no known end yet.
    More,
    /// This many bytes are dealt with.
    Took(usize),
    Dead,
}

impl Splitter {
    /// A splitter at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes and gives what they complete to `sink`.
    pub fn handle_input<S: Sink>(&mut self, mut input: &[u8], sink: &mut S) {
        while !self.partial.is_empty() && !self.dead {
            input = self.step_partial(input, sink);
            if input.is_empty() {
                return;
            }
        }
        let mut at = 0;
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty() && !self.dead) {
            match self.step(rest, &[], sink) {
                Step::Took(n) => {
                    at += n;
                    self.scanned = 0;
                }
                Step::Need(_) | Step::More => {
                    self.partial.extend_from_slice(rest);
                    return;
                }
                Step::Dead => self.dead = true,
            }
        }
    }

    /// Gives memory back; for quiet times.
    pub fn shrink(&mut self) {
        self.partial.shrink_to(IDLE_CAPACITY);
    }

    /// Bytes held of an incomplete item.
    pub fn buffered(&self) -> usize {
        self.partial.len()
    }

    /// Works on the copied bytes until they are used up or more are wanted than there are; returns the
    /// input that is left.
    fn step_partial<'a, S: Sink>(&mut self, mut input: &'a [u8], sink: &mut S) -> &'a [u8] {
        let mut partial = core::mem::take(&mut self.partial);
        let mut at = 0;
        while let Some(rest) = partial.get(at..).filter(|rest| !rest.is_empty()) {
            let want = match self.step(rest, input, sink) {
                Step::Took(n) => {
                    at += n;
                    self.scanned = 0;
                    continue;
                }
                Step::Need(total) => total.saturating_sub(rest.len()).max(1),
                Step::More => COPY_CHUNK,
                Step::Dead => {
                    self.dead = true;
                    break;
                }
            };
            if input.is_empty() {
                break;
            }
            let (more, left) = input.split_at(want.min(input.len()));
            if at > 0 {
                partial.drain(..at);
                at = 0;
            }
            partial.extend_from_slice(more);
            input = left;
        }
        partial.drain(..at.min(partial.len()));
        self.partial = partial;
        input
    }

    /// Deals with the front of `bytes`, which is not empty; `ahead` is what is known to come after.
    fn step<S: Sink>(&mut self, bytes: &[u8], ahead: &[u8], sink: &mut S) -> Step {
        if self.searching {
            return self.search(bytes, sink);
        }
        match bytes.first() {
            Some(b'$') => self.step_frame(bytes, ahead, sink),
            Some(b'\r' | b'\n') => Step::Took(1),
            _ => match looks_like_head(bytes, false) {
                Looks::Yes => self.step_message(bytes, sink),
                Looks::Maybe => Step::More,
                Looks::No => self.lose(sink),
            },
        }
    }

    fn step_frame<S: Sink>(&mut self, bytes: &[u8], ahead: &[u8], sink: &mut S) -> Step {
        match looks_like_frame(bytes, sink, false) {
            Looks::Yes => {}
            Looks::Maybe => return Step::Need(FRAME_HEAD + 1),
            Looks::No => return self.lose(sink),
        }
        let &[_, channel, high, low, ..] = bytes else {
            return Step::Need(FRAME_HEAD);
        };
        let end = FRAME_HEAD + usize::from(u16::from_be_bytes([high, low]));
        let Some(payload) = bytes.get(FRAME_HEAD..end) else {
            return Step::Need(end);
        };
        let next = bytes.get(end..).filter(|next| !next.is_empty()).unwrap_or(ahead);
        if !may_follow(next, sink) {
            match find_resume(bytes, 1, sink).filter(|(at, _)| *at < end) {
                Some((at, Looks::Yes)) => {
                    sink.handle_resync();
                    sink.handle_cut_frame(at);
                    return Step::Took(at);
                }
                Some((_, Looks::Maybe)) if !ahead.is_empty() => return Step::More,
                _ => {}
            }
        }
        sink.handle_frame(channel, payload);
        Step::Took(end)
    }

    fn step_message<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Step {
        let head_end = match scan_head(bytes, self.scanned) {
            HeadScan::End(end) if end <= MAX_HEAD => end,
            HeadScan::More if bytes.len() < MAX_HEAD => {
                self.scanned = bytes.len();
                return Step::More;
            }
            HeadScan::Bad => return self.lose(sink),
            HeadScan::End(_) | HeadScan::More => {
                sink.handle_oversize();
                return Step::Dead;
            }
        };
        let head = bytes.get(..head_end).unwrap_or_default();
        let first_line = head.split(|&b| b == b'\n').next().unwrap_or_default();
        if !crate::message::is_start_line(first_line) {
            return self.lose(sink);
        }
        let Some(length) = content_length(head).filter(|&length| length <= MAX_BODY) else {
            sink.handle_oversize();
            return Step::Dead;
        };
        let end = head_end + length;
        let Some(body) = bytes.get(head_end..end) else {
            return Step::Need(end);
        };
        sink.handle_message(head, body);
        Step::Took(end)
    }

    fn lose<S: Sink>(&mut self, sink: &mut S) -> Step {
        self.searching = true;
        sink.handle_resync();
        sink.handle_skipped(1);
        Step::Took(1)
    }

    fn search<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Step {
        match find_resume(bytes, 0, sink) {
            Some((0, Looks::Yes)) => {
                self.searching = false;
                Step::Took(0)
            }
            Some((0, _)) => Step::More,
            found => {
                let skipped = found.map_or(bytes.len(), |(at, _)| at);
                sink.handle_skipped(skipped);
                Step::Took(skipped)
            }
        }
    }
}
