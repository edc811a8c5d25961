//! Headers on their way through: allow-lists both ways, `RTP-Info`.

use crate::message::Message;
use crate::sdp::{shows_address, token};
use crate::uri::path_and_query;

/// Request headers that reach the camera. Not among them: Authorization, User-Agent, Session and CSeq, which
/// are the agent's own, and everything that tells where the viewer came from.
const TO_CAMERA: [&str; 14] = [
    "Accept",
    "Bandwidth",
    "Blocksize",
    "Cache-Control",
    "Content-Type",
    "Frames",
    "Immediate",
    "Range",
    "Rate-Control",
    "Require",
    "Scale",
    "Speed",
    "Supported",
    "Transport",
];

/// Response headers that reach the viewer as they are.
const TO_VIEWER: [&str; 12] = [
    "Allow",
    "Bandwidth",
    "Blocksize",
    "Cache-Control",
    "Content-Language",
    "Date",
    "Range",
    "Rate-Control",
    "Retry-After",
    "Scale",
    "Speed",
    "Unsupported",
];

pub(super) fn request_headers(request: &Message) -> Vec<(&'static str, Vec<u8>)> {
    pick(&TO_CAMERA, request)
}

pub(super) fn response_headers(response: &Message) -> Vec<(&'static str, Vec<u8>)> {
    let mut headers = pick(&TO_VIEWER, response);
    headers.retain(|(_, value)| !shows_address(value));
    headers
}

fn pick(names: &[&'static str], message: &Message) -> Vec<(&'static str, Vec<u8>)> {
    let known = |(name, value): &(String, Vec<u8>)| {
        let name = names.iter().find(|known| known.eq_ignore_ascii_case(name))?;
        Some((*name, value.clone()))
    };
    message.headers.iter().filter_map(known).collect()
}

/// The id of a `Session` value, without its parameters.
pub(super) fn session_id(value: &[u8]) -> &[u8] {
    value
        .split(|&b| b == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii()
}

/// `RTP-Info` (RFC 2326 section 12.33) with the camera's URLs replaced by the viewer's. An entry whose URL is
/// none of the controls is taken by its place among the tracks that were set up.
pub(super) fn rtp_info(value: &[u8], controls: &[(usize, &[u8])], base: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for (place, entry) in entries(value).into_iter().enumerate() {
        let (url, rest) = split_url(entry);
        let by_url = controls.iter().find(|(_, control)| same_control(control, url));
        let Some((media, _)) = by_url.or_else(|| controls.get(place)) else {
            continue;
        };
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(b"url=");
        out.extend_from_slice(base);
        out.push(b'/');
        out.extend_from_slice(token(*media).as_bytes());
        for param in rest
            .split(|&b| b == b';')
            .map(<[u8]>::trim_ascii)
            .filter(|param| is_number_param(param))
        {
            out.push(b';');
            out.extend_from_slice(param);
        }
    }
    out
}

fn is_number_param(param: &[u8]) -> bool {
    let number = param
        .strip_prefix(b"seq=")
        .or_else(|| param.strip_prefix(b"rtptime="));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Entries begin with `url=`; a URL may hold commas.
fn entries(value: &[u8]) -> Vec<&[u8]> {
    let is_start = |at: usize| {
        value
            .get(at..at + 4)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"url="))
            && value
                .get(..at)
                .unwrap_or_default()
                .trim_ascii_end()
                .last()
                .is_none_or(|&b| b == b',')
    };
    let starts: Vec<usize> = (0..value.len())
        .filter(|&at| is_start(at))
        .take(crate::sdp::MAX_MEDIA)
        .collect();
    let ends = starts.iter().skip(1).copied().chain([value.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(&start, end)| value.get(start + 4..end))
        .collect()
}

/// The URL, and the parameters after it. A URL may hold semicolons, so the known parameters end it.
fn split_url(entry: &[u8]) -> (&[u8], &[u8]) {
    let entry = entry.trim_ascii_end();
    let entry = entry.strip_suffix(b",").unwrap_or(entry);
    let is_param = |at: usize| {
        let param = entry.get(at + 1..).unwrap_or_default().trim_ascii_start();
        param.starts_with(b"seq=") || param.starts_with(b"rtptime=")
    };
    let end = (0..entry.len())
        .find(|&at| entry.get(at) == Some(&b';') && is_param(at))
        .unwrap_or(entry.len());
    let (url, rest) = entry.split_at(end);
    (url.trim_ascii(), rest)
}

fn same_control(control: &[u8], url: &[u8]) -> bool {
    control == url
        || (!url.is_empty() && path_and_query(control) == path_and_query(url))
        || (!url.contains(&b'/') && !url.is_empty() && control.rsplit(|&b| b == b'/').next() == Some(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_info_follows_the_controls() {
        let controls: [(usize, &[u8]); 2] = [
            (0, b"rtsp://10.0.0.1/a;b/t=1?x,y"),
            (2, b"rtsp://10.0.0.1/a;b/t=2"),
        ];
        let info = |value: &[u8]| String::from_utf8(rtp_info(value, &controls, b"rtsp://gw/main")).unwrap();
        assert_eq!(
            info(
                b"url=rtsp://192.168.0.9:554/a;b/t=2;seq=5;rtptime=7, url=rtsp://10.0.0.1/a;b/t=1?x,y;seq=1"
            ),
            "url=rtsp://gw/main/track2;seq=5;rtptime=7,url=rtsp://gw/main/track0;seq=1"
        );
        assert_eq!(
            info(b"url=t=2;rtptime=9;ssrc=1;seq=x"),
            "url=rtsp://gw/main/track2;rtptime=9"
        );
        assert_eq!(info(b"url=nonsense;seq=4"), "url=rtsp://gw/main/track0;seq=4");
        assert_eq!(
            info(b"url=;seq=1,url=;seq=2,url=;seq=3").matches("url=").count(),
            2
        );
        assert_eq!(info(b"seq=1"), "");
        assert_eq!(info(b",,,url="), "url=rtsp://gw/main/track0");
    }
}
