use super::*;

const NOW: Duration = Duration::from_secs(1000);

fn health(up: u16) -> Report {
    Report::Health(Health {
        uplinks: 2,
        uplinks_up: up,
        ..Health::default()
    })
}

fn monitor(dir: &Path) -> Monitor {
    let text = format!(
        "config agent\noption run_dir '{0}'\noption state_dir '{0}'\nconfig uplink main\noption endpoint 'https://x/'\n\
         config profile main\noption rtsp 'rtsp://127.0.0.1/'\nconfig harden\n",
        dir.display()
    );
    let path = dir.join("lenscap");
    std::fs::write(&path, text).unwrap();
    let config = config::load(&path).unwrap().config;
    let signals = Signals::with_children().unwrap();
    Monitor::new(&path, path.clone(), config, signals)
}

/// An agent that was up for two minutes without a break makes a boot a good one, once.
#[test]
fn a_good_boot_starts_the_count_of_bad_ones_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut monitor = monitor(dir.path());
    let root = || Root::tree(dir.path());
    let boots = dir.path().join("etc/lenscap/harden/boots");
    std::fs::create_dir_all(boots.parent().unwrap()).unwrap();
    let third = "6c1f4a0e-0000-0000-0000-000000000003 3\n";
    std::fs::write(&boots, third).unwrap();
    let count = || std::fs::read_to_string(&boots).unwrap();
    let later = NOW + Duration::from_secs(100);
    for (since, at, up, good) in [
        (NOW, NOW + HEALTHY_AFTER, false, false),
        (NOW, later, true, false),
        // Another agent: the time begins anew.
        (later, NOW + HEALTHY_AFTER, true, false),
        (later, later + HEALTHY_AFTER, true, true),
        (NOW, later + HEALTHY_AFTER, true, false),
    ] {
        let (agent, _theirs) = running::stand_in(since);
        monitor.agent = Some(agent);
        if up {
            monitor.handle_report(since, health(0));
        }
        monitor.note_health(at, &root);
        let expected = if good {
            third.replace(" 3", " 0")
        } else {
            third.to_owned()
        };
        assert_eq!(count(), expected, "{since:?} {at:?} {up}");
        std::fs::write(&boots, third).unwrap();
        let mut agent = monitor.agent.take().unwrap();
        agent.kill();
        agent.wait();
    }
    // One that stands aside does so until somebody asks.
    std::fs::write(&boots, third.replace(" 3", " 4")).unwrap();
    keep::note_healthy(&root().unwrap()).unwrap();
    assert_eq!(count(), third.replace(" 3", " 4"));
}

/// The agent ends, and dials anew, once for what was applied: an uplink that was there before proves nothing.
#[test]
fn the_owners_uplink_is_dialled_anew_to_confirm() {
    let dir = tempfile::tempdir().unwrap();
    let mut monitor = monitor(dir.path());
    let said = |waits: bool| {
        let text =
            format!("{{\n\"waiting_for_uplink\": {waits},\n\"waiting_for_confirmation\": {waits}\n}}\n");
        std::fs::write(state::hardening_path(dir.path()), text).unwrap();
    };
    let looked = jobs::Ended {
        kind: jobs::HARDEN,
        failure: None,
    };

    let (agent, theirs) = running::stand_in(NOW);
    monitor.agent = Some(agent);
    monitor.handle_report(NOW, health(2));
    assert_eq!(monitor.all_up, Some(NOW));
    said(false);
    monitor.handle_job(NOW, &looked);
    assert_eq!(monitor.renewing, None);

    said(true);
    monitor.handle_job(NOW, &looked);
    assert!(monitor.renewing.is_some());
    let mut bytes = [0; MESSAGE_BYTES];
    let (length, _) = sys::receive(&theirs, &mut bytes, false).unwrap();
    assert_eq!(Order::decode(&bytes[..length]), Some(Order::Terminate));
    let agent = monitor.agent.as_mut().unwrap();
    agent.kill();
    agent.wait();
    let later = NOW + Duration::from_secs(3);
    monitor.reap(later);
    assert!(monitor.agent.is_none() && monitor.all_up.is_none() && monitor.renewing.is_none());
    assert_eq!(
        (monitor.start_at, monitor.restarts),
        (later, 0),
        "at once, and no failure"
    );

    // It is looked again as soon as all uplinks are up, and not before.
    let (agent, _theirs) = running::stand_in(later);
    monitor.agent = Some(agent);
    monitor.jobs = Jobs::new(later, &monitor.config);
    let first = monitor.jobs.poll_timeout();
    monitor.handle_report(later, health(1));
    assert_eq!((monitor.all_up, monitor.jobs.poll_timeout()), (None, first));
    monitor.handle_report(later, health(2));
    assert_eq!(monitor.all_up, Some(later));
    assert!(monitor.jobs.poll_timeout() < first);
    let mut agent = monitor.agent.take().unwrap();
    agent.kill();
    agent.wait();
}
