use super::*;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

/// An operator as a gateway is one.
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    rng: SystemRandom,
}

/// Of the camera in these tests.
pub(crate) const FINGERPRINT: [u8; 32] = [1; 32];
const PIN_KEY: [u8; 32] = [7; 32];

impl Signer {
    pub(crate) fn new() -> Self {
        let rng = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &rng).unwrap();
        Self {
            pair: EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &rng).unwrap(),
            rng,
        }
    }

    fn key(&self) -> PublicKey {
        self.pair.public_key().as_ref().try_into().unwrap()
    }

    pub(crate) fn id(&self) -> String {
        Operator {
            key: self.key(),
            standing: Standing::Proven,
            issued: 0,
        }
        .id()
    }

    pub(crate) fn introduction(&self, pin_key: Option<&[u8; 32]>) -> String {
        let key = Base64::encode_string(&self.key());
        let Some(pin_key) = pin_key else {
            return format!("p256/{key}");
        };
        let text = format!("lenscap-operator-1\n{}\n{}", hex(&FINGERPRINT), hex(&self.key()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, pin_key), text.as_bytes());
        format!(
            "p256/{key}, proof={}",
            Base64UrlUnpadded::encode_string(tag.as_ref())
        )
    }

    fn sign(&self, issued: u64, text: &str) -> String {
        let signature = self.pair.sign(&self.rng, text.as_bytes()).unwrap();
        let signature = Base64UrlUnpadded::encode_string(signature.as_ref());
        format!("key={}, issued={issued}, sig={signature}", self.id())
    }

    pub(crate) fn release(&self, issued: u64) -> String {
        let text = format!("lenscap-release-1\n{}\n{issued}", hex(&FINGERPRINT));
        self.sign(issued, &text)
    }

    pub(crate) fn redirect(&self, issued: u64, location: &str, pin: Option<&str>) -> String {
        let (fingerprint, pin) = (hex(&FINGERPRINT), pin.unwrap_or("-"));
        let text = format!("lenscap-redirect-1\n{fingerprint}\n{issued}\n{location}\n{pin}");
        self.sign(issued, &text)
    }
}

fn claim() -> Claim {
    let mut claim = Claim::new(&FINGERPRINT);
    claim.set_pin_key(Some(&PIN_KEY));
    claim
}

#[test]
fn the_proof_decides_and_the_label_wins() {
    let (owner, stranger) = (Signer::new(), Signer::new());
    let mut claim = claim();
    assert_eq!(claim.held(), "none");
    assert!(claim.pin_proof().is_some() && !claim.is_claimed());
    // A gateway that merely met the camera.
    assert_eq!(claim.handle_introduction(&stranger.introduction(None)), Ok(true));
    assert_eq!(claim.held(), stranger.id());
    let guessed = stranger.introduction(Some(&[8; 32]));
    assert_eq!(claim.handle_introduction(&guessed), Err(ClaimError::WrongProof));
    assert_eq!(
        claim.handle_introduction(&owner.introduction(None)),
        Err(ClaimError::OtherOperator)
    );
    let proven = owner.introduction(Some(&PIN_KEY));
    assert_eq!(claim.handle_introduction(&proven), Ok(true));
    assert_eq!(claim.handle_introduction(&proven), Ok(false));
    assert_eq!(claim.handle_introduction(&owner.introduction(None)), Ok(false));
    assert_eq!((claim.held(), claim.pin_proof()), (owner.id(), None));
    for other in [stranger.introduction(None), stranger.introduction(Some(&PIN_KEY))] {
        assert_eq!(claim.handle_introduction(&other), Err(ClaimError::OtherOperator));
    }
    // Without a PIN nothing can be proven.
    let mut plain = Claim::new(&FINGERPRINT);
    assert_eq!(plain.handle_introduction(&proven), Ok(true));
    assert_eq!(plain.operator().unwrap().standing, Standing::Unproven);
    assert_eq!(plain.pin_proof(), None);
}

