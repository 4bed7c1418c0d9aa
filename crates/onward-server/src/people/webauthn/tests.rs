//! The test vectors of the standard (W3C Web Authentication Level 3, §16), and changes to what is right.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Vector {
    name: String,
    registration_challenge: String,
    registration_client_data: String,
    attestation_object: String,
    credential_id: String,
    challenge: String,
    authenticator_data: String,
    client_data: String,
    signature: String,
}

/// §16.1: the relying party of all vectors.
fn party() -> RelyingParty {
    RelyingParty { id: "example.org".to_owned(), origin: "https://example.org".to_owned(), rsa_bits_min: RSA_BITS_MIN }
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors.json")).expect("JSON")
}

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hexadecimal")
}

fn challenge(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(hex(text))
}

/// The attestation object with other bytes in its authenticator data, at this offset of it.
fn with_data(object: &[u8], offset: usize, change: impl Fn(&mut u8)) -> Vec<u8> {
    let party = sha256(b"example.org");
    let at = object.windows(32).position(|window| window == party).expect("the authenticator data begins so");
    let mut changed = object.to_vec();
    change(&mut changed[at + offset]);
    changed
}

/// The flags stand behind the hash of the relying party.
const FLAGS: usize = 32;

/// The vectors draw their flags by lot. Where the person was not verified, everything else is right, and that is refused.
#[test]
fn the_vectors_of_the_standard() {
    for vector in vectors() {
        let name = &vector.name;
        let object = hex(&vector.attestation_object);
        let create = |object: &[u8]| {
            let client_data = hex(&vector.registration_client_data);
            party().register(&challenge(&vector.registration_challenge), &client_data, object)
        };
        let was_verified = with_data(&object, FLAGS, |flags| *flags |= 4) == object;
        assert_eq!(create(&object).map(drop), if was_verified { Ok(()) } else { Err(Refused::NotVerified) }, "{name}");
        // Nothing signs what an authenticator without attestation says of itself.
        let registered = create(&with_data(&object, FLAGS, |flags| *flags |= 4)).expect("registered");
        assert_eq!(registered.id, hex(&vector.credential_id), "{name}");
        assert_eq!(registered.counter, 0, "{name}");

        let (client_data, signature) = (hex(&vector.client_data), hex(&vector.signature));
        let data = hex(&vector.authenticator_data);
        let get = |challenge: &str, client_data: &[u8], authenticator_data: &[u8], signature: &[u8]| {
            let said = Assertion { client_data, authenticator_data, signature };
            party().verify(challenge, &registered.public_key, &said)
        };
        let right = challenge(&vector.challenge);
        assert_eq!(
            get(&right, &client_data, &data, &signature),
            Err(Refused::NotVerified),
            "{name}: all else is right"
        );
        let mut other = data.clone();
        other[FLAGS] |= 4;
        assert_eq!(get(&right, &client_data, &other, &signature), Err(Refused::Signature), "{name}: flags are signed");
        let mut other = signature.clone();
        *other.last_mut().expect("not empty") ^= 1;
        assert_eq!(get(&right, &client_data, &data, &other), Err(Refused::Signature), "{name}");
        let longer = [client_data.as_slice(), b" "].concat();
        assert_eq!(get(&right, &longer, &data, &signature), Err(Refused::Signature), "{name}: to the byte");
        let registration = challenge(&vector.registration_challenge);
        assert_eq!(get(&registration, &client_data, &data, &signature), Err(Refused::Challenge), "{name}");
    }
}

#[test]
fn an_rsa_key_has_as_many_bits_as_are_asked_for() {
    let vector = vectors().into_iter().find(|vector| vector.name == "packed.RS256").expect("one of RSA");
    let object = with_data(&hex(&vector.attestation_object), FLAGS, |flags| *flags |= 4);
    let client_data = hex(&vector.registration_client_data);
    let register = |rsa_bits_min| {
        let party = RelyingParty { rsa_bits_min, ..party() };
        party.register(&challenge(&vector.registration_challenge), &client_data, &object).map(drop)
    };
    // The standard's has 436 bytes, of which the first is 3.
    assert_eq!((register(2048), register(3482)), (Ok(()), Ok(())));
    assert_eq!(register(3483), Err(Refused::Key));
    let asked_for = |rsa_bits_min| RelyingParty { rsa_bits_min, ..party() }.algorithms().collect::<Vec<_>>();
    assert_eq!(asked_for(2048), [-7, -8, -257]);
    assert_eq!(asked_for(3072), [-7, -8]);
}

