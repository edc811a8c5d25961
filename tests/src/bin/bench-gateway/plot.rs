//! When cameras came back, as a picture, drawn by gnuplot.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use lenscap_tests::harness::tools;

/// Bars over the time that is shown.
const BARS: f64 = 100.0;

/// One return of all cameras: milliseconds since the gateway was killed, sorted.
pub(crate) struct Panel<'a> {
    pub(crate) title: String,
    pub(crate) up_again: f64,
    pub(crate) arrivals: &'a [f64],
    pub(crate) dials: &'a [f64],
}

/// Writes `arrivals.png`, and what it was drawn from beside it.
pub(crate) fn draw(out: &Path, panels: &[Panel<'_>]) -> Result<()> {
    let mut script = format!(
        "set terminal pngcairo size 1100,{} font 'sans,10'\nset output 'arrivals.png'\n\
         set multiplot layout {},1\nset grid\nset style fill solid 0.6 noborder\nset key outside bottom center horizontal\n\
         set xlabel 'seconds since the gateway was killed'\nset y2tics\nset ytics nomirror\nset bmargin 6\n\
         set y2label 'cameras that are back'\n",
        380 * panels.len(),
        panels.len()
    );
    for (index, panel) in panels.iter().enumerate() {
        let last = panel.arrivals.last().copied().unwrap_or(0.0);
        let bar = round_up(last / BARS);
        let name = format!("arrivals-{index}.dat");
        fs::write(out.join(&name), data(panel, bar, last))?;
        writeln!(
            script,
            "set title \"{}\"\nset ylabel 'in {:.2} s'\nset arrow 1 from {x:.3},graph 0 to {x:.3},graph 1 nohead \
             dashtype 2\nset label 1 ' it is up' at {x:.3},graph 0.97\nset xrange [0:{:.3}]\nset yrange [0:*]\n\
             set y2range [0:{}]\nplot '{name}' using 1:2 with boxes linecolor rgb '#3070b0' title 'arrivals', \
             '' using 1:3 with steps linecolor rgb '#c07020' title 'attempts', \
             '' using 1:4 axes x1y2 with lines linewidth 2 linecolor rgb '#208040' title 'back (right)'",
            panel.title,
            bar / 1e3,
            last * 1.02 / 1e3,
            panel.arrivals.len(),
            x = panel.up_again / 1e3,
        )?;
    }
    script += "unset multiplot\n";
    fs::write(out.join("arrivals.gnuplot"), script)?;
    let drawn = Command::new(tools::outside("gnuplot"))
        .arg("arrivals.gnuplot")
        .current_dir(out)
        .output()?;
    ensure!(
        drawn.status.success(),
        "gnuplot: {}",
        String::from_utf8_lossy(&drawn.stderr)
    );
    Ok(())
}

/// A bar a line: its middle in seconds, arrivals, attempts, and all that are back at its end.
fn data(panel: &Panel<'_>, bar: f64, last: f64) -> String {
    let mut text = String::new();
    let mut from = 0.0;
    while from <= last {
        let within = |times: &[f64]| {
            times
                .iter()
                .filter(|at| **at >= from && **at < from + bar)
                .count()
        };
        let back = panel.arrivals.iter().filter(|at| **at < from + bar).count();
        text += &format!(
            "{:.3} {} {} {back}\n",
            (from + bar / 2.0) / 1e3,
            within(panel.arrivals),
            within(panel.dials)
        );
        from += bar;
    }
    text
}

/// 1, 2 or 5 times a power of ten.
fn round_up(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    power
        * steps
            .into_iter()
            .find(|step| power * step >= least)
            .unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_round_and_count_everything_once() {
        assert_eq!(
            (round_up(17.0), round_up(20.0), round_up(730.0)),
            (20.0, 20.0, 1000.0)
        );
        let panel = Panel {
            title: String::new(),
            up_again: 5.0,
            arrivals: &[1.0, 10.0, 19.0, 20.0],
            dials: &[0.0, 20.0],
        };
        assert_eq!(
            data(&panel, 10.0, 20.0),
            "0.005 1 1 1\n0.015 2 0 3\n0.025 1 1 4\n"
        );
    }
}
