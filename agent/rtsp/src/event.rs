//! What a session asks of its caller and tells it.

use core::fmt;

/// One UDP socket of a pair the caller opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UdpId {
    /// The pair, as named in [`Event::OpenUdp`].
    pub pair: u8,
    /// False for the RTP socket, true for the RTCP socket.
    pub rtcp: bool,
}

/// A datagram to send to the camera's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The socket to send from.
    pub socket: UdpId,
    /// The camera's port.
    pub port: u16,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Why the camera's connection is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraError {
    /// The camera closed an established connection.
    Closed,
    /// The camera refused the connection.
    Refused,
    /// No route, or the address could not be used.
    Unreachable,
    /// The connection attempt or the connection timed out.
    TimedOut,
    /// Anything else the operating system said.
    Io,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The viewer went away.
    ViewerClosed,
    /// [`Session::close`](crate::Session::close) was called.
    Closed,
    /// The camera could not be reached.
    CameraUnreachable(CameraError),
    /// The camera closed its connection.
    CameraClosed,
    /// The camera sent what no RTSP server sends.
    CameraProtocol,
    /// No RTP came while playing.
    MediaStalled,
    /// The camera no longer knows the RTSP session.
    SessionLost,
    /// The viewer broke a bound (requests, header or body size).
    ViewerProtocol,
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ViewerClosed => "the viewer closed",
            Self::Closed => "closed by the agent",
            Self::CameraUnreachable(CameraError::Refused) => {
                "the camera refused the connection; is its RTSP server running on the configured port?"
            }
            Self::CameraUnreachable(_) => "the camera cannot be reached",
            Self::CameraClosed => "the camera closed the connection",
            Self::CameraProtocol => "the camera broke RTSP",
            Self::MediaStalled => "the camera stopped sending media",
            Self::SessionLost => "the camera lost the session",
            Self::ViewerProtocol => "the viewer broke RTSP",
        })
    }
}

/// Something worth a log line. Holds no secret and no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The camera refused the configured credential.
    CredentialRefused {
        /// The profile concerned.
        profile: String,
    },
    /// The camera wants a credential and the profile has none.
    CredentialMissing {
        /// The profile concerned.
        profile: String,
    },
    /// The camera's challenge is none we can answer.
    ChallengeUnsupported {
        /// The profile concerned.
        profile: String,
    },
    /// The camera did not answer in time.
    ResponseTimeout {
        /// The method that stayed unanswered.
        method: String,
    },
    /// No RTP came while playing.
    MediaStalled,
    /// The camera refuses interleaved RTP; it is asked for UDP over loopback instead.
    UdpFallback,
    /// The camera refused this keep-alive method; another is used.
    KeepAliveRefused {
        /// The method that was refused.
        method: &'static str,
    },
    /// The camera redirected within itself.
    Redirected,
    /// The camera sent a message beyond our bounds.
    CameraOversize,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CredentialRefused { profile } => {
                write!(
                    f,
                    "profile {profile}: the camera refused the configured user and password"
                )
            }
            Self::CredentialMissing { profile } => {
                write!(
                    f,
                    "profile {profile}: the camera wants a password; set `user` and `password_file`"
                )
            }
            Self::ChallengeUnsupported { profile } => {
                write!(
                    f,
                    "profile {profile}: the camera wants a kind of authentication that is not supported"
                )
            }
            Self::ResponseTimeout { method } => write!(f, "the camera did not answer {method} in time"),
            Self::MediaStalled => f.write_str("the camera stopped sending media"),
            Self::UdpFallback => f.write_str("the camera refuses RTP over TCP; using UDP over loopback"),
            Self::KeepAliveRefused { method } => {
                write!(
                    f,
                    "the camera refused {method} as keep-alive; using another method"
                )
            }
            Self::Redirected => f.write_str("the camera redirected to another of its own paths"),
            Self::CameraOversize => f.write_str("the camera sent an RTSP message that is too large"),
        }
    }
}

/// What the caller must do or may log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Connect to the camera by TCP, then call `handle_camera_connected` or `handle_camera_closed`.
    Connect {
        /// IP literal (IPv6 without brackets) or `localhost`.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Close the camera's connection, after writing what `poll_camera` still holds.
    Disconnect,
    /// Open two UDP sockets towards the camera's host, RTP on an even port and RTCP on the next, then call
    /// `handle_udp_ready` or `handle_udp_failed`.
    OpenUdp {
        /// Name of the pair in later calls.
        pair: u8,
    },
    /// Close a pair of UDP sockets.
    CloseUdp {
        /// The pair.
        pair: u8,
    },
    /// Log this.
    Notice(Notice),
    /// The session is over. Bytes that `viewer_pending` still reports may be delivered before the viewer's
    /// side is closed; nothing else will come.
    Finished {
        /// Why.
        reason: FinishReason,
    },
}