#[test]
fn redirects_are_for_one_camera_one_address_and_one_time() {
    let (owner, other) = (Signer::new(), Signer::new());
    let mut claim = claim();
    let to = "https://next.example/up";
    let signed = owner.redirect(100, to, Some("sha256/x"));
    let check = |claim: &Claim, text: &str| claim.check_redirect(Some(text), to, Some("sha256/x"));
    assert_eq!(
        check(&claim, &signed),
        Err(ClaimError::OtherOperator),
        "unclaimed"
    );
    claim
        .handle_introduction(&owner.introduction(Some(&PIN_KEY)))
        .unwrap();
    assert_eq!(check(&claim, &signed), Ok(100));
    assert_eq!(claim.check_redirect(None, to, None), Err(ClaimError::Unsigned));
    for (location, pin) in [
        ("https://evil.example/up", Some("sha256/x")),
        (to, None),
        (to, Some("sha256/y")),
    ] {
        let judged = claim.check_redirect(Some(&signed), location, pin);
        assert_eq!(judged, Err(ClaimError::WrongSignature));
    }
    let foreign = other.redirect(100, to, Some("sha256/x"));
    assert_eq!(check(&claim, &foreign), Err(ClaimError::OtherOperator));
    let renamed = foreign.replace(&other.id(), &owner.id());
    assert_eq!(check(&claim, &renamed), Err(ClaimError::WrongSignature));
    assert_eq!(
        check(&claim, &signed.replace("issued=100", "issued=101")),
        Err(ClaimError::WrongSignature)
    );
    let mut twin = Claim::new(&[2; 32]);
    twin.set_operator(claim.operator().cloned());
    assert_eq!(check(&twin, &signed), Err(ClaimError::WrongSignature));
    claim.note_followed(100);
    assert_eq!(check(&claim, &signed), Err(ClaimError::Stale));
    assert_eq!(check(&claim, &owner.redirect(101, to, Some("sha256/x"))), Ok(101));
    for bad in ["", "key=", "key=a, issued=b, sig=c", &signed[..signed.len() - 1]] {
        assert!(check(&claim, bad).is_err(), "{bad}");
    }
}

#[test]
fn a_release_ends_the_claim_once() {
    let owner = Signer::new();
    let mut claim = claim();
    let proven = owner.introduction(Some(&PIN_KEY));
    claim.handle_introduction(&proven).unwrap();
    assert!(claim.handle_release(&Signer::new().release(5)).is_err() && claim.is_claimed());
    let release = owner.release(50);
    assert_eq!(claim.handle_release(&release), Ok(()));
    assert_eq!(claim.held(), "none");
    assert!(claim.pin_proof().is_some());
    // Claimed again by the same operator: what was signed before is worth nothing.
    assert_eq!(claim.handle_introduction(&proven), Ok(true));
    assert_eq!(claim.handle_release(&release), Err(ClaimError::Stale));
    assert_eq!(claim.handle_release(&owner.release(51)), Ok(()));
    // Or by another.
    let next = Signer::new();
    assert_eq!(claim.handle_introduction(&next.introduction(None)), Ok(true));
    assert_eq!(claim.held(), next.id());
}

/// The same figures as in the gateway's tests, made with Python's hashlib and hmac.
#[test]
fn agrees_with_another_implementation() {
    let mut key = [0; 32];
    for (byte, digits) in key.iter_mut().zip(KEY.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(core::str::from_utf8(digits).unwrap(), 16).unwrap();
    }
    let mut claim = Claim::new(&FINGERPRINT);
    claim.set_pin_key(Some(&key));
    let shown = Base64UrlUnpadded::decode_vec(&claim.pin_proof().unwrap()).unwrap();
    assert_eq!(hex(&shown), PROOF);
}

const KEY: &str = "25471940cce3d53dc0e8a05590e786c6f437921e86081d3741b61379038480b3";
const PROOF: &str = "617742bb955b29174b6ae01ec9e62938d024b896a911c00329aca2bb88164ba9";

#[test]
fn keys_come_back_out_of_their_text() {
    let operator = Operator {
        key: Signer::new().key(),
        standing: Standing::Proven,
        issued: 7,
    };
    assert_eq!(Operator::parse_key(&operator.key_text()), Some(operator.key));
    let mut compressed = operator.key;
    compressed[0] = 3;
    for bad in [
        "",
        "AAAA",
        &operator.key_text()[1..],
        &Base64::encode_string(&compressed),
    ] {
        assert_eq!(Operator::parse_key(bad), None);
    }
    assert_eq!(operator.id().len(), ID_LEN);
    assert!(!format!("{operator:?}").contains(&operator.key_text()));
}

proptest! {
    #[test]
    fn any_text_is_judged(text in "(p256/|key=|, proof=|, issued=|, sig=|[0-9A-Za-z+/=_-]{1,90}|\\PC){0,6}") {
        let owner = Signer::new();
        let mut claim = claim();
        claim.handle_introduction(&owner.introduction(Some(&PIN_KEY))).unwrap();
        prop_assert!(claim.handle_release(&text).is_err());
        prop_assert!(claim.check_redirect(Some(&text), "https://a/", None).is_err());
        let mut empty = self::claim();
        // A point that is on no curve is taken, and then verifies nothing.
        if empty.handle_introduction(&text) == Ok(true) {
            prop_assert!(empty.check_redirect(Some(&owner.redirect(1, "https://a/", None)), "https://a/", None).is_err());
        }
    }
}
