//! The figures of all peers, as a table and as JSON.

use serde_json::{Value, json};

use crate::measure::{Cost, Long};
use crate::peers::Peer;

/// All that was measured of one peer.
pub(crate) struct Row {
    pub(crate) peer: Peer,
    pub(crate) version: String,
    pub(crate) cipher: String,
    pub(crate) commands: Vec<String>,
    pub(crate) binary_bytes: u64,
    pub(crate) shared_lib_bytes: u64,
    pub(crate) bulk: Vec<Cost>,
    pub(crate) paced: Vec<Cost>,
    pub(crate) long: Vec<Long>,
    pub(crate) long_loss: Vec<Long>,
    pub(crate) long_live: Option<Long>,
    /// Milliseconds for each round trip measured.
    pub(crate) first_rtp: Vec<(f64, Vec<f64>)>,
}

/// The median; NaN of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (
        sorted.len() % 2,
        sorted.get(half),
        sorted.get(half.wrapping_sub(1)),
    ) {
        (1, Some(middle), _) => *middle,
        (0, Some(above), Some(below)) => f64::midpoint(*above, *below),
        _ => f64::NAN,
    }
}

fn mean(runs: &[Long]) -> f64 {
    runs.iter().map(|run| run.mbit_per_s).sum::<f64>() / runs.len() as f64
}

/// The standard error of that mean.
fn standard_error(runs: &[Long]) -> f64 {
    let n = runs.len() as f64;
    let squares: f64 = runs.iter().map(|run| (run.mbit_per_s - mean(runs)).powi(2)).sum();
    if n < 2.0 {
        f64::NAN
    } else {
        (squares / (n - 1.0) / n).sqrt()
    }
}

fn of<T>(items: &[T], field: impl Fn(&T) -> f64) -> f64 {
    median(items.iter().map(field))
}

impl Row {
    pub(crate) fn camera_cpu(&self) -> f64 {
        of(&self.bulk, |cost| cost.camera_cpu_s_per_gib)
    }

    pub(crate) fn rss_kib(&self) -> f64 {
        of(&self.bulk, |cost| cost.camera_rss_kib).max(of(&self.paced, |cost| cost.camera_rss_kib))
    }

    pub(crate) fn long_mbit(&self) -> f64 {
        of(&self.long, |long| long.mbit_per_s)
    }

    pub(crate) fn loss_mbit(&self) -> f64 {
        of(&self.long_loss, |long| long.mbit_per_s)
    }

    pub(crate) fn first_rtp_ms(&self, rtt_ms: f64) -> f64 {
        let all = self.first_rtp.iter().find(|(rtt, _)| *rtt == rtt_ms);
        all.map_or(f64::NAN, |(_, values)| median(values.iter().copied()))
    }

    fn to_json(&self) -> Value {
        let mut value = json!({
            "name": self.peer.name(),
            "camera_cpu_s_per_gib": round(self.camera_cpu()),
            "server_cpu_s_per_gib": round(of(&self.bulk, |cost| cost.server_cpu_s_per_gib)),
            "mib_per_s": round(of(&self.bulk, |cost| cost.mib_per_s)),
            "camera_rss_kib": self.rss_kib(),
            "binary_bytes": self.binary_bytes,
            "shared_lib_bytes": self.shared_lib_bytes,
            "paced_camera_cpu_s_per_gib": round(of(&self.paced, |cost| cost.camera_cpu_s_per_gib)),
            "paced_server_cpu_s_per_gib": round(of(&self.paced, |cost| cost.server_cpu_s_per_gib)),
            "paced_camera_cpu_ms_per_s": round(of(&self.paced, |cost| cost.camera_cpu_ms_per_s)),
            "rtt100_mbit_s": round(self.long_mbit()),
            "rtt100_loss_mbit_s": round(self.loss_mbit()),
            "rtt100_loss_all_mbit_s": self.long_loss.iter().map(|l| round(l.mbit_per_s)).collect::<Vec<_>>(),
            "rtt100_loss_dropped_packets": self.long_loss.iter().map(|l| l.lost).sum::<u64>(),
            "version": self.version,
            "cipher": self.cipher,
            "commands": self.commands,
            "note": self.peer.note(),
        });
        for (rtt, _) in &self.first_rtp {
            value[format!("first_rtp_ms_rtt{rtt}")] = round(self.first_rtp_ms(*rtt)).into();
        }
        if let Some(live) = self.long_live {
            value["rtt100_live50_mbit_s"] = round(live.mbit_per_s).into();
            value["rtt100_live50_dropped_packets"] = live.lost.into();
        }
        value
    }
}

