use super::pending::Applicant;
use super::*;
use crate::rtsp::digest::hex;
use crate::store::{Method, Scope};
use crate::uplink::upgrade::{HeldKey, Introduction};

/// One with an empty database.
pub(super) fn fleet(fixed: Fixed) -> Arc<Fleet> {
    let store = Arc::new(SqliteStore::in_memory().unwrap());
    Fleet::open(store, true, fixed, None, Arc::default(), Arc::default()).unwrap()
}

fn applicant(key: u8) -> Applicant {
    Applicant {
        fingerprint: [key; 32],
        address: ([192, 0, 2, 1], 5000).into(),
        serial: Some(format!("SN{key}")),
        model: None,
        agent_version: None,
        proof: None,
    }
}

fn put(fleet: &Fleet, camera: Camera) {
    fleet.change(|store| Ok(store.put_cameras(&[camera])?)).unwrap();
}

#[test]
fn what_the_configuration_says_comes_first() {
    let fixed = Fixed {
        cameras: vec!["front".into()],
        fingerprints: [([1; 32], 0)].into(),
        ..Fixed::default()
    };
    let fleet = fleet(fixed);
    // As if the file had been changed after the claim.
    put(&fleet, Camera::claimed("front", "acme", [2; 32], Method::Pin, 1));
    let said = Introduction::default();
    assert!(matches!(
        fleet.judge(1, applicant(1), &said),
        Admission::Admit { .. }
    ));
    assert!(matches!(
        fleet.judge(1, applicant(2), &said),
        Admission::Wait { .. }
    ));
    assert_eq!(fleet.account_of("front"), Some(String::new()));
}

/// What counts is what was shown, not what is written already: a reset may follow within the same second.
#[tokio::test]
async fn a_reset_is_told_from_the_one_before_the_claim() {
    let fleet = fleet(Fixed::default());
    let claim = || put(&fleet, Camera::claimed("porch", "", [1; 32], Method::Pin, 1));
    let judge = |(operator, reset): (HeldKey, Option<u32>)| {
        let said = Introduction {
            operator,
            reset,
            ..Introduction::default()
        };
        let admission = fleet.judge(unix_now(), applicant(1), &said);
        fleet.note_shown(&[1; 32], &said);
        admission
    };
    let reset = |number| (HeldKey::Reset, Some(number));
    let none = || (HeldKey::None, None);
    let ours = |number| (HeldKey::Id(fleet.operator.id().to_owned()), number);
    let goes_on = |held| matches!(judge(held), Admission::Admit { fields, .. } if fields.contains("Lenscap-Operator: p256/"));
    let ends = |held| {
        let Admission::Settle(what) = judge(held) else {
            return false;
        };
        fleet.settle(unix_now(), &what).unwrap();
        matches!(judge(none()), Admission::Wait { .. } | Admission::Refuse)
    };
    claim();
    assert!(goes_on(none()) && goes_on(none()));
    assert!(ends(reset(1)));
    // It has the same name; what was heard of the one before is nothing to it.
    claim();
    assert!(goes_on(reset(1)) && goes_on(reset(1)), "it has not got the key");
    assert!(goes_on(none()) && goes_on(reset(1)), "it could not keep it");
    assert!(ends(reset(2)));
    // Another operator's, which it obeyed until it was reset for this one.
    claim();
    assert!(goes_on((HeldKey::Id("0123456789abcdef".into()), None)) && goes_on(reset(3)));
    assert!(ends(reset(4)));
    // An agent that does not say which reset it was.
    claim();
    assert!(goes_on((HeldKey::Reset, None)) && goes_on((HeldKey::Reset, None)));
    judge(ours(None));
    assert!(ends((HeldKey::Reset, None)));
    // Claimed again before it heard of its release: it was reset once, and loses the key as it had it from before.
    for shown in [Some(4), None] {
        claim();
        judge(ours(shown));
        assert_eq!(goes_on(reset(4)), shown.is_some());
        assert!(shown.is_none() || ends(reset(7)));
        if let Some(camera) = fleet.camera("porch") {
            let id = camera.id;
            let name = "porch".into();
            fleet.settle(unix_now(), &Settle::Reset { name, id }).unwrap();
        }
    }
    claim();
    assert!(goes_on(reset(5)));
    let written = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while fleet.camera("porch").unwrap().reset_before != Some(5) {
            tokio::task::yield_now().await;
        }
    });
    written.await.expect("written down");
    assert!(goes_on(reset(5)) && ends(reset(6)));
}

