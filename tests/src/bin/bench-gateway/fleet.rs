//! A camera at a fleet, and a viewer who wants to see it whatever happens.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lenscap_tests::digest::Credentials;
use lenscap_tests::harness::fleet::{self, CLAIMED_LIMIT, Fleet};
use lenscap_tests::harness::{Camera, Codec, Process, Simcam, TestDir};
use lenscap_tests::rtspclient::{Client, Options};

/// A server that does not answer for so long is asked again, or another.
const PATIENCE: Duration = Duration::from_secs(1);
/// Before everything is tried again.
const PAUSE: Duration = Duration::from_millis(20);
/// For so long is looked whether media still flow, at a time.
const GLANCE: Duration = Duration::from_millis(200);
/// Without media for so long, a viewer begins anew. simcam sends 25 pictures a second.
const STALLED: Duration = Duration::from_secs(2);

/// An endpoint, two streamers, a camera with its program, and a viewer.
pub(crate) struct Scene {
    pub(crate) fleet: Fleet,
    viewer: Viewer,
    /// Both are killed with the value.
    _camera: Camera,
    _agent: Process,
}

/// Plays the camera from wherever it is.
struct Viewer {
    password: String,
    client: Option<Client>,
    /// The streamer that plays.
    at: usize,
}

impl Scene {
    /// Starts all; the camera plays when it is given.
    pub(crate) fn start(dir: &TestDir) -> Result<Self> {
        let fleet = Fleet::start(dir, &["s1", "s2"]);
        fleet.import("SN-0042,porch\n");
        let camera = Simcam::playing(Codec::H264).auth("none").start(dir);
        let profile = camera.profile("main").rtsp;
        let config = fleet::camera_config(dir, "SN-0042", &fleet.uplink_section(), &profile);
        let agent = fleet::camera_program(dir, &config);
        let viewer = Viewer {
            password: fleet.add_viewer(),
            client: None,
            at: 0,
        };
        let mut scene = Self {
            fleet,
            viewer,
            _camera: camera,
            _agent: agent,
        };
        scene.media_within(CLAIMED_LIMIT, None)?;
        Ok(scene)
    }

    /// The streamer that the viewer sees the camera at.
    pub(crate) fn at(&self) -> usize {
        self.viewer.at
    }

    /// Watches for so long without a break.
    pub(crate) fn watch(&mut self, span: Duration) -> Result<()> {
        let end = Instant::now() + span;
        let Some(client) = &mut self.viewer.client else {
            bail!("nothing plays")
        };
        let mut last = Instant::now();
        while Instant::now() < end {
            match client.next_frame(Instant::now() + GLANCE)? {
                Some(_) => last = Instant::now(),
                None if last.elapsed() > STALLED => bail!("the video stalled with nothing killed"),
                None => {}
            }
        }
        Ok(())
    }

    /// The first RTP packet of a new session, at another streamer than `not`; gives the time that it took.
    pub(crate) fn media_within(&mut self, limit: Duration, not: Option<usize>) -> Result<Duration> {
        let began = Instant::now();
        self.viewer.client = None;
        let mut last = None;
        while began.elapsed() < limit {
            match self.try_all(not) {
                Ok(()) => return Ok(began.elapsed()),
                Err(error) => last = Some(error),
            }
            std::thread::sleep(PAUSE);
        }
        Err(last.context("no time")?).with_context(|| format!("no media within {limit:?}"))
    }

    /// Through the endpoint, which leads on, and where that is down, at each streamer.
    fn try_all(&mut self, not: Option<usize>) -> Result<()> {
        let asked = self.viewer.ask(&self.fleet.endpoint.rtsp);
        let streamers = &self.fleet.streamers;
        let led = asked.as_ref().ok().and_then(|location| {
            let port = location.strip_prefix("rtsp://localhost:")?.split('/').next()?;
            let is_there = |at: &usize| streamers[*at].rtsp.ends_with(&format!(":{port}"));
            (0..streamers.len()).find(is_there)
        });
        let places: Vec<usize> = match (&asked, led) {
            (Ok(_), Some(at)) => vec![at],
            (Ok(location), None) => bail!("led to {location}, where no streamer is"),
            (Err(_), _) => (0..streamers.len()).collect(),
        };
        let mut last = None;
        for at in places.into_iter().filter(|at| Some(*at) != not) {
            let address = streamers[at].rtsp.clone();
            match self.viewer.play(&address) {
                Ok(client) => {
                    (self.viewer.client, self.viewer.at) = (Some(client), at);
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("the endpoint leads to the streamer that is gone")))
    }
}

impl Viewer {
    fn connect(&self, address: &str) -> Result<Client> {
        Client::connect(Options {
            url: url(address),
            credentials: Some(Credentials {
                user: fleet::VIEWER.to_owned(),
                password: self.password.clone(),
            }),
            timeout: PATIENCE,
            tolerate_garbage: false,
            receive_buffer: None,
        })
    }

    /// Where the endpoint leads to (RFC 2326, section 10.11 and 302).
    fn ask(&self, address: &str) -> Result<String> {
        let mut client = self.connect(address)?;
        let reply = client.request("DESCRIBE", &url(address), &[("Accept", "application/sdp")])?;
        match (reply.status, reply.header("location")) {
            (302, Some(location)) => Ok(location.to_owned()),
            (status, _) => Ok(format!("nowhere, status {status}")),
        }
    }

    fn play(&self, address: &str) -> Result<Client> {
        let mut client = self.connect(address)?;
        client.describe()?;
        client.setup_all()?;
        client.play()?;
        client
            .next_frame(Instant::now() + PATIENCE)?
            .context("no packet after PLAY")?;
        Ok(client)
    }
}

fn url(address: &str) -> String {
    format!("rtsp://{address}/porch/main")
}
