use super::*;
use crate::fleet::admit::{Admission, Settle};
use crate::fleet::pending::Applicant;
use crate::fleet::tests::fleet;
use crate::fleet::{Fixed, NewToken};
use crate::uplink::upgrade::{HeldKey, Introduction};

const PIN: &str = "7K3M-9QX0-1BCD-EF2G";
const KEY: Sha256Hash = [1; 32];

fn applicant(proof: Option<[u8; 32]>) -> Applicant {
    Applicant {
        fingerprint: KEY,
        address: ([192, 0, 2, 1], 5000).into(),
        serial: Some("SN1".to_owned()),
        model: Some("Dome".to_owned()),
        agent_version: None,
        proof,
    }
}

fn by_pin(wait: bool) -> ClaimRequest {
    ClaimRequest {
        name: Some("porch".to_owned()),
        serial: Some("SN1".to_owned()),
        pin: Some(PIN.to_owned()),
        wait,
        ..ClaimRequest::default()
    }
}

/// It learns of the release when it comes the first time, and shows what its PIN is compared with the next time.
#[tokio::test]
async fn one_that_was_released_a_moment_ago_is_waited_for() {
    let (fleet, operator) = (fleet(Fixed::default()), Access::operator());
    let now = unix_now();
    let camera = Camera::claimed("porch", "", KEY, Method::Pin, now);
    fleet.change(|store| Ok(store.put_cameras(&[camera])?)).unwrap();
    fleet.release(&operator, "porch").unwrap();
    let error = fleet.claim(&operator, by_pin(false)).await.unwrap_err();
    assert!(
        matches!(&error, FleetError::Missing(why) if why.contains("ten seconds")),
        "{error}"
    );
    let obeys = Introduction {
        operator: HeldKey::Id(fleet.operator.id().to_owned()),
        ..Introduction::default()
    };
    let told = |fleet: &Fleet| match fleet.judge(now, applicant(None), &obeys) {
        Admission::Wait { fields, .. } => fields.contains("Lenscap-Release: "),
        _ => false,
    };
    assert!(told(&fleet));
    let error = fleet.claim(&operator, by_pin(false)).await.unwrap_err();
    assert!(
        matches!(&error, FleetError::Conflict(why) if why.contains("ten seconds") && why.contains("--wait")),
        "{error}"
    );
    // Who may not speak for cameras that have not come yet may not do so by this way either.
    let token = NewToken {
        name: "t".to_owned(),
        scopes: vec![Scope::Claim],
        account: Some("acme".to_owned()),
        cameras: None,
        seconds: None,
    };
    let (_, secret) = fleet.add_token(token).unwrap();
    let bounded = fleet.access(&secret, now).unwrap();
    let error = fleet.claim(&bounded, by_pin(true)).await.unwrap_err();
    assert!(matches!(error, FleetError::Forbidden(_)), "{error}");

    let expected = fleet.claim(&operator, by_pin(true)).await.unwrap();
    assert_eq!(
        (expected.state, expected.fingerprint),
        (CameraState::Reserved, None)
    );
    assert!(told(&fleet), "without its PIN's proof it is not taken for it");
    let key = Pin::parse(PIN).unwrap().key("SN1");
    let wrong = applicant(Some([7; 32]));
    let none = Introduction {
        operator: HeldKey::None,
        ..Introduction::default()
    };
    assert!(matches!(fleet.judge(now, wrong, &none), Admission::Wait { .. }));
    let right = applicant(Some(pin::proof(&key, &KEY)));
    let Admission::Settle(settle @ Settle::Bind { .. }) = fleet.judge(now, right, &none) else {
        panic!("it is not claimed")
    };
    fleet.settle(now, &settle).unwrap();
    let camera = fleet.camera("porch").unwrap();
    assert_eq!(
        (camera.state, camera.method, camera.fingerprint),
        (CameraState::Claimed, Method::Pin, Some(KEY))
    );
    let shown = pin::operator_proof(&key, &KEY, fleet.operator.public());
    assert_eq!(camera.operator_proof, Some(shown));
    assert!(fleet.pending().is_empty());
}