/// Whoever dials twice at once is judged twice before its claim has ended, and may be another's by then.
#[test]
fn a_reset_that_is_told_late_does_not_end_the_next_claim() {
    let fleet = fleet(Fixed::default());
    let now = unix_now();
    let claim = || put(&fleet, Camera::claimed("porch", "", [1; 32], Method::Pin, now));
    let reset = || Settle::Reset {
        name: "porch".into(),
        id: fleet.camera("porch").unwrap().id,
    };
    claim();
    let first = reset();
    assert!(fleet.settle(now, &first).unwrap());
    assert!(!fleet.settle(now, &first).unwrap());
    claim();
    assert!(!fleet.settle(now, &first).unwrap());
    assert!(fleet.camera("porch").is_some());
    assert!(fleet.settle(now, &reset()).unwrap());
    assert!(fleet.camera("porch").is_none());
}

#[test]
fn an_agent_that_knows_nothing_of_claims_is_not_taken_for_reset() {
    let fleet = fleet(Fixed::default());
    let mut camera = Camera::claimed("porch", "", [1; 32], Method::Pin, 1);
    camera.confirmed = true;
    put(&fleet, camera);
    let unsaid = Introduction::default();
    let Admission::Admit { fields, .. } = fleet.judge(1, applicant(1), &unsaid) else {
        panic!("refused")
    };
    assert_eq!(fields, "");
    let none = Introduction {
        operator: HeldKey::None,
        ..Introduction::default()
    };
    // It could not keep the key, and is shown it again.
    let shown = fleet.judge(1, applicant(1), &none);
    assert!(matches!(shown, Admission::Admit { fields, .. } if fields.contains("Lenscap-Operator: p256/")));
    let at_the_device = Introduction {
        operator: HeldKey::Reset,
        ..Introduction::default()
    };
    let judged = fleet.judge(1, applicant(1), &at_the_device);
    assert!(
        matches!(&judged, Admission::Settle(Settle::Reset { name, .. }) if name == "porch"),
        "{judged:?}"
    );
    let foreign = Introduction {
        operator: HeldKey::Id("0123456789abcdef".into()),
        ..Introduction::default()
    };
    let shown = fleet.judge(1, applicant(1), &foreign);
    assert!(matches!(shown, Admission::Admit { fields, .. } if fields.contains("Lenscap-Operator: p256/")));
}

#[test]
fn a_bind_that_comes_too_late_changes_nothing() {
    let fleet = fleet(Fixed::default());
    let late = Settle::Bind {
        name: "porch".into(),
        fingerprint: [1; 32],
        model: None,
    };
    assert!(matches!(fleet.settle(1, &late), Err(FleetError::Missing(_))));
    put(&fleet, Camera::claimed("porch", "", [2; 32], Method::Pin, 1));
    assert!(matches!(fleet.settle(1, &late), Err(FleetError::Missing(_))));
    assert_eq!(fleet.name_of(&[2; 32]).as_deref(), Some("porch"));
}

#[test]
fn rules_follow_the_clock() {
    let fleet = fleet(Fixed::default());
    let now = unix_now();
    let new = |user: &str, seconds| NewViewer {
        user: user.into(),
        password: None,
        account: None,
        cameras: None,
        seconds,
    };
    fleet.add_viewer(new("short", Some(50))).unwrap();
    fleet.add_viewer(new("long", None)).unwrap();
    let token = NewToken {
        name: "t".into(),
        scopes: vec![Scope::View],
        account: None,
        cameras: None,
        seconds: Some(50),
    };
    let (id, secret) = fleet.add_token(token).unwrap();
    let rules = fleet.policy();
    let has = |user: &str| rules.borrow().viewers.contains_key(user);
    assert!(has("short") && has("long") && rules.borrow().link_issuers.contains_key(&id.to_string()));
    assert!(fleet.access(&secret, now + 40).is_some() && fleet.access(&secret, now + 60).is_none());
    fleet.handle_tick(now + 60);
    assert!(!has("short") && has("long") && !rules.borrow().link_issuers.contains_key(&id.to_string()));
    assert!(
        rules.borrow().unix_start.abs_diff(now + 60) < 5,
        "a clock that jumped is followed"
    );
}

#[test]
fn names_are_found_where_labels_cannot_be_one() {
    let fleet = fleet(Fixed::default());
    assert_eq!(fleet.free_name(Some("SN1"), &[0xAB; 32]), "SN1");
    put(&fleet, Camera::claimed("SN1", "", [1; 32], Method::Pin, 1));
    assert_eq!(fleet.free_name(Some("SN1"), &[0xAB; 32]), "SN1-abababab");
    assert_eq!(fleet.free_name(Some("S N/1"), &[0xAB; 32]), "camera-abababab");
}

