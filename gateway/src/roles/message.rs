//! What endpoint and streamer say to each other: one JSON object a line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Version of this language.
pub const VERSION: u32 = 3;
/// Longest line, in bytes: the rules of a large fleet.
pub const MAX_LINE_BYTES: u64 = 64 << 20;

/// Cameras, and the boots of their devices that answer.
pub type Boots = Vec<(String, Vec<String>)>;

/// Who a streamer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub v: u32,
    /// Unique in the fleet; tickets are for it.
    pub name: String,
    /// Where cameras reach it.
    pub uplink_url: String,
    /// Where viewers reach it.
    pub rtsp_url: Option<String>,
    /// Where programs reach it.
    pub http_url: Option<String>,
    /// How many cameras it takes.
    pub capacity: usize,
}

/// From a streamer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToEndpoint {
    /// First.
    Hello(Hello),
    /// All cameras that it has, after each change.
    Online(Vec<String>),
    /// It takes no more cameras.
    Draining,
    /// The answer to [`ToStreamer::Boots`].
    Boots(Boots),
    /// Cameras that it has seen to be two devices with one key.
    Cloned(Vec<String>),
    /// Nothing new.
    Alive,
}

/// To a streamer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToStreamer {
    /// Everything that holds from now on, after each change.
    Rules(Box<Rules>),
    /// Let a camera go: it is placed elsewhere.
    Move {
        /// Its name.
        camera: String,
        /// Where to; its endpoint if there is none.
        target: Option<String>,
    },
    /// Say which boots of these cameras answer: they are at two places.
    Boots(Vec<String>),
    /// Nothing new.
    Alive,
}

/// An address may have a ticket in it.
impl fmt::Debug for ToStreamer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules(rules) => rules.fmt(f),
            Self::Move { camera, .. } => write!(f, "Move({camera:?})"),
            Self::Boots(cameras) => write!(f, "Boots({cameras:?})"),
            Self::Alive => f.write_str("Alive"),
        }
    }
}

/// What a streamer has to know. It holds secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The operator's public key, in hex.
    pub operator: String,
    /// Makes resume credentials, in hex.
    pub resume_key: String,
    /// Proves playback addresses, in hex.
    pub link_key: String,
    /// Whose playback addresses count, and for which cameras; `None` for all.
    pub link_issuers: BTreeMap<String, Option<BTreeSet<String>>>,
    /// Whose the cameras are that an account has.
    #[serde(default)]
    pub owners: BTreeMap<String, String>,
    /// Digest realm.
    pub realm: String,
    /// By user name.
    pub viewers: BTreeMap<String, RuleViewer>,
    /// Claimed cameras, and whether they may be watched.
    pub cameras: BTreeMap<String, bool>,
    /// The keys that each of them may have, in hex: a name may be another camera's by now.
    #[serde(default)]
    pub keys: BTreeMap<String, BTreeSet<String>>,
    /// Claimed cameras that the operator's own system says no to.
    #[serde(default)]
    pub suspended: BTreeSet<String>,
    /// Keys (in hex) whose resume credentials issued until then are void.
    pub revoked: BTreeMap<String, u64>,
    /// Where cameras go that a streamer does not take.
    pub endpoint_url: String,
    /// Where viewers go whose camera is not here.
    pub endpoint_rtsp_url: Option<String>,
    /// Where programs go whose camera is not here.
    pub endpoint_http_url: Option<String>,
    /// Addresses of all streamers, by name.
    pub streamers: BTreeMap<String, String>,
    /// Addresses of those that were lost a while ago and may be back when they are needed.
    #[serde(default)]
    pub lost: BTreeMap<String, String>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("cameras", &self.cameras.len())
            .field("viewers", &self.viewers.len())
            .finish_non_exhaustive()
    }
}

/// A user of RTSP.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleViewer {
    /// Hash of the password.
    pub md5: Option<String>,
    /// Hash of the password.
    pub sha256: Option<String>,
    /// Only these; `None` for all.
    pub cameras: Option<Vec<String>>,
}

impl fmt::Debug for RuleViewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuleViewer(redacted)")
    }
}

/// Writes one message.
///
/// # Errors
/// Of the connection.
pub async fn write<W: AsyncWrite + Unpin>(writer: &mut W, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    writer.flush().await
}

/// Reads one message; `None` at the end of the connection.
///
/// # Errors
/// Of the connection, or a line that is too long or no message.
pub async fn read<R, T>(reader: &mut R) -> io::Result<Option<T>>
where
    R: AsyncBufRead + Unpin,
    T: DeserializeOwned,
{
    let mut line = Vec::new();
    if reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "no message of ours");
    if line.last() != Some(&b'\n') {
        return Err(odd());
    }
    serde_json::from_slice(&line).map(Some).map_err(|_| odd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_the_rest_is_refused() {
        let mut wire = Vec::new();
        let said = ToEndpoint::Online(vec!["front".into()]);
        write(&mut wire, &said).await.unwrap();
        write(&mut wire, &ToEndpoint::Alive).await.unwrap();
        wire.extend_from_slice(b"{\"other\":1}\n");
        let mut reader = &wire[..];
        assert_eq!(read(&mut reader).await.unwrap(), Some(said));
        assert_eq!(read(&mut reader).await.unwrap(), Some(ToEndpoint::Alive));
        assert!(read::<_, ToEndpoint>(&mut reader).await.is_err());
        assert_eq!(read::<_, ToEndpoint>(&mut reader).await.unwrap(), None);
        assert!(
            read::<_, ToEndpoint>(&mut &b"\"alive\""[..]).await.is_err(),
            "cut"
        );
    }
}
