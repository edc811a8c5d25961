//! Figures on the screen and in files, and whether they are what they have to be.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

/// Collects what the parts measure.
pub(crate) struct Report {
    out: PathBuf,
    began: Instant,
    /// `gateway.json`.
    rows: Vec<Value>,
    /// What was not as it has to be.
    missed: Vec<String>,
    /// What was.
    met: Vec<String>,
}

impl Report {
    /// What an earlier run has measured goes: it is not to be taken for this one's.
    pub(crate) fn new(out: &Path) -> Result<Self> {
        fs::create_dir_all(out)?;
        for name in ["gateway.json", "failover.json", "arrivals.json", "arrivals.png"] {
            match fs::remove_file(out.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(Self {
            out: out.to_owned(),
            began: Instant::now(),
            rows: Vec::new(),
            missed: Vec::new(),
            met: Vec::new(),
        })
    }

    pub(crate) fn say(&self, text: &str) {
        println!("[{:>4} s] {text}", self.began.elapsed().as_secs());
    }

    /// An object of `gateway.json`, which is written at once: what fails later takes nothing away.
    pub(crate) fn row(&mut self, row: Value) -> Result<()> {
        self.rows.push(row);
        self.write("gateway.json", &Value::Array(self.rows.clone()))
    }

    /// The end of a part. One that could not be measured is not met, and no hindrance to the others.
    pub(crate) fn part(&mut self, name: &str, done: Result<()>) {
        match done {
            Ok(()) => self.say(&format!("{name}: measured")),
            Err(error) => {
                self.say(&format!("{name}: {error:#}"));
                self.missed.push(format!("{name}: not measured: {error:#}"));
            }
        }
    }

    /// Another file with figures.
    pub(crate) fn write(&self, name: &str, value: &Value) -> Result<()> {
        fs::write(self.out.join(name), format!("{value:#}\n"))?;
        Ok(())
    }

    /// The folder of all files.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    /// A target.
    pub(crate) fn expect(&mut self, holds: bool, what: String) {
        if holds {
            self.met.push(what);
        } else {
            self.missed.push(what);
        }
    }

    /// The table of one kind of rows: those that have the first column.
    pub(crate) fn table(&self, columns: &[(&str, &str)]) {
        let heads: Vec<&str> = columns.iter().map(|(_, head)| *head).collect();
        println!("\n  {}", heads.join("  "));
        for row in &self.rows {
            if columns.first().is_none_or(|(key, _)| row[*key].is_null()) {
                continue;
            }
            let cells: Vec<String> = columns
                .iter()
                .map(|(key, head)| format!("{:>width$}", cell(&row[*key]), width = head.len()))
                .collect();
            println!("  {}", cells.join("  "));
        }
        println!();
    }

    /// Says what was met, and gives whether all was.
    pub(crate) fn finish(self) -> bool {
        self.say(&format!("done; all files are in {}", self.out.display()));
        for what in &self.met {
            println!("met      {what}");
        }
        for what in &self.missed {
            println!("NOT MET  {what}");
        }
        self.missed.is_empty()
    }
}

fn cell(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() != 0.0 => format!("{number:.2}"),
        _ => value.to_string(),
    }
}

/// A part of sorted figures: 0.5 is the median. The nearest rank, so that it is one that was measured.
pub(crate) fn percentile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Two digits are enough.
pub(crate) fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_fails_takes_nothing_from_the_others_and_is_not_met() {
        let out = tempfile::tempdir().unwrap();
        let file = out.path().join("gateway.json");
        fs::write(&file, "of an earlier run").unwrap();
        let mut report = Report::new(out.path()).unwrap();
        assert!(!file.exists());
        report.row(serde_json::json!({"idle_uplinks": 1000})).unwrap();
        report.expect(true, "something".to_owned());
        report.part("idle", Ok(()));
        report.part("watched", Err(anyhow::anyhow!("this machine is too slow")));
        let written: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(written[0]["idle_uplinks"], 1000);
        assert!(!report.finish());
        let mut report = Report::new(out.path()).unwrap();
        report.part("idle", Ok(()));
        assert!(report.finish());
    }

    #[test]
    fn percentiles_are_figures_that_were_measured() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.5), 50.0);
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(percentile(&hundred, 1.0), 100.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
    }
}
