//! A month of certificates and clocks on a virtual clock: the shipped verifier, clock rule and dialler, with a real
//! handshake for each attempt. Only the line and the calendar are made up.

use std::collections::BTreeMap;

use lenscap_uplink::dial::{DialConfig, Dialer, FailureKind, Outcome, Step};

use super::*;

const MONTH_MS: u64 = 30 * 86_400_000;
/// The month begins so many days after the program was built.
const FIRST_DAY: i64 = 400;
/// A camera whose gateway shows a certificate that it can accept is back within this.
const BACK_WITHIN_MS: u64 = 100_000;
/// An attempt takes so long.
const ATTEMPT_MS: u64 = 200;

/// What happens to the camera or to its gateway.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    /// The gateway is started again with a new certificate.
    Renewal,
    /// Nobody has renewed it, and it has ended yesterday.
    Forgotten,
    /// The line is cut.
    Cut,
    /// The power fails: the clock starts in 1970, and knows the time some while later.
    PowerCut,
    Shows(Shown),
}

/// What the camera's clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// The time, which NTP keeps.
    Right,
    /// The time since the power came.
    SinceBoot,
    /// Seventy years ahead, by a bad time server or by itself.
    Ahead { kept: bool },
    /// Half a year behind: an old battery.
    Behind,
    /// The year 2000.
    Ancient,
}

use Mishap::*;

/// How often in a month, and for how many seconds at most until it is mended.
const MISHAPS: &[(Mishap, u32, u64)] = &[
    (Renewal, 6, 0),
    (Forgotten, 2, 1200),
    (Cut, 20, 0),
    (PowerCut, 8, 3600),
    (Shows(Shown::Ahead { kept: false }), 4, 600),
    (Shows(Shown::Ahead { kept: true }), 3, 600),
    (Shows(Shown::Behind), 3, 600),
    (Shows(Shown::Ancient), 3, 600),
];

