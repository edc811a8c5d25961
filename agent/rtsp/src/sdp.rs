//! The session description (RFC 8866, RFC 2326 appendix C): what the agent must know of it, and the copy for
//! the viewer without the camera's addresses, paths and control URLs.

use crate::access_unit::Codec;

/// Media sections taken.
pub const MAX_MEDIA: usize = 16;

/// The kind of a media section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Video in this coding.
    Video(Codec),
    /// Audio, metadata, or anything else that may be silent for long.
    Other,
}

/// One media section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// What it carries.
    pub kind: Kind,
    /// Its `a=control`, as sent.
    pub control: Option<Vec<u8>>,
    /// The camera sends it (`a=sendonly` from the camera's view is a backchannel for the viewer).
    pub from_camera: bool,
}

/// A description understood and rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// What the viewer gets.
    pub text: Vec<u8>,
    /// The session's own `a=control`, as sent.
    pub control: Option<Vec<u8>>,
    /// The media sections in order.
    pub media: Vec<Media>,
}

/// The control token of a media section towards the viewer.
pub fn token(index: usize) -> String {
    format!("track{index}")
}

/// Reads a description and rewrites it for the viewer. `None` when it is no description at all.
pub fn rewrite(sdp: &[u8], name: &str) -> Option<Description> {
    let mut out = Description {
        text: Vec::with_capacity(sdp.len()),
        control: None,
        media: Vec::new(),
    };
    let mut seen_version = false;
    for line in sdp
        .split(|&b| b == b'\n' || b == b'\r')
        .filter(|line| !line.is_empty())
    {
        let (kind, value) = match line {
            [kind, b'=', value @ ..] if kind.is_ascii_lowercase() => (*kind, value),
            _ => continue,
        };
        seen_version |= kind == b'v';
        if !seen_version {
            continue;
        }
        if kind == b'm' && out.media.len() == MAX_MEDIA {
            break;
        }
        rewrite_line(&mut out, kind, value, name);
    }
    if !seen_version {
        return None;
    }
    end_section(&mut out);
    Some(out)
}

fn rewrite_line(out: &mut Description, kind: u8, value: &[u8], name: &str) {
    match kind {
        b'v' => push_line(out, b"v=", b"0"),
        b'o' => push_line(out, b"o=", &neutral_origin(value)),
        b's' => push_line(out, b"s=", name.as_bytes()),
        b'c' => push_line(out, b"c=", neutral_connection(value)),
        b'm' => {
            end_section(out);
            out.media.push(Media {
                kind: media_kind(value),
                control: None,
                from_camera: true,
            });
            push_line(out, b"m=", &without_port(value));
        }
        b'a' => rewrite_attribute(out, value),
        b'b' | b't' | b'r' | b'z' if !shows_address(value) => push_line(out, &[kind, b'='], value),
        // Free text, links and keys of the camera: paths, stream names, addresses.
        _ => {}
    }
}

fn rewrite_attribute(out: &mut Description, value: &[u8]) {
    let cut = value.iter().position(|&b| b == b':').unwrap_or(value.len());
    let (name, argument) = value.split_at(cut);
    let argument = argument.get(1..).unwrap_or_default().trim_ascii();
    if name.eq_ignore_ascii_case(b"control") {
        let control = match out.media.last_mut() {
            Some(media) => &mut media.control,
            None => &mut out.control,
        };
        control.get_or_insert_with(|| argument.to_vec());
        return;
    }
    if let Some(media) = out.media.last_mut() {
        let is_video = matches!(media.kind, Kind::Video(_));
        let codec = codec_of(argument).filter(|_| is_video && name.eq_ignore_ascii_case(b"rtpmap"));
        media.kind = codec.map_or(media.kind, Kind::Video);
        if name.eq_ignore_ascii_case(b"sendonly") {
            media.from_camera = false;
        }
    }
    // Parameter sets in Base64 may look like a path.
    let shows = if name.eq_ignore_ascii_case(b"fmtp") {
        shows_address
    } else {
        shows_place
    };
    if !shows(value) && !name.starts_with(b"x-qt-") && !name.eq_ignore_ascii_case(b"source-filter") {
        push_line(out, b"a=", value);
    }
}

/// The control line stands at the end of its section, whether the camera gave one or not.
fn end_section(out: &mut Description) {
    let control = match out.media.len().checked_sub(1) {
        None => String::from("control:*"),
        Some(index) => format!("control:{}", token(index)),
    };
    push_line(out, b"a=", control.as_bytes());
}

fn push_line(out: &mut Description, kind: &[u8], value: &[u8]) {
    out.text.extend_from_slice(kind);
    out.text.extend_from_slice(value);
    out.text.extend_from_slice(b"\r\n");
}

fn codec_of(rtpmap: &[u8]) -> Option<Codec> {
    let encoding = rtpmap.split(|&b| b == b' ').rfind(|part| !part.is_empty())?;
    let name = encoding.split(|&b| b == b'/').next()?;
    if name.eq_ignore_ascii_case(b"H264") {
        Some(Codec::H264)
    } else if name.eq_ignore_ascii_case(b"H265") || name.eq_ignore_ascii_case(b"HEVC") {
        Some(Codec::H265)
    } else {
        None
    }
}

fn media_kind(value: &[u8]) -> Kind {
    let kind = value.split(|&b| b == b' ').next().unwrap_or_default();
    if kind.eq_ignore_ascii_case(b"video") {
        Kind::Video(Codec::Other)
    } else {
        Kind::Other
    }
}