#[test]
fn an_answer_for_somebody_else_is_refused() {
    let vector = &vectors()[1];
    let (object, challenge) = (hex(&vector.attestation_object), challenge(&vector.registration_challenge));
    let client_data = String::from_utf8(hex(&vector.registration_client_data)).expect("text");
    let create = |party: RelyingParty, client_data: &str, object: &[u8]| {
        party.register(&challenge, client_data.as_bytes(), object).map(drop)
    };
    assert_eq!(create(party(), &client_data, &object), Ok(()));
    let elsewhere = RelyingParty { id: "example.com".to_owned(), ..party() };
    assert_eq!(create(elsewhere, &client_data, &object), Err(Refused::RelyingParty));
    for origin in
        ["https://example.org.evil.example", "http://example.org", "https://example.org:444", "https://sub.example.org"]
    {
        let other = client_data.replace("https://example.org", origin);
        assert_eq!(create(party(), &other, &object), Err(Refused::Origin), "row 112: {origin}");
    }
    let framed = client_data.replace("\"crossOrigin\":false", "\"crossOrigin\":true");
    assert_eq!(create(party(), &framed, &object), Err(Refused::Origin), "§16.4: in another's frame");
    let topped = client_data.replace("\"crossOrigin\":false", "\"topOrigin\":\"https://evil.example\"");
    assert_eq!(create(party(), &topped, &object), Err(Refused::Origin));
    let signs_in = client_data.replace("webauthn.create", "webauthn.get");
    assert!(matches!(create(party(), &signs_in, &object), Err(Refused::Malformed(_))));
    let absent = with_data(&object, FLAGS, |flags| *flags &= !1);
    assert_eq!(create(party(), &client_data, &absent), Err(Refused::NotPresent));
}

#[test]
fn what_is_not_as_specified_is_refused() {
    let vector = &vectors()[1];
    let object = hex(&vector.attestation_object);
    let create = |object: &[u8]| {
        let client_data = hex(&vector.registration_client_data);
        party().register(&challenge(&vector.registration_challenge), &client_data, object).map(drop)
    };
    for length in 0..object.len() {
        assert!(create(&object[..length]).is_err(), "cut after {length} bytes");
    }
    assert!(create(&[object.as_slice(), &[0]].concat()).is_err(), "something behind it");
    assert!(create(&with_data(&object, FLAGS, |flags| *flags &= !8)).is_err(), "backed up without being eligible");
    assert!(create(&with_data(&object, FLAGS, |flags| *flags &= !0x40)).is_err(), "no credential");
    assert!(create(&with_data(&object, FLAGS, |flags| *flags |= 0x80)).is_err(), "extensions that are not there");
    let key =
        hex(&vector.attestation_object.split("a50102").nth(1).map(|rest| format!("a50102{rest}")).expect("a key"));
    assert!(PublicKey::read(&key, RSA_BITS_MIN).is_ok());
    for (from, to) in [
        (vec![0x01, 0x02], vec![0x01, 0x03]),
        (vec![0x03, 0x26], vec![0x03, 0x27]),
        (vec![0x20, 0x01], vec![0x20, 0x02]),
        // The key type twice, in place of the curve.
        (vec![0x20, 0x01], vec![0x01, 0x02]),
        // A point that is not on the curve.
        (vec![0x58, 0x20, 0xeb], vec![0x58, 0x20, 0xea]),
    ] {
        let at = key.windows(from.len()).position(|window| window == from).expect("there");
        let mut changed = key.clone();
        changed.splice(at..at + from.len(), to);
        assert!(PublicKey::read(&changed, RSA_BITS_MIN).is_err(), "{from:x?}");
    }
    // A thousand arrays in each other.
    assert!(create(&vec![0x81; 1000]).is_err());
    assert!(bytes("AA=").is_err() && bytes("+/").is_err() && bytes("AAA").is_ok());
}
