//! The endpoint's table of streamers: who has which camera, and where the next one goes. No clock of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::mpsc;

use super::message::{Hello, ToStreamer};

/// Most streamers at a time.
pub const MAX_STREAMERS: usize = 256;
/// Messages that wait for one streamer.
pub const MAX_WAITING: usize = 64;
/// A camera that was sent somewhere counts there until it has come, or for so long.
const PROMISED_SECONDS: u64 = 60;
/// For how long a streamer that was lost is named to cameras: it is likely to come back, and theirs may be lost then.
const LOST_SECONDS: u64 = 3600;
/// Most other streamers that a camera is told of.
pub const MAX_ALTERNATES: usize = 4;

#[derive(Debug)]
struct Joined {
    id: u64,
    hello: Hello,
    online: BTreeSet<String>,
    /// Camera to when it counts no more.
    promised: BTreeMap<String, u64>,
    draining: bool,
    sender: mpsc::Sender<ToStreamer>,
}

impl Joined {
    /// In thousandths of its capacity.
    fn load(&self, now: u64) -> usize {
        let promised = self
            .promised
            .iter()
            .filter(|(camera, until)| **until > now && !self.online.contains(*camera));
        (self.online.len() + promised.count()) * 1000 / self.hello.capacity.max(1)
    }
}

/// Where a camera goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// To this process itself.
    Here,
    /// To the first of these; the others are alternates, in order.
    There(Vec<Hello>),
    /// Nobody takes it.
    Nowhere,
}

/// A streamer as shown.
#[derive(Debug, Serialize)]
pub struct StreamerView {
    /// Its name.
    pub name: String,
    /// Where cameras reach it.
    pub uplink_url: String,
    /// Cameras that it has.
    pub cameras: usize,
    /// Cameras that it takes.
    pub capacity: usize,
    /// It takes no more.
    pub draining: bool,
}

#[derive(Debug, Default)]
struct Table {
    last_id: u64,
    joined: BTreeMap<String, Joined>,
    /// Addresses of those that were lost, and when.
    lost: BTreeMap<String, (String, u64)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Streamers(Mutex<Table>);

impl Streamers {
    /// A streamer has joined; gives its number, and what it is to be told. One of the same name is put out: it is the
    /// same one, come back before its old connection was missed.
    pub fn join(&self, hello: Hello) -> Option<(u64, mpsc::Receiver<ToStreamer>)> {
        let mut table = self.table();
        if table.joined.len() >= MAX_STREAMERS && !table.joined.contains_key(&hello.name) {
            return None;
        }
        table.last_id += 1;
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let id = table.last_id;
        let joined = Joined {
            id,
            online: BTreeSet::new(),
            promised: BTreeMap::new(),
            draining: false,
            sender,
            hello: hello.clone(),
        };
        table.lost.remove(&hello.name);
        table.joined.insert(hello.name, joined);
        Some((id, receiver))
    }

    /// Its connection has ended. One that said before that it would is not missed.
    pub fn leave(&self, now: u64, name: &str, id: u64) {
        let mut table = self.table();
        if table.joined.get(name).is_none_or(|joined| joined.id != id) {
            return;
        }
        let left = table.joined.remove(name).filter(|joined| !joined.draining);
        table.lost.retain(|_, (_, since)| *since + LOST_SECONDS > now);
        if let Some(joined) = left
            && table.lost.len() < MAX_STREAMERS
        {
            table.lost.insert(name.to_owned(), (joined.hello.uplink_url, now));
        }
    }

    /// Addresses of those that were lost in the last hour, by name.
    #[must_use]
    pub fn lost(&self, now: u64) -> BTreeMap<String, String> {
        let table = self.table();
        let lost = table
            .lost
            .iter()
            .filter(|(_, (_, since))| *since + LOST_SECONDS > now);
        lost.map(|(name, (url, _))| (name.clone(), url.clone())).collect()
    }