fn neutral_origin(value: &[u8]) -> Vec<u8> {
    let mut fields = value
        .split(|&b| b == b' ')
        .filter(|field| !field.is_empty())
        .skip(1);
    let mut number = || {
        let field = fields
            .next()
            .filter(|field| field.len() <= 20 && field.iter().all(u8::is_ascii_digit));
        String::from_utf8_lossy(field.unwrap_or(b"0")).into_owned()
    };
    let (id, version) = (number(), number());
    format!("- {id} {version} IN IP4 127.0.0.1").into_bytes()
}

fn neutral_connection(value: &[u8]) -> &'static [u8] {
    if value.windows(3).any(|w| w == b"IP6") {
        b"IN IP6 ::"
    } else {
        b"IN IP4 0.0.0.0"
    }
}

fn without_port(value: &[u8]) -> Vec<u8> {
    if shows_address(value) {
        return b"application 0 RTP/AVP 0".to_vec();
    }
    let mut out = Vec::with_capacity(value.len());
    for (i, field) in value.split(|&b| b == b' ').enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(if i == 1 { b"0" } else { field });
    }
    out
}

/// A URL, a dotted quad or an IPv6 address stands in the text. Base64 holds no dots and no colons.
pub(crate) fn shows_address(text: &[u8]) -> bool {
    if text.windows(3).any(|w| w == b"://") || text.windows(4).any(|w| w == b"IP6 ") {
        return true;
    }
    let is_number = |part: &[u8]| (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
    text.split(|b| !b.is_ascii_digit() && *b != b'.')
        .any(|run| run.split(|&b| b == b'.').filter(|part| is_number(part)).count() >= 4)
}

/// An address, or an absolute path: a word that begins with a slash.
pub(crate) fn shows_place(text: &[u8]) -> bool {
    let is_path = |pair: &[u8]| matches!(pair, [before, b'/'] if !before.is_ascii_alphanumeric());
    text.first() == Some(&b'/') || text.windows(2).any(is_path) || shows_address(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: &[u8] = b"v=0\r\no=- 17 1 IN IP4 192.168.1.64\r\ns=RTSP stream from 192.168.1.64\r\n\
i=/live/secret\r\nc=IN IP4 192.168.1.64\r\nt=0 0\r\na=tool:LIVE555\r\na=control:rtsp://192.168.1.64:554/live?ch=1/\r\n\
a=x-qt-text-inf:/live/secret\r\na=range:npt=now-\r\nm=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0IAKeKQFAe2AtwEBAaQeJEV,aM48gA==\r\n\
a=control:rtsp://192.168.1.64:554/live?ch=1/trackID=1\r\nm=audio 0 RTP/AVP 0\r\na=control:trackID=2\r\n\
m=audio 0 RTP/AVP 8\r\na=sendonly\r\nm=video 0 RTP/AVP 98\r\na=rtpmap:98 h265/90000\r\n";

    #[test]
    fn hides_the_camera_and_keeps_its_controls() {
        let sdp = rewrite(CAMERA, "main").unwrap();
        let text = String::from_utf8(sdp.text).unwrap();
        for hidden in ["192.168", "secret", "trackID", "554", "5004", "ch=1"] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
        assert!(
            text.starts_with("v=0\r\no=- 17 1 IN IP4 127.0.0.1\r\ns=main\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n")
        );
        assert!(text.contains("a=control:*\r\nm=video 0 RTP/AVP 96\r\n"), "{text}");
        assert!(text.contains(
            "sprop-parameter-sets=Z0IAKeKQFAe2AtwEBAaQeJEV,aM48gA==\r\na=control:track0\r\nm=audio"
        ));
        assert!(
            text.ends_with("a=rtpmap:98 h265/90000\r\na=control:track3\r\n"),
            "{text}"
        );
        assert_eq!(
            sdp.control.as_deref(),
            Some(&b"rtsp://192.168.1.64:554/live?ch=1/"[..])
        );
        let kinds: Vec<_> = sdp.media.iter().map(|media| media.kind).collect();
        assert_eq!(
            kinds,
            [
                Kind::Video(Codec::H264),
                Kind::Other,
                Kind::Other,
                Kind::Video(Codec::H265)
            ]
        );
        assert_eq!(sdp.media[1].control.as_deref(), Some(&b"trackID=2"[..]));
        assert_eq!(sdp.media[2].control, None);
        let directions: Vec<_> = sdp.media.iter().map(|media| media.from_camera).collect();
        assert_eq!(directions, [true, true, false, true]);
    }

    #[test]
    fn bounds_and_nonsense() {
        assert_eq!(rewrite(b"", "x"), None);
        assert_eq!(rewrite(b"<html>", "x"), None);
        let many = [b"v=0\n".to_vec(), b"m=video 0 RTP/AVP 96\n".repeat(100)].concat();
        assert_eq!(rewrite(&many, "x").unwrap().media.len(), MAX_MEDIA);
        let text = rewrite(
            b"v=0\no=\nc=IN IP6 fe80::1\na=rtcp:5 IN IP6 fe80::1\na=framerate:25.0\n",
            "x",
        )
        .unwrap()
        .text;
        assert_eq!(
            text,
            b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP6 ::\r\na=framerate:25.0\r\na=control:*\r\n"
        );
    }
}
