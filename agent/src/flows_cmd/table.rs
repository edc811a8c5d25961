//! The accounts for people.

use core::time::Duration;

use lenscap_audit::flows::{State, protocol_name};

/// The widest program that is shown whole; of others the end is.
const PROGRAM_WIDTH: usize = 24;

/// The records, what was active last first, and what is known beside them. `uptime` is now.
pub(super) fn to_table(state: &State, uptime: Duration) -> String {
    let now_ms = u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX);
    let age_ms = now_ms.saturating_sub(state.uptime_ms);
    let ago = |time_ms: u64| span(state.time_ms.saturating_sub(time_ms).saturating_add(age_ms));
    let widest = state.flows.iter().map(|flow| flow.peer.to_string().len()).max();
    let width = widest.unwrap_or(0).max(15);
    let mut text = format!(
        "{:<width$}  {:>5} {:<6} {:<3} {:>8} {:>8} {:>8} {:>8}  {:>8} {:>8}  {}\n",
        "PEER", "PORT", "PROTO", "DIR", "OUT", "IN", "PKTS OUT", "PKTS IN", "FIRST", "LAST", "PROGRAM"
    );
    for flow in state.flows.iter().rev() {
        let [bytes_out, bytes_in, packets_out, packets_in] =
            flow.counts.0.map(|count| count.map_or("?".into(), amount));
        let program = flow.program.as_deref().unwrap_or("?");
        let cut = program.len().saturating_sub(PROGRAM_WIDTH);
        let cut = (cut..=program.len()).find(|at| program.is_char_boundary(*at));
        text.push_str(&format!(
            "{:<width$}  {:>5} {:<6} {:<3} {bytes_out:>8} {bytes_in:>8} {packets_out:>8} {packets_in:>8}  {:>8} {:>8}  {}\n",
            flow.peer.to_string(),
            flow.port,
            protocol_name(flow.protocol),
            flow.opener.as_str(),
            ago(flow.first_ms),
            ago(flow.last_ms),
            program.get(cut.unwrap_or(0)..).unwrap_or(program),
        ));
    }
    let [unexplained_out, unexplained_in, ..] = state.unexplained().map(amount);
    let [carried_out, carried_in, ..] = state.carried.map(amount);
    text.push_str(&format!(
        "\nsamples      {} in {}, the last {} ago\nunexplained  {unexplained_out} out, {unexplained_in} in, of {carried_out} out, {carried_in} in on the interfaces since the first sample\n",
        state.samples,
        span(state.time_ms.saturating_sub(state.started_ms)),
        span(age_ms),
    ));
    for (count, what) in [
        (state.evicted, "records that made room for others"),
        (state.untracked, "connections beyond the table, not counted"),
        (state.resets, "counters that began anew"),
    ] {
        if count > 0 {
            text.push_str(&format!("lost         {count} {what}\n"));
        }
    }
    for sentence in &state.blind {
        text.push_str(&format!("not seen     {sentence}\n"));
    }
    text
}

/// A number of at most five characters.
fn amount(count: u64) -> String {
    let mut rest = count;
    for unit in ["", "k", "M", "G", "T"] {
        if rest < 10_000 {
            return format!("{rest}{unit}");
        }
        rest /= 1000;
    }
    format!("{rest}P")
}

fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0, 9999, 12_345, 99_999_999, 123_456_789_012].map(amount),
            ["0", "9999", "12k", "99M", "123G"]
        );
        assert_eq!(amount(u64::MAX), "18446P");
        assert_eq!(
            [0, 119_000, 120_000, 86_400_000 * 3].map(span),
            ["0 s", "119 s", "2 min", "3 d"]
        );
    }

    #[test]
    fn what_is_not_known_is_shown_so() {
        let table = to_table(&super::super::lines::tests::state(), Duration::from_secs(61));
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("PEER"));
        assert!(
            lines[2].contains("2001:db8::1") && lines[2].contains('?'),
            "{table}"
        );
        assert!(
            lines[3].contains("203.0.113.7") && lines[3].contains("60 s"),
            "{table}"
        );
        for part in [
            "samples      1 in 0 s",
            "unexplained  0 out",
            "not seen     so \"it\" is",
        ] {
            assert!(table.contains(part), "{table}");
        }
    }
}