    /// Which cameras it has.
    pub fn handle_online(&self, name: &str, id: u64, cameras: Vec<String>) {
        self.with(name, id, |joined| {
            joined.online = cameras.into_iter().collect();
            let online = &joined.online;
            joined.promised.retain(|camera, _| !online.contains(camera));
        });
    }

    /// It takes no more.
    pub fn handle_draining(&self, name: &str, id: u64) {
        self.with(name, id, |joined| joined.draining = true);
    }

    /// Places a camera: where it was before, or where there is the most room. `here`: the load of this process in
    /// thousandths, if it carries media too.
    #[must_use]
    pub fn place(&self, now: u64, camera: &str, before: Option<&str>, here: Option<usize>) -> Placed {
        let mut table = self.table();
        for joined in table.joined.values_mut() {
            joined.promised.retain(|_, until| *until > now);
        }
        let mut free: Vec<(usize, String)> = table
            .joined
            .iter()
            .filter(|(_, joined)| !joined.draining && joined.load(now) < 1000)
            .map(|(name, joined)| (joined.load(now), name.clone()))
            .collect();
        free.sort();
        if let Some(at) = before.and_then(|before| free.iter().position(|(_, name)| name == before)) {
            let first = free.remove(at);
            free.insert(0, first);
        } else if here.is_some_and(|here| free.first().is_none_or(|(load, _)| here <= *load)) {
            return Placed::Here;
        }
        let Some((_, first)) = free.first() else {
            return if here.is_some() {
                Placed::Here
            } else {
                Placed::Nowhere
            };
        };
        if let Some(joined) = table.joined.get_mut(first) {
            joined.promised.insert(camera.to_owned(), now + PROMISED_SECONDS);
        }
        let names = free.iter().take(1 + MAX_ALTERNATES);
        Placed::There(
            names
                .filter_map(|(_, name)| Some(table.joined.get(name)?.hello.clone()))
                .collect(),
        )
    }

    /// The cameras that more than one streamer says it has, or one of them and this process, which has those of `here`;
    /// and those streamers. `limit` of them at most.
    #[must_use]
    pub fn at_two_places(&self, here: &BTreeSet<String>, limit: usize) -> Vec<(String, Vec<String>)> {
        let table = self.table();
        let mut places: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
        for (name, joined) in &table.joined {
            for camera in &joined.online {
                places.entry(camera).or_default().push(name);
            }
        }
        let twice =
            |(camera, at): &(&String, Vec<&String>)| at.len() + usize::from(here.contains(*camera)) > 1;
        let owned =
            |(camera, at): (&String, Vec<&String>)| (camera.clone(), at.into_iter().cloned().collect());
        places.into_iter().filter(twice).map(owned).take(limit).collect()
    }

    /// All cameras that streamers have.
    #[must_use]
    pub fn online(&self) -> BTreeSet<String> {
        let table = self.table();
        table
            .joined
            .values()
            .flat_map(|joined| &joined.online)
            .cloned()
            .collect()
    }

    /// The streamer that has a camera.
    #[must_use]
    pub fn locate(&self, camera: &str) -> Option<Hello> {
        let table = self.table();
        let has = |joined: &&Joined| joined.online.contains(camera);
        table.joined.values().find(has).map(|joined| joined.hello.clone())
    }

    /// True if this streamer has the camera.
    #[must_use]
    pub fn has(&self, name: &str, camera: &str) -> bool {
        let table = self.table();
        table
            .joined
            .get(name)
            .is_some_and(|joined| joined.online.contains(camera))
    }

    /// Tells a streamer something; false if it is not there, or does not listen.
    #[must_use]
    pub fn tell(&self, name: &str, message: ToStreamer) -> bool {
        let table = self.table();
        table
            .joined
            .get(name)
            .is_some_and(|joined| joined.sender.try_send(message).is_ok())
    }

