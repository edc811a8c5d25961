//! The endpoint's end of a control connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::message::{Hello, Rules, ToEndpoint, ToStreamer, VERSION, read, write};
use crate::clock::unix_now;
use crate::config::is_name;
use crate::fleet::Fleet;

/// Time for a streamer to say who it is.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// Each end says something at least this often.
pub const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// A silent end is given up after this.
pub const SILENCE: Duration = Duration::from_secs(30);
/// How often is looked for changes that nobody announces.
const LOOK: Duration = Duration::from_secs(1);
/// Time for one message to leave.
const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// Messages that were read and wait to be handled.
pub const MAX_READ: usize = 16;

/// Reads messages on a task of its own, since a message that is read halfway must not be given up.
pub fn spawn_reader<R, T>(reader: R) -> mpsc::Receiver<T>
where
    R: AsyncRead + Unpin + Send + 'static,
    T: serde::de::DeserializeOwned + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(MAX_READ);
    tokio::spawn(async move {
        let mut reader = BufReader::new(reader);
        loop {
            let message = tokio::select! {
                message = read(&mut reader) => message,
                () = sender.closed() => return,
            };
            match message {
                Ok(Some(message)) => {
                    if sender.send(message).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return debug!(%error, "control connection"),
            }
        }
    });
    receiver
}

/// Serves one streamer to the end of its connection. It has shown the join token.
pub async fn serve<S>(stream: S, fleet: Arc<Fleet>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let mut said = spawn_reader::<_, ToEndpoint>(reader);
    let hello = match timeout(HELLO_DEADLINE, said.recv()).await {
        Ok(Some(ToEndpoint::Hello(hello))) if is_good(&hello) => hello,
        Ok(_) | Err(_) => {
            return warn!("a streamer with the join token did not say who it is, or is of another version");
        }
    };
    let name = hello.name.clone();
    let Some((id, mut orders)) = fleet.streamers().join(hello) else {
        return warn!(streamer = name, "too many streamers");
    };
    info!(streamer = name, "streamer joined");
    let end = tokio::select! {
        end = drive(&mut writer, &mut said, &mut orders, &fleet, &name, id) => end,
        _ = stop.wait_for(|stop| *stop) => "the gateway stops",
    };
    fleet.streamers().leave(unix_now(), &name, id);
    info!(streamer = name, reason = end, "streamer left");
}

async fn drive<W: AsyncWrite + Unpin>(
    writer: &mut W,
    said: &mut mpsc::Receiver<ToEndpoint>,
    orders: &mut mpsc::Receiver<ToStreamer>,
    fleet: &Arc<Fleet>,
    name: &str,
    id: u64,
) -> &'static str {
    let mut rules = fleet.policy();
    let mut told: Option<Rules> = None;
    let mut look = interval(LOOK);
    let mut alive = interval(ALIVE_EVERY);
    let mut heard = Instant::now();
    loop {
        let message = tokio::select! {
            message = said.recv() => {
                heard = Instant::now();
                match message {
                    Some(ToEndpoint::Online(cameras)) => fleet.streamers().handle_online(name, id, cameras),
                    Some(ToEndpoint::Draining) => fleet.streamers().handle_draining(name, id),
                    Some(ToEndpoint::Boots(told)) => fleet.handle_boots_told(name, &told),
                    Some(ToEndpoint::Cloned(cameras)) => fleet.handle_clones_told(name, &cameras),
                    Some(ToEndpoint::Alive) => {}
                    Some(ToEndpoint::Hello(_)) => return "it said who it is twice",
                    None => return "its connection has ended",
                }
                continue;
            }
            order = orders.recv() => match order {
                Some(order) => Some(order),
                None => return "it has joined anew",
            },
            // What is released must be known at once.
            Ok(()) = rules.changed() => news(&mut told, fleet),
            _ = look.tick() => news(&mut told, fleet),
            _ = alive.tick() => Some(ToStreamer::Alive),
            () = sleep_until(heard + SILENCE) => return "it was silent",
        };
        let Some(message) = message else { continue };
        match timeout(WRITE_DEADLINE, write(writer, &message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return "it takes nothing",
        }
    }
}

/// The rules, if they differ from those that were told.
fn news(told: &mut Option<Rules>, fleet: &Fleet) -> Option<ToStreamer> {
    let rules = fleet.rules();
    if told.as_ref() == Some(&rules) {
        return None;
    }
    *told = Some(rules.clone());
    Some(ToStreamer::Rules(Box::new(rules)))
}

fn is_good(hello: &Hello) -> bool {
    let plain =
        |url: &String| url.len() <= 2048 && url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'>');
    hello.v == VERSION
        && is_name(&hello.name)
        && plain(&hello.uplink_url)
        && [&hello.rtsp_url, &hello.http_url]
            .into_iter()
            .flatten()
            .all(plain)
}