struct World {
    seed: u64,
    ca: Ca,
    server: Arc<ServerConfig>,
    /// What the gateway's certificate says, in seconds since 1970.
    valid: (i64, i64),
    now_ms: u64,
    shown: Shown,
    booted_ms: u64,
    clock: Arc<Clock>,
    client: Client,
    dialer: Dialer,
    up: bool,
    possible_since_ms: u64,
    dials_ms: Vec<u64>,
    /// Attempts by what the verifier said and what its clock was at.
    judged: BTreeMap<(bool, &'static str), u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        let ca = Ca::new();
        let leaf = ca.issue(FIRST_DAY - 5, FIRST_DAY + 20);
        let clock = Arc::new(Clock::fixed(0, BUILD, false));
        Self {
            server: leaf.server(),
            valid: (BUILD + (FIRST_DAY - 5) * DAY, BUILD + (FIRST_DAY + 20) * DAY),
            client: client(&ca, Vec::new(), &clock),
            ca,
            seed,
            now_ms: 0,
            shown: Shown::SinceBoot,
            booted_ms: 0,
            clock,
            dialer: dialer(seed),
            up: false,
            possible_since_ms: 0,
            dials_ms: Vec::new(),
            judged: BTreeMap::new(),
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        // xorshift64*, for a schedule that a seed repeats.
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        (self.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % below.max(1)
    }

    /// What everybody else's clock shows.
    fn truth(&self) -> i64 {
        BUILD + FIRST_DAY * DAY + i64::try_from(self.now_ms / 1000).unwrap()
    }

    fn set_clock(&self) {
        let truth = self.truth();
        let (realtime, kept) = match self.shown {
            Shown::Right => (truth, true),
            Shown::SinceBoot => (
                i64::try_from((self.now_ms - self.booted_ms) / 1000).unwrap(),
                false,
            ),
            Shown::Ahead { kept } => (truth + 70 * 365 * DAY, kept),
            Shown::Behind => (truth - 182 * DAY, false),
            Shown::Ancient => (946_684_800, false),
        };
        self.clock.set(realtime, kept);
    }

    /// The rule of docs/protocol.md, section 1, and of the clock, said once more.
    fn acceptable(&self) -> bool {
        let (from, to) = self.valid;
        let valid = |at: i64| from <= at && at <= to;
        let (now, floor) = (self.clock.now(), self.clock.floor());
        valid(now)
            || now < from && self.clock.is_unset()
            || now > to && !self.clock.synchronised() && valid(floor)
    }

    /// The gateway is started again with a certificate of these days.
    fn show(&mut self, from: i64, to: i64) {
        self.server = self.ca.issue(from, to).server();
        self.valid = (BUILD + from * DAY, BUILD + to * DAY);
        self.cut();
    }

    fn cut(&mut self) {
        if std::mem::take(&mut self.up) {
            self.dialer.handle_outcome(self.now(), Outcome::Lost);
        }
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms - self.booted_ms)
    }

    fn happen(&mut self, mishap: Mishap) {
        let today = (self.truth() - BUILD) / DAY;
        match mishap {
            Renewal => self.show(today - 1, today + 20),
            Forgotten => self.show(today - 20, today),
            Cut => self.cut(),
            PowerCut => self.boot(Shown::SinceBoot),
            // Its battery keeps a time, but not the right one.
            Shows(Shown::Behind) => self.boot(Shown::Behind),
            Shows(shown) => {
                self.shown = shown;
                if shown != Shown::Right {
                    // Or the connection would live on, and a session be resumed that shows no certificate.
                    let (from, to) = self.valid;
                    self.show((from - BUILD) / DAY, (to - BUILD) / DAY);
                }
            }
        }
    }

    /// A new process: what an earlier one knew for sure of the time is forgotten.
    fn boot(&mut self, shown: Shown) {
        self.up = false;
        self.booted_ms = self.now_ms;
        self.shown = shown;
        self.clock = Arc::new(Clock::fixed(0, BUILD, false));
        self.client = client(&self.ca, Vec::new(), &self.clock);
        self.dialer = dialer(self.random(u64::MAX));
    }

    fn dial(&mut self) {
        self.dials_ms.push(self.now_ms);
        let acceptable = self.acceptable();
        let shaken = shake(&self.client, HOST, &self.server);
        let what = match &shaken {
            Ok((connection, _)) if connection.handshake_kind() == Some(HandshakeKind::Resumed) => "resumed",
            Ok(_) | Err(_) => {
                let seen = shaken.as_ref().map(drop);
                assert_eq!(
                    seen.is_ok(),
                    acceptable,
                    "{:?} {:?} {seen:?}",
                    self.shown,
                    self.valid
                );
                match self.shown {
                    Shown::Right => "right",
                    Shown::SinceBoot => "since boot",
                    Shown::Ahead { kept: true } => "ahead, kept",
                    Shown::Ahead { kept: false } => "ahead",
                    Shown::Behind => "behind",
                    Shown::Ancient => "ancient",
                }
            }
        };
        self.up = shaken.is_ok();
        *self.judged.entry((self.up, what)).or_default() += 1;
        self.now_ms += ATTEMPT_MS;
        let outcome = match self.up {
            true => Outcome::Established,
            false => Outcome::Failed(FailureKind::Tls),
        };
        self.dialer.handle_outcome(self.now(), outcome);
        while self.dialer.poll_event().is_some() {}
    }

    fn live(&mut self, script: &mut Vec<(u64, Mishap)>) {
        while self.now_ms < MONTH_MS {
            self.set_clock();
            if self.up || !self.acceptable() {
                self.possible_since_ms = self.now_ms;
            }
            let waited = self.now_ms - self.possible_since_ms;
            assert!(
                waited <= BACK_WITHIN_MS,
                "not back after {waited} ms: {:?}",
                self.dialer
            );
            let next = script.last().map_or(MONTH_MS, |(at, _)| *at);
            if next <= self.now_ms
                && let Some((_, mishap)) = script.pop()
            {
                self.happen(mishap);
                continue;
            }
            let until = match self.dialer.poll(self.now()) {
                Step::Dial(_) => {
                    self.dial();
                    continue;
                }
                Step::Wait { until, .. } => u64::try_from(until.as_millis()).unwrap() + self.booted_ms,
                Step::Connected | Step::InProgress => u64::MAX,
            };
            self.now_ms = until.min(next).min(MONTH_MS).max(self.now_ms + 1);
        }
    }
}

fn dialer(seed: u64) -> Dialer {
    let config = DialConfig {
        endpoints: vec![Url::parse(&format!("https://{HOST}/u")).unwrap()],
        redirect_to: Vec::new(),
    };
    Dialer::new(config, seed)
}

/// What happens when, the latest first. What was wrong is mended after a while.
fn script(world: &mut World) -> Vec<(u64, Mishap)> {
    // In the first hour the camera finds its gateway, and learns the time.
    let mut script = vec![(3_000_000, Shows(Shown::Right))];
    for (mishap, often, lasts) in MISHAPS {
        for _ in 0..*often {
            let at = 3_600_000 + world.random(MONTH_MS - 7_200_000);
            let mended = at + 1000 * (1 + world.random(*lasts));
            script.push((at, *mishap));
            match mishap {
                Forgotten => script.push((mended, Renewal)),
                PowerCut | Shows(_) => script.push((mended, Shows(Shown::Right))),
                Renewal | Cut => {}
            }
        }
    }
    // No certificate ends by itself: the gateway's are renewed in time, but for those that are forgotten.
    script.extend((1..30).map(|day| (day * 86_400_000, Renewal)));
    script.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    script
}

#[test]
fn a_month_of_certificates_and_clocks() {
    let mut judged: BTreeMap<(bool, &str), u32> = BTreeMap::new();
    for seed in 1..=4 {
        let mut world = World::new(seed);
        let mut script = script(&mut world);
        world.live(&mut script);
        let dials = &world.dials_ms;
        let minute = |from: &u64| {
            dials
                .iter()
                .filter(|at| (*from..*from + 60_000).contains(*at))
                .count()
        };
        let most = dials.iter().map(minute).max().unwrap();
        assert!(most <= 20, "seed {seed}: {most} dials in a minute");
        assert!(world.up, "seed {seed}: {:?}", world.dialer);
        for (what, times) in world.judged {
            *judged.entry(what).or_default() += times;
        }
    }
    println!("accepted, clock: handshakes {judged:?}");
    // Each rule was put to the test.
    for (accepted, clock) in [
        (true, "right"),
        (false, "right"),
        (true, "since boot"),
        (true, "ahead"),
        (false, "ahead, kept"),
        (true, "ancient"),
        (false, "behind"),
    ] {
        assert!(
            judged.contains_key(&(accepted, clock)),
            "{accepted} {clock}: {judged:?}"
        );
    }
}
