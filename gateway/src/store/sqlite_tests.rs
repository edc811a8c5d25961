use super::super::model::{CameraState, Details, Method, Scope};
use super::*;
use crate::rtsp::digest::Ha1;

fn camera(name: &str, key: u8) -> Camera {
    Camera::claimed(name, "acme", [key; 32], Method::Pin, 100)
}

#[test]
fn cameras_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let mut full = camera("front", 1);
    full.serial = Some("SN1".into());
    full.model = Some("M".into());
    full.operator_proof = Some([9; 32]);
    full.suspended = true;
    full.reset_before = Some(u32::MAX);
    full.details = Details {
        agent_id: Some("a1".into()),
        stream: Some("rtsp://x/1".into()),
        substream: Some("rtsp://x/2".into()),
        snapshot: Some("http://x/3".into()),
        onvif_url: Some("http://x/4".into()),
        ptz: Some(true),
    };
    let reserved = Camera {
        fingerprint: None,
        state: CameraState::Reserved,
        pin_key: Some([7; 32]),
        serial: Some("SN2".into()),
        claimed: None,
        media: false,
        ..camera("back", 0)
    };
    SqliteStore::open(&path)
        .unwrap()
        .put_cameras(&[full.clone(), reserved.clone()])
        .unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let read = store.cameras().unwrap();
    assert!(
        read[0]
            == Camera {
                id: read[0].id,
                ..reserved
            }
    );
    assert!(
        read[1]
            == Camera {
                id: read[1].id,
                ..full
            }
    );
    assert!(!format!("{read:?}").contains('9'), "secrets stay out of Debug");
}

#[test]
fn the_latest_audit_is_kept_and_goes_with_its_camera() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let store = SqliteStore::open(&path).unwrap();
    store
        .put_cameras(&[camera("front", 1), camera("back", 2)])
        .unwrap();
    assert_eq!(store.audit("front").unwrap(), None);
    store.put_audit("front", 5, b"one").unwrap();
    store.put_audit("front", 6, b"two").unwrap();
    // Of the configuration file.
    store.put_audit("fixed", 7, b"three").unwrap();
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.audit("front").unwrap(), Some((6, b"two".to_vec())));
    let largest = vec![b' '; crate::reports::audit::MAX_AUDIT_BYTES];
    store.put_audit("back", 8, &largest).unwrap();
    assert!(
        store
            .put_audit("back", 9, &[&largest[..], b" "].concat())
            .is_err()
    );
    assert_eq!(store.audit("back").unwrap(), Some((8, largest)));
    let front = store
        .cameras()
        .unwrap()
        .into_iter()
        .find(|camera| camera.name == "front");
    store.remove_camera(front.unwrap().id, 10, "released").unwrap();
    assert_eq!(store.audit("front").unwrap(), None);
    store.remove_audit("fixed").unwrap();
    store.remove_audit("fixed").unwrap();
    assert_eq!(store.audit("fixed").unwrap(), None);
}

#[test]
fn all_of_a_list_or_nothing() {
    let store = SqliteStore::in_memory().unwrap();
    store.put_cameras(&[camera("front", 1)]).unwrap();
    for (list, why) in [
        (
            vec![camera("a", 2), camera("front", 3)],
            "the name \"front\" is taken",
        ),
        (
            vec![camera("a", 2), camera("b", 1)],
            "this key is claimed already",
        ),
    ] {
        let error = store.put_cameras(&list).unwrap_err();
        assert!(
            matches!(error, StoreError::Conflict(_)) && error.to_string().contains(why),
            "{error}"
        );
        assert_eq!(store.cameras().unwrap().len(), 1);
    }
}