#[test]
fn nothing_secret_is_shown_by_debug() {
    let pin = "7K3M-9QX0-1BCD-EF2G";
    let claim = ClaimRequest {
        pin: Some(pin.into()),
        ..ClaimRequest::default()
    };
    let viewer = NewViewer {
        user: "u".into(),
        password: Some("hunter2-hunter2".into()),
        account: None,
        cameras: None,
        seconds: None,
    };
    let shown = format!("{claim:?} {viewer:?} {:?}", pin::Pin::parse(pin));
    assert!(!shown.contains("7K3M") && !shown.contains("hunter2"), "{shown}");
}

fn token(fleet: &Fleet, name: &str, account: Option<&str>, cameras: Option<&[&str]>) -> (i64, String) {
    let token = NewToken {
        name: name.into(),
        scopes: vec![Scope::View, Scope::Claim],
        account: account.map(str::to_owned),
        cameras: cameras.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        seconds: None,
    };
    fleet.add_token(token).unwrap()
}

fn access(fleet: &Fleet, secret: &str) -> Access {
    fleet.access(secret, unix_now()).unwrap()
}

fn into(account: &str) -> Transfer {
    Transfer {
        account: Some(account.into()),
        forward: None,
    }
}

#[test]
fn a_former_owners_playback_addresses_open_nothing() {
    let fleet = fleet(Fixed::default());
    put(&fleet, Camera::claimed("porch", "acme", [1; 32], Method::Pin, 1));
    let (id, secret) = token(&fleet, "portal", Some("acme"), None);
    let owner = access(&fleet, &secret);
    let (link, _) = fleet.make_link(&owner, "porch", "main", 600).unwrap();
    let opens = || fleet.accept_link(&link, "porch", "main").is_some();
    // What streamers are told, over the wire and back.
    let told = || {
        let wire = serde_json::to_string(&fleet.rules()).unwrap();
        let rules: crate::roles::message::Rules = serde_json::from_str(&wire).unwrap();
        rules.link_issuers[&id.to_string()]
            .clone()
            .unwrap()
            .contains("porch")
    };
    assert!(opens() && told());
    let operator = Access::operator();
    fleet.transfer(&operator, "porch", into("other")).unwrap();
    assert!(!opens() && !told(), "transferred");
    fleet.transfer(&operator, "porch", into("acme")).unwrap();
    assert!(opens() && told());
    fleet.release(&operator, "porch").unwrap();
    assert!(!opens() && !told(), "released");
    put(&fleet, Camera::claimed("porch", "other", [2; 32], Method::Pin, 1));
    assert!(!opens() && !told(), "another camera of this name");
}

/// The operator's own portal makes addresses for every customer by one token that sees all.
#[test]
fn an_address_ends_with_the_ownership_whoever_made_it() {
    let fleet = fleet(Fixed::default());
    put(&fleet, Camera::claimed("porch", "acme", [1; 32], Method::Pin, 1));
    let (_, secret) = token(&fleet, "portal", None, None);
    let portal = access(&fleet, &secret);
    let links = [&portal, &Access::operator()].map(|by| fleet.make_link(by, "porch", "main", 600).unwrap().0);
    let open = || {
        links
            .iter()
            .filter(|link| fleet.accept_link(link, "porch", "main").is_some())
            .count()
    };
    assert_eq!(open(), 2);
    fleet
        .transfer(&Access::operator(), "porch", into("other"))
        .unwrap();
    assert_eq!(open(), 0);
    let wire = serde_json::to_string(&fleet.rules()).unwrap();
    let told: crate::roles::message::Rules = serde_json::from_str(&wire).unwrap();
    assert_eq!(told.owners, [("porch".to_owned(), "other".to_owned())].into());
    fleet.release(&Access::operator(), "porch").unwrap();
    put(&fleet, Camera::claimed("porch", "", [1; 32], Method::Pin, 1));
    assert_eq!(open(), 0);
}

/// What a list of the operator's names was given for the owner before.
#[test]
fn a_list_of_cameras_does_not_outlive_a_transfer() {
    let fleet = fleet(Fixed::default());
    put(&fleet, Camera::claimed("porch", "acme", [1; 32], Method::Pin, 1));
    let (_, secret) = token(&fleet, "t", None, Some(&["porch"]));
    assert!(fleet.sees(&access(&fleet, &secret), "porch"));
    fleet
        .transfer(&Access::operator(), "porch", into("acme"))
        .unwrap();
    assert!(fleet.sees(&access(&fleet, &secret), "porch"), "the same owner");
    fleet
        .transfer(&Access::operator(), "porch", into("other"))
        .unwrap();
    assert!(!fleet.sees(&access(&fleet, &secret), "porch"));
}