/// Three decimals.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The list that `bench.json` holds.
pub(crate) fn to_json(rows: &[Row], direct: &[(f64, f64)]) -> Value {
    let with_direct = |row: &Row| {
        let mut value = row.to_json();
        for (rtt, ms) in direct {
            value[format!("first_rtp_direct_ms_rtt{rtt}")] = round(*ms).into();
        }
        value
    };
    rows.iter().map(with_direct).collect()
}

/// The table on the screen.
pub(crate) fn table(rows: &[Row], direct: &[(f64, f64)]) -> String {
    let mut lines = vec![
        "                     CPU s/GiB bulk   MiB/s  CPU s/GiB paced  peak RSS    binary  +libs   Mbit/s at 100 ms"
            .to_owned(),
        "                     camera  server          camera  server        KiB       KiB    KiB  no loss  0.1 % loss"
            .to_owned(),
    ];
    for row in rows {
        lines.push(format!(
            "{:<20} {:>6.2}  {:>6.2}  {:>6.0}  {:>6.2}  {:>6.2}  {:>9.0}  {:>8}  {:>5}  {:>7.1}  {:>10.2}",
            row.peer.name(),
            row.camera_cpu(),
            of(&row.bulk, |cost| cost.server_cpu_s_per_gib),
            of(&row.bulk, |cost| cost.mib_per_s),
            of(&row.paced, |cost| cost.camera_cpu_s_per_gib),
            of(&row.paced, |cost| cost.server_cpu_s_per_gib),
            row.rss_kib(),
            row.binary_bytes / 1024,
            row.shared_lib_bytes / 1024,
            row.long_mbit(),
            row.loss_mbit(),
        ));
    }
    lines.push(String::new());
    for (rtt, direct_ms) in direct {
        lines.push(format!(
            "first RTP packet at {rtt} ms round trip: direct {direct_ms:.1} ms"
        ));
        for row in rows {
            let ms = row.first_rtp_ms(*rtt);
            lines.push(format!(
                "  {:<18} {ms:>7.1} ms ({:+.1})",
                row.peer.name(),
                ms - direct_ms
            ));
        }
    }
    lines.join("\n")
}

/// The targets, each with whether this run met it.
pub(crate) fn verdicts(rows: &[Row], direct: &[(f64, f64)]) -> Vec<(String, bool)> {
    let find = |peer| rows.iter().find(|row| row.peer == peer);
    let Some(own) = find(Peer::Lenscap) else {
        return Vec::new();
    };
    let mut verdicts = Vec::new();
    let mut check = |text: String, met: bool| verdicts.push((text, met));
    if let Some(stunnel) = find(Peer::Stunnel) {
        let (a, b) = (own.camera_cpu(), stunnel.camera_cpu());
        check(
            format!("camera CPU per GiB not above stunnel: {a:.2} and {b:.2} s"),
            a <= b,
        );
        let (a, b) = (mean(&own.long_loss), mean(&stunnel.long_loss));
        let chance = standard_error(&own.long_loss).hypot(standard_error(&stunnel.long_loss));
        check(
            format!(
                "100 ms and 0.1 % loss, not below stunnel: {a:.2} and {b:.2} Mbit/s, standard error {chance:.2}"
            ),
            a >= b - chance,
        );
    }
    if let Some(openvpn) = find(Peer::OpenVpn) {
        let times = openvpn.camera_cpu() / own.camera_cpu();
        check(
            format!("camera CPU per GiB 10 times below OpenVPN: {times:.1} times"),
            times >= 10.0,
        );
    }
    let rss = own.rss_kib();
    check(format!("camera RSS under 8 MiB: {rss:.0} KiB"), rss < 8192.0);
    let mbit = own.long_mbit();
    check(
        format!("50 Mbit/s at 100 ms: {mbit:.1} Mbit/s bulk"),
        mbit >= 50.0,
    );
    if let Some(live) = own.long_live {
        let whole = live.lost == 0 && live.mbit_per_s >= 49.0;
        check(
            format!(
                "a live 50 Mbit/s profile at 100 ms: {:.1} Mbit/s, {} packets dropped",
                live.mbit_per_s, live.lost
            ),
            whole,
        );
    }
    for (rtt, direct_ms) in direct.iter().filter(|(rtt, _)| *rtt > 0.0) {
        let added = own.first_rtp_ms(*rtt) - direct_ms;
        // A tenth of the round trip for what computing takes.
        check(
            format!("first RTP packet at most one round trip of {rtt} ms later: {added:+.1} ms"),
            added <= rtt * 1.1,
        );
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert!(median([]).is_nan());
        assert_eq!(median([3.0]), 3.0);
        assert_eq!(median([9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 9.0]), 3.0);
    }
}
