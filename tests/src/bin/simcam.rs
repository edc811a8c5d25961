//! simcam: see [`lenscap_tests::simcam`].

use clap::Parser as _;
use lenscap_tests::simcam::options::{Options, QUIRKS};

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if options.quirks.iter().any(|quirk| quirk == "help") {
        for (name, what) in QUIRKS {
            println!("{name:30} {what}");
        }
        return Ok(());
    }
    lenscap_tests::simcam::run(options)
}
