//! A software authenticator (W3C Web Authentication, Level 3 §6), with the mistakes that a test asks of it.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const CREDENTIAL: u8 = 0x40;

/// An authenticator with one credential.
pub struct Authenticator {
    key: EcdsaKeyPair,
    id: [u8; 32],
    user_handle: Option<String>,
    /// Its signature counter; the next answer has the next number. 0 stays 0.
    pub counter: u32,
    /// Whether it verifies the person.
    pub verifies: bool,
    /// The origin that the browser says.
    pub origin: String,
}

impl Authenticator {
    /// A new one, in a browser that shows pages of this origin.
    ///
    /// # Panics
    /// When the machine gives no randomness.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).expect("a key");
        let mut id = [0; 32];
        aws_lc_rs::rand::fill(&mut id).expect("randomness");
        Self { key, id, user_handle: None, counter: 0, verifies: true, origin: origin.to_owned() }
    }

    fn flags(&self) -> u8 {
        if self.verifies { USER_PRESENT | USER_VERIFIED } else { USER_PRESENT }
    }

    fn data(&mut self, party: &str, flags: u8) -> Vec<u8> {
        if self.counter > 0 {
            self.counter += 1;
        }
        let hash = digest(&SHA256, party.as_bytes());
        [hash.as_ref(), &[flags], &self.counter.to_be_bytes()].concat()
    }

    fn client_data(&self, kind: &str, challenge: &Value) -> Vec<u8> {
        json!({ "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false })
            .to_string()
            .into_bytes()
    }

    /// What the page sends for a new credential.
    ///
    /// # Panics
    /// When the options are none.
    pub fn create(&mut self, options: &Value) -> Value {
        self.user_handle = Some(options["user"]["id"].as_str().expect("a user").to_owned());
        let party = options["rp"]["id"].as_str().expect("a relying party");
        let mut data = self.data(party, self.flags() | CREDENTIAL);
        data.extend([0; 16]);
        data.extend([0, 32]);
        data.extend(self.id);
        // {1: 2, 3: -7, -1: 1, -2: x, -3: y}
        let point = self.key.public_key().as_ref();
        data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(&point[1..33]);
        data.extend([0x22, 0x58, 0x20]);
        data.extend(&point[33..]);
        // {"fmt": "none", "attStmt": {}, "authData": data}
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        object.push(u8::try_from(data.len()).expect("short"));
        object.extend(data);
        let client_data = self.client_data("webauthn.create", &options["challenge"]);
        json!({
            "id": URL_SAFE_NO_PAD.encode(self.id),
            "response": {
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
                "attestationObject": URL_SAFE_NO_PAD.encode(object),
            },
        })
    }

    /// What the page sends for a sign-in.
    ///
    /// # Panics
    /// When the options are none.
    pub fn get(&mut self, options: &Value) -> Value {
        let flags = self.flags();
        let data = self.data(options["rpId"].as_str().expect("a relying party"), flags);
        let client_data = self.client_data("webauthn.get", &options["challenge"]);
        let signed = [data.as_slice(), digest(&SHA256, &client_data).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).expect("signed");
        json!({
            "id": URL_SAFE_NO_PAD.encode(self.id),
            "next": "/",
            "response": {
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
                "authenticatorData": URL_SAFE_NO_PAD.encode(data),
                "signature": URL_SAFE_NO_PAD.encode(signature.as_ref()),
                "userHandle": self.user_handle,
            },
        })
    }
}