#[test]
fn a_release_is_remembered_and_revokes() {
    let store = SqliteStore::in_memory().unwrap();
    store.put_cameras(&[camera("front", 1)]).unwrap();
    store.set_placements(&[("front".into(), "s1".into())]).unwrap();
    let id = store.cameras().unwrap()[0].id;
    store.remove_camera(id, 200, "released").unwrap();
    assert!(store.cameras().unwrap().is_empty());
    assert!(store.placements().unwrap().is_empty());
    assert_eq!(store.revocations().unwrap(), [([1; 32], 200)]);
    let history: (String, i64) = store
        .connection()
        .query_row("SELECT why, ended FROM claims", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(history, ("released".to_owned(), 200));
    assert!(matches!(
        store.remove_camera(id, 1, ""),
        Err(StoreError::Missing(_))
    ));
    store.put_cameras(&[camera("front", 1)]).unwrap();
}

#[test]
fn viewers_tokens_and_forwards() {
    let store = SqliteStore::in_memory().unwrap();
    let viewer = ViewerRow {
        user: "alice".into(),
        ha1: Ha1::from_password("alice", "lenscap", "pw"),
        account: "acme".into(),
        cameras: Some(vec!["front".into(), "back".into()]),
        created: 1,
        expires: Some(2),
    };
    store.add_viewer(&viewer).unwrap();
    assert!(matches!(store.add_viewer(&viewer), Err(StoreError::Conflict(_))));
    assert!(store.viewers().unwrap() == [viewer]);
    store.remove_viewer("alice").unwrap();
    assert!(matches!(
        store.remove_viewer("alice"),
        Err(StoreError::Missing(_))
    ));
    let mut token = Token {
        id: 0,
        name: "t".into(),
        hash: [3; 32],
        scopes: vec![Scope::View, Scope::Claim],
        account: String::new(),
        cameras: None,
        created: 1,
        expires: None,
    };
    token.id = store.add_token(&token).unwrap();
    assert_eq!(store.tokens().unwrap(), [token.clone()]);
    store.remove_token(token.id).unwrap();
    let forward = Forward {
        url: "https://x/".into(),
        pin: None,
    };
    store.set_forward(&[1; 32], Some(&forward)).unwrap();
    assert_eq!(store.forwards().unwrap(), [([1; 32], forward)]);
    store.set_forward(&[1; 32], None).unwrap();
    assert!(store.forwards().unwrap().is_empty());
    let secret = store.secret("x", &|| vec![1]).unwrap();
    assert!(store.secret("x", &|| vec![2]).unwrap() == secret);
}

#[test]
fn views_are_paged_and_end_where_they_began() {
    let store = SqliteStore::in_memory().unwrap();
    let view = |id: i64, user: &str| View {
        id,
        camera: "front".into(),
        profile: "main".into(),
        user: user.into(),
        by: "rtsp".into(),
        address: "192.0.2.1".into(),
        began: 10,
        ended: None,
        bytes: 0,
    };
    store
        .write_views(&[view(1, "alice"), view(2, "bob"), view(3, "alice")])
        .unwrap();
    let ended = View {
        ended: Some(20),
        bytes: 99,
        ..view(1, "alice")
    };
    store.write_views(std::slice::from_ref(&ended)).unwrap();
    let filter = ViewFilter {
        user: Some("alice".into()),
        before: Some(3),
        limit: 10,
        ..ViewFilter::default()
    };
    assert_eq!(store.views(&filter).unwrap(), [ended]);
    let all = ViewFilter {
        limit: 2,
        ..ViewFilter::default()
    };
    let ids: Vec<i64> = store.views(&all).unwrap().iter().map(|view| view.id).collect();
    assert_eq!(ids, [3, 2]);
}

/// A view of `began` to `ended`.
fn seen(id: i64, began: u64, ended: Option<u64>) -> View {
    View {
        id,
        camera: "front".into(),
        profile: "main".into(),
        user: "alice".into(),
        by: "rtsp".into(),
        address: "192.0.2.1".into(),
        began,
        ended,
        bytes: 7,
    }
}

#[test]
fn what_a_killed_process_left_open_is_closed() {
    let store = SqliteStore::in_memory().unwrap();
    assert_eq!(store.close_views().unwrap(), 0);
    let (long, done, open) = (seen(1, 10, None), seen(2, 20, Some(50)), seen(3, 40, None));
    store.write_views(&[long, done.clone(), open]).unwrap();
    assert_eq!(store.close_views().unwrap(), 3);
    let all = ViewFilter {
        limit: 9,
        ..ViewFilter::default()
    };
    assert_eq!(
        store.views(&all).unwrap(),
        [seen(3, 40, Some(50)), done, seen(1, 10, Some(50))]
    );
}

/// A process that is killed in mid-transaction, or whose log is cut, comes back with whole claims only.
#[test]
fn a_cut_log_loses_no_acknowledged_claim_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let store = SqliteStore::open(&path).unwrap();
    store
        .connection()
        .execute_batch("PRAGMA wal_autocheckpoint = 0")
        .unwrap();
    let log = folder.path().join("x.db-wal");
    let mut ends = Vec::new();
    for key in 1..=5 {
        store.put_cameras(&[camera(&format!("c{key}"), key)]).unwrap();
        ends.push(std::fs::metadata(&log).unwrap().len());
    }
    let (database, whole) = (std::fs::read(&path).unwrap(), std::fs::read(&log).unwrap());
    let mut cut = 32;
    while cut <= whole.len() {
        let other = tempfile::tempdir().unwrap();
        let copy = other.path().join("x.db");
        std::fs::write(&copy, &database).unwrap();
        std::fs::write(other.path().join("x.db-wal"), &whole[..cut]).unwrap();
        let whole_commits = ends.iter().filter(|end| **end <= cut as u64).count();
        // The tables themselves are in the log too; before they are whole there is an empty database.
        let found = SqliteStore::open(&copy).unwrap().cameras().unwrap();
        assert_eq!(found.len(), whole_commits, "cut at {cut} of {}", whole.len());
        cut += 1009;
    }
}