#[test]
fn a_list_of_cameras_does_not_outlive_them() {
    let fleet = fleet(Fixed::default());
    put(&fleet, Camera::claimed("porch", "acme", [1; 32], Method::Pin, 1));
    let (_, secret) = token(&fleet, "t", None, Some(&["porch"]));
    let viewer = NewViewer {
        user: "carol".into(),
        password: None,
        account: None,
        cameras: Some(vec!["porch".into()]),
        seconds: None,
    };
    fleet.add_viewer(viewer).unwrap();
    let sees = || {
        let by_name = fleet.policy().borrow().viewers["carol"].cameras.clone().unwrap();
        (
            fleet.sees(&access(&fleet, &secret), "porch"),
            by_name.contains("porch"),
        )
    };
    assert_eq!(sees(), (true, true));
    fleet.release(&Access::operator(), "porch").unwrap();
    put(&fleet, Camera::claimed("porch", "other", [2; 32], Method::Pin, 1));
    assert_eq!(sees(), (false, false));
}

#[test]
fn a_clock_that_was_set_back_overwrites_no_view() {
    let store = Arc::new(SqliteStore::in_memory().unwrap());
    let open = || {
        let store: Arc<dyn Store> = store.clone();
        Fleet::open(
            store,
            true,
            Fixed::default(),
            None,
            Arc::default(),
            Arc::default(),
        )
        .unwrap()
    };
    // Of a process whose clock was a day ahead, and which was killed.
    let ahead = i64::try_from((unix_now() + 86_400) * 1_000_000).unwrap();
    let before = View {
        id: ahead,
        ..open()
            .begin_view("porch", "main", "alice", "rtsp", "192.0.2.1")
            .unwrap()
    };
    store.write_views(&[before]).unwrap();
    let fleet = open();
    let view = fleet
        .begin_view("porch", "main", "bob", "rtsp", "192.0.2.1")
        .unwrap();
    assert_eq!(view.id, ahead + 1);
    fleet.end_view(view, 5);
    let all = ViewFilter {
        limit: 9,
        ..ViewFilter::default()
    };
    let views = fleet.views(&all).unwrap();
    let users: Vec<&str> = views.iter().map(|view| view.user.as_str()).collect();
    assert_eq!(users, ["bob", "alice", "alice"]);
    assert!(views.iter().all(|view| view.ended.is_some()));
}

/// A machine that starts in 1970, or whose clock was set to 2040.
#[test]
fn a_wrong_clock_issues_nothing_and_loses_nothing() {
    let addresses = EndpointAddresses {
        uplink_url: "https://gw/".into(),
        rtsp_url: None,
        http_url: None,
    };
    let part = Part::Endpoint {
        addresses: Some(addresses),
        capacity: 9,
    };
    let mut fleet = fleet(Fixed {
        part,
        ..Fixed::default()
    });
    put(&fleet, Camera::claimed("porch", "acme", [1; 32], Method::Pin, 1));
    let hello = crate::roles::message::Hello {
        v: crate::roles::message::VERSION,
        name: "s1".into(),
        uplink_url: "https://s1/".into(),
        rtsp_url: None,
        http_url: None,
        capacity: 1,
    };
    let _joined = fleet.streamers().join(hello).unwrap();
    let (_, lasting) = token(&fleet, "lasting", Some("acme"), None);
    let ending = NewToken {
        name: "ending".into(),
        scopes: vec![Scope::View],
        account: None,
        cameras: None,
        seconds: Some(3600),
    };
    let (_, ending) = fleet.add_token(ending).unwrap();
    let viewer = |user: &str| NewViewer {
        user: user.into(),
        password: None,
        account: None,
        cameras: None,
        seconds: None,
    };
    fleet.add_viewer(viewer("carol")).unwrap();
    let (access, operator) = (access(&fleet, &lasting), Access::operator());
    let (link, _) = fleet.make_link(&access, "porch", "main", 600).unwrap();
    let id = fleet.camera("porch").unwrap().id;
    let clocks: [(u64, fn() -> u64); 2] = [(60, || 60), (2_208_988_800, || 2_208_988_800)];
    for (now, clock) in clocks {
        Arc::get_mut(&mut fleet).unwrap().clock = clock;
        let list = || import::parse("serial\nSN9\n").unwrap();
        let refused = [
            fleet.add_viewer(viewer("dave")).map(drop),
            fleet.make_link(&operator, "porch", "main", 60).map(drop),
            fleet.release(&operator, "porch"),
            fleet.transfer(&operator, "porch", into("other")),
            fleet.import(list(), "").map(drop),
            fleet
                .settle(
                    now,
                    &Settle::Reset {
                        name: "porch".into(),
                        id,
                    },
                )
                .map(drop),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(FleetError::Clock(_))), "{refused:?}");
        }
        fleet.handle_tick(now);
        assert!(fleet.metrics.encode().contains("clock_wrong 1"));
        assert!(fleet.accept_link(&link, "porch", "main").is_none());
        assert!(fleet.access(&ending, now).is_none() && fleet.access(&lasting, now).is_some());
        // Carried here, with nothing that has a time in it; not sent to the streamer.
        let judged = fleet.judge(now, applicant(1), &Introduction::default());
        assert!(
            matches!(&judged, Admission::Admit { fields, .. } if fields.is_empty()),
            "{judged:?}"
        );
        assert_eq!(fleet.renewal(now, "porch", None), None);
        assert_eq!(fleet.way_out(now, "porch"), WayOut::None);
        // Rights can be taken away at any time.
        fleet.add_viewer(viewer("x")).unwrap_err();
    }
    fleet.remove_viewer("carol").unwrap();
    Arc::get_mut(&mut fleet).unwrap().clock = unix_now;
    fleet.handle_tick(unix_now());
    assert!(fleet.metrics.encode().contains("clock_wrong 0"));
    assert!(fleet.accept_link(&link, "porch", "main").is_some());
    assert!(fleet.access(&ending, unix_now()).is_some());
    fleet.release(&operator, "porch").unwrap();
}