    /// Addresses of all that take cameras, by name.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<String, String> {
        let table = self.table();
        let open = table.joined.iter().filter(|(_, joined)| !joined.draining);
        open.map(|(name, joined)| (name.clone(), joined.hello.uplink_url.clone()))
            .collect()
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> Vec<StreamerView> {
        let view = |joined: &Joined| StreamerView {
            name: joined.hello.name.clone(),
            uplink_url: joined.hello.uplink_url.clone(),
            cameras: joined.online.len(),
            capacity: joined.hello.capacity,
            draining: joined.draining,
        };
        self.table().joined.values().map(view).collect()
    }

    fn with(&self, name: &str, id: u64, act: impl FnOnce(&mut Joined)) {
        if let Some(joined) = self.table().joined.get_mut(name).filter(|joined| joined.id == id) {
            act(joined);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: &str, capacity: usize) -> Hello {
        Hello {
            v: crate::roles::message::VERSION,
            name: name.into(),
            uplink_url: format!("https://{name}.example/"),
            rtsp_url: None,
            http_url: None,
            capacity,
        }
    }

    fn first(placed: Placed) -> String {
        match placed {
            Placed::There(list) => list[0].name.clone(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn least_loaded_and_sticky() {
        let streamers = Streamers::default();
        let (one, _r1) = streamers.join(hello("s1", 10)).unwrap();
        let (two, _r2) = streamers.join(hello("s2", 10)).unwrap();
        let place = |camera: &str, before| first(streamers.place(100, camera, before, None));
        // Before any of them has come: what was promised counts.
        let placed: Vec<String> = (0..4).map(|n| place(&format!("c{n}"), None)).collect();
        assert_eq!(placed, ["s1", "s2", "s1", "s2"]);
        streamers.handle_online("s1", one, (0..5).map(|n| format!("c{n}")).collect());
        assert_eq!(place("new", None), "s2");
        assert_eq!(place("old", Some("s1")), "s1", "where it was");
        assert_eq!(place("old", Some("gone")), "s2");
        streamers.handle_draining("s1", one);
        assert_eq!(place("old", Some("s1")), "s2");
        streamers.handle_online("s2", two, (0..10).map(|n| format!("d{n}")).collect());
        assert_eq!(streamers.place(100, "x", None, None), Placed::Nowhere, "full");
        assert_eq!(streamers.locate("d3").unwrap().name, "s2");
        streamers.leave(100, "s2", two + 7);
        assert!(
            streamers.locate("d3").is_some(),
            "an old connection's end is not the new one's"
        );
        streamers.leave(100, "s2", two);
        assert!(streamers.locate("d3").is_none());
    }

    #[test]
    fn one_that_was_lost_is_named_for_an_hour_and_one_that_left_is_not() {
        let streamers = Streamers::default();
        let (one, _r1) = streamers.join(hello("s1", 10)).unwrap();
        let (two, _r2) = streamers.join(hello("s2", 10)).unwrap();
        streamers.handle_draining("s2", two);
        streamers.leave(100, "s1", one);
        streamers.leave(100, "s2", two);
        assert_eq!(
            streamers.lost(100 + LOST_SECONDS - 1),
            [("s1".to_owned(), "https://s1.example/".to_owned())].into()
        );
        assert!(streamers.lost(100 + LOST_SECONDS).is_empty());
        let _back = streamers.join(hello("s1", 10)).unwrap();
        assert!(streamers.lost(101).is_empty(), "it is back");
    }

    #[test]
    fn this_process_takes_its_share() {
        let streamers = Streamers::default();
        assert_eq!(streamers.place(1, "c", None, Some(999)), Placed::Here);
        let _joined = streamers.join(hello("s1", 10)).unwrap();
        assert_eq!(streamers.place(1, "c", None, Some(0)), Placed::Here);
        assert_eq!(first(streamers.place(1, "c", None, Some(500))), "s1");
        assert_eq!(first(streamers.place(1, "d", Some("s1"), Some(0))), "s1");
    }
}
