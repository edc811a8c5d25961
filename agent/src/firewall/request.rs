//! What `lenscap harden` asks of the firewall, whether the program has one or not.

use lenscap_harden::firewall::Watch;

use crate::config::Config;

/// What is asked of the measure.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The configuration, if there is one that can be used.
    pub config: Option<&'a Config>,
    /// The folder of the journal.
    pub state_dir: &'a str,
    /// What is in force waits for its owner's confirmation.
    pub unconfirmed: bool,
    /// Who is asked; `None`: nobody can be there.
    pub watch: Option<&'a Watch>,
    /// What is in force is tried from outside, by a network interface that is there for a moment.
    pub probe: bool,
}