/// Every change reads all cameras, so none of this may look at all keys for each camera.
#[test]
fn a_cameras_key_is_found_by_an_index() {
    let store = SqliteStore::in_memory().unwrap();
    let connection = store.connection();
    for sql in [
        format!("SELECT {CAMERA_COLUMNS} FROM cameras ORDER BY name"),
        "DELETE FROM fingerprints WHERE camera = 1".to_owned(),
        "DELETE FROM cameras WHERE id = 1".to_owned(),
    ] {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps: Vec<String> = plan
            .query_map([], |row| row.get(3))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        assert!(
            steps.iter().all(|step| !step.starts_with("SCAN fingerprints")),
            "{sql}: {steps:?}"
        );
    }
}

#[test]
fn a_released_cameras_name_means_nothing_to_those_who_had_it() {
    let store = SqliteStore::in_memory().unwrap();
    store.put_cameras(&[camera("a", 1), camera("b.a", 2)]).unwrap();
    let list = |names: &str| Some(names.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let lists = [
        ("", list("a")),
        ("", list("a a b.a a")),
        ("", list("b.a c")),
        ("", None),
        ("acme", list("a b.a")),
    ];
    for (index, (account, cameras)) in lists.iter().enumerate() {
        let viewer = ViewerRow {
            user: index.to_string(),
            ha1: Ha1::from_password("x", "lenscap", "pw"),
            account: (*account).into(),
            cameras: cameras.clone(),
            created: 1,
            expires: None,
        };
        let token = Token {
            id: 0,
            name: index.to_string(),
            hash: [u8::try_from(index).unwrap(); 32],
            scopes: vec![Scope::View],
            account: (*account).into(),
            cameras: cameras.clone(),
            created: 1,
            expires: None,
        };
        store.add_viewer(&viewer).unwrap();
        store.add_token(&token).unwrap();
    }
    let id = store.cameras().unwrap()[0].id;
    store.remove_camera(id, 200, "released").unwrap();
    // An account's cameras bound its lists: back with the same owner, it is seen again.
    let left = [Some(Vec::new()), list("b.a"), list("b.a c"), None, list("a b.a")];
    let viewers: Vec<_> = store
        .viewers()
        .unwrap()
        .into_iter()
        .map(|row| row.cameras)
        .collect();
    let tokens: Vec<_> = store
        .tokens()
        .unwrap()
        .into_iter()
        .map(|row| row.cameras)
        .collect();
    assert_eq!((&viewers[..], &tokens[..]), (&left[..], &left[..]));
}