/// A list that is exported and imported elsewhere takes nobody for a camera that has not shown the PIN.
#[test]
fn what_is_expected_by_its_pin_still_is_after_an_export_and_an_import() {
    let from = fleet(Fixed::default());
    let list = "serial,pin,account\nSN1,7K3M-9QX0-1BCD-EF2G,acme\nSN2,,acme\n";
    from.import(import::parse(list).unwrap(), "").unwrap();
    put(&from, Camera::claimed("porch", "acme", [9; 32], Method::Pin, 1));
    let exported = import::export(from.cameras().iter().map(|camera| &**camera));
    assert!(!exported.contains("7K3M"), "{exported}");
    let rows = import::parse(&exported).unwrap();
    assert!(!format!("{rows:?}").contains(&hex(&from.camera("SN1").unwrap().pin_key.unwrap())));
    let to = fleet(Fixed::default());
    to.import(rows.clone(), "").unwrap();
    for name in ["SN1", "SN2", "porch"] {
        let (one, two) = (from.camera(name).unwrap(), to.camera(name).unwrap());
        assert_eq!(
            (
                one.state,
                &one.pin_key,
                &one.account,
                &one.serial,
                one.fingerprint
            ),
            (
                two.state,
                &two.pin_key,
                &two.account,
                &two.serial,
                two.fingerprint
            )
        );
        let expected = if name == "porch" {
            Method::Fingerprint
        } else {
            one.method
        };
        assert_eq!(two.method, expected, "{name}");
    }
    let again = to.import(rows, "").unwrap();
    assert_eq!((again.added, again.updated, again.unchanged), (0, 0, 3));
    // Without the PIN it waits, with it it is bound.
    let said = Introduction::default();
    let without = to.judge(unix_now(), applicant(1), &said);
    assert!(matches!(without, Admission::Wait { .. }), "{without:?}");
    let key = pin::Pin::parse("7K3M-9QX0-1BCD-EF2G").unwrap().key("SN1");
    let with = Applicant {
        proof: Some(pin::proof(&key, &[1; 32])),
        ..applicant(1)
    };
    let bound = to.judge(unix_now(), with, &said);
    assert!(
        matches!(bound, Admission::Settle(Settle::Bind { .. })),
        "{bound:?}"
    );
}

/// Two changes of one camera at a time both hold, whichever has its turn first.
#[test]
fn changes_at_the_same_time_do_not_undo_each_other() {
    let fleet = fleet(Fixed::default());
    put(&fleet, Camera::claimed("porch", "", [1; 32], Method::Pin, 1));
    let operator = Access::operator();
    for round in 0..200 {
        let (account, media) = (format!("a{round}"), round % 2 == 0);
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                fleet.transfer(&operator, "porch", into(&account)).unwrap();
            });
            start.wait();
            fleet.set_media(&operator, "porch", media).unwrap();
        });
        let camera = fleet.camera("porch").unwrap();
        assert_eq!((&camera.account, camera.media), (&account, media));
    }
}
