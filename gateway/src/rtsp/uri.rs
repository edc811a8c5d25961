//! What viewers call a profile, and what the agent calls it.
//!
//! Outside: `rtsp://HOST:PORT/<camera>/<profile>[/<control>][?query]`. Inside, on the uplink:
//! `rtsp://lenscap/<profile>[/<control>][?query]`. URIs are cut and joined, never normalised: Digest and
//! cameras' control paths both depend on the exact bytes.

/// The authority of inner URIs; the agent ignores it.
pub const INNER_AUTHORITY: &str = "lenscap";

/// A request URI of a viewer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ViewerUri<'a> {
    /// `rtsp` or `rtsps`, as written.
    pub scheme: &'a str,
    /// Host and port as the viewer addressed the gateway, without user information.
    pub authority: &'a str,
    /// First path segment.
    pub camera: &'a str,
    /// Second path segment.
    pub profile: &'a str,
    /// Everything after the profile: empty, or with its leading `/` or `?`.
    pub rest: &'a str,
}

impl std::fmt::Debug for ViewerUri<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A playback address has its right in the rest.
        f.debug_struct("ViewerUri")
            .field("camera", &self.camera)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl<'a> ViewerUri<'a> {
    /// Takes an absolute RTSP URI apart; `None` if it names no camera and profile.
    #[must_use]
    pub fn parse(uri: &'a str) -> Option<Self> {
        let (scheme, after) = split_scheme(uri)?;
        let slash = after.find('/')?;
        let (authority, path) = after.split_at(slash);
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let (camera, after) = path[1..].split_once('/')?;
        let end = after.find(['/', '?']).unwrap_or(after.len());
        let (profile, rest) = after.split_at(end);
        let named =
            !authority.is_empty() && !camera.is_empty() && !profile.is_empty() && !camera.contains('?');
        named.then_some(Self {
            scheme,
            authority,
            camera,
            profile,
            rest,
        })
    }

    /// The URI that the agent gets.
    #[must_use]
    pub fn inner(&self) -> String {
        format!("rtsp://{INNER_AUTHORITY}/{}{}", self.profile, self.rest)
    }

    /// What inner paths are appended to on the way out.
    #[must_use]
    pub fn public_base(&self) -> String {
        format!("{}://{}/{}", self.scheme, self.authority, self.camera)
    }
}

fn split_scheme(uri: &str) -> Option<(&str, &str)> {
    let (scheme, after) = uri.split_once("://")?;
    (scheme.eq_ignore_ascii_case("rtsp") || scheme.eq_ignore_ascii_case("rtsps")).then_some((scheme, after))
}

/// Length of scheme and authority if `url` begins with an absolute RTSP URL.
fn origin_len(url: &[u8]) -> Option<usize> {
    let scheme = [&b"rtsp://"[..], b"rtsps://"]
        .into_iter()
        .find(|scheme| url.len() >= scheme.len() && url[..scheme.len()].eq_ignore_ascii_case(scheme))?;
    let authority = &url[scheme.len()..];
    let end = authority
        .iter()
        .position(|byte| b"/?;,\" ".contains(byte))
        .unwrap_or(authority.len());
    Some(scheme.len() + end)
}

/// Rewrites one URL of a reply to the public one; a relative URL stays.
#[must_use]
pub fn outward(url: &[u8], public_base: &str) -> Vec<u8> {
    match origin_len(url) {
        Some(len) => [public_base.as_bytes(), &url[len..]].concat(),
        None => url.to_vec(),
    }
}

/// Rewrites every `url=` of an RTP-Info value (RFC 2326 section 12.33).
#[must_use]
pub fn outward_rtp_info(value: &[u8], public_base: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + public_base.len());
    let mut rest = value;
    while let Some(at) = find_url(rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        if let Some(len) = origin_len(rest) {
            out.extend_from_slice(public_base.as_bytes());
            rest = &rest[len..];
        }
    }
    out.extend_from_slice(rest);
    out
}

/// Where the next URL after `url=` begins.
fn find_url(value: &[u8]) -> Option<usize> {
    let at = value
        .windows(4)
        .position(|window| window.eq_ignore_ascii_case(b"url="))?
        + 4;
    Some(if value.get(at) == Some(&b'"') { at + 1 } else { at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cuts_and_joins() {
        let uri = ViewerUri::parse("rtsp://a:b@gw.example:8554/front/main/trackID=1?x=/y").unwrap();
        assert_eq!(
            (uri.authority, uri.camera, uri.profile),
            ("gw.example:8554", "front", "main")
        );
        assert_eq!(uri.inner(), "rtsp://lenscap/main/trackID=1?x=/y");
        assert_eq!(uri.public_base(), "rtsp://gw.example:8554/front");
        let uri = ViewerUri::parse("RTSP://[::1]:8554/front/main?sub=1").unwrap();
        assert_eq!(uri.inner(), "rtsp://lenscap/main?sub=1");
        for bad in [
            "*",
            "/front/main",
            "rtsp://h",
            "rtsp://h/",
            "rtsp://h/front",
            "rtsp://h/front/",
            "http://h/a/b",
            "rtsp:///a/b",
            "rtsp://h//b",
        ] {
            assert_eq!(ViewerUri::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn rewrites_replies() {
        let base = "rtsp://gw:1/front";
        assert_eq!(outward(b"rtsp://lenscap/main/", base), b"rtsp://gw:1/front/main/");
        assert_eq!(outward(b"trackID=1", base), b"trackID=1");
        assert_eq!(
            outward_rtp_info(
                b"url=rtsp://lenscap/main/a;seq=1;rtptime=2, URL=\"rtsp://lenscap/main/b\",url=c;seq=3",
                base
            ),
            b"url=rtsp://gw:1/front/main/a;seq=1;rtptime=2, URL=\"rtsp://gw:1/front/main/b\",url=c;seq=3"
        );
    }

    proptest! {
        #[test]
        fn never_panics(value in proptest::collection::vec(any::<u8>(), 0..100), text in ".{0,60}") {
            let _ = outward(&value, "rtsp://x/y");
            let _ = outward_rtp_info(&value, "rtsp://x/y");
            let _ = ViewerUri::parse(&text);
            let _ = ViewerUri::parse(&format!("rtsp://{text}"));
        }
    }
}
