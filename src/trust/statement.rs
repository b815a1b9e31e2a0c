//! Signed statements: what is relayed through others is signed with its kind, audience, sequence and expiry.

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::domain::Millis;
use crate::protocol::signed::{Signed, Statement};
use crate::trust::error::{Error, Result, StatementFault};
use crate::trust::keys::{PrivateKey, PublicKey};

/// Longest payload, bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Stands before every payload under the signature, so that no other signed thing of the same key can pass for a statement.
const CONTEXT: &[u8] = b"consign 2026-11 v1 statement\0";

/// Signs `body` for `audience`, to be believed until `expires`.
///
/// `sequence` must rise with each statement of the same kind and audience.
///
/// # Errors
/// [`Error::Statement`] if the body has no JSON form or is over [`PAYLOAD_BYTES_MAX`].
pub fn sign<T: Serialize>(
    kind: &str,
    audience: &str,
    sequence: u64,
    expires: Millis,
    body: &T,
    key: &PrivateKey,
) -> Result<Signed> {
    let refuse = |why| refused(kind, audience, why);
    let statement = Statement { kind: kind.to_owned(), audience: audience.to_owned(), sequence, expires, body };
    let payload = serde_json::to_string(&statement).map_err(|e| refuse(StatementFault::Malformed(e.to_string())))?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(refuse(StatementFault::TooLong));
    }
    let signature = hex::encode(key.sign(&message(&payload)));
    Ok(Signed { payload, signature })
}

/// Checks a statement and returns it; nothing of it is parsed before its signature is verified.
///
/// `now` is the clock or the durable time floor, whichever is later. A sequence below `floor_sequence` is refused; the same
/// sequence again is accepted, so that a repeated message does no harm.
///
/// # Errors
/// [`Error::Statement`] with the first [`StatementFault`] in the order signature, form, kind, audience, expiry, sequence.
pub fn verify<T: DeserializeOwned>(
    signed: &Signed,
    key: &PublicKey,
    kind: &str,
    audience: &str,
    now: Millis,
    floor_sequence: u64,
) -> Result<Statement<T>> {
    let refuse = |why| refused(kind, audience, why);
    let malformed = |e: serde_json::Error| refuse(StatementFault::Malformed(e.to_string()));
    if signed.payload.len() > PAYLOAD_BYTES_MAX {
        return Err(refuse(StatementFault::TooLong));
    }
    let mut signature = [0; 64];
    let signature_read = hex::decode_to_slice(&signed.signature, &mut signature).is_ok();
    if !signature_read || !key.verify(&message(&signed.payload), &signature) {
        return Err(refuse(StatementFault::Signature));
    }
    // The head alone first: a statement of another kind is told by its kind, not by a body that does not fit.
    let head: Statement<IgnoredAny> = serde_json::from_str(&signed.payload).map_err(malformed)?;
    if head.kind != kind {
        return Err(refuse(StatementFault::Kind(head.kind)));
    }
    if head.audience != audience {
        return Err(refuse(StatementFault::Audience(head.audience)));
    }
    if head.expires <= now {
        return Err(refuse(StatementFault::Expired(head.expires.to_rfc3339())));
    }
    if head.sequence < floor_sequence {
        return Err(refuse(StatementFault::Sequence { found: head.sequence, floor: floor_sequence }));
    }
    serde_json::from_str(&signed.payload).map_err(malformed)
}

fn message(payload: &str) -> Vec<u8> {
    [CONTEXT, payload.as_bytes()].concat()
}

fn refused(kind: &str, audience: &str, why: StatementFault) -> Error {
    Error::Statement { kind: kind.to_owned(), audience: audience.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn sample(key: &PrivateKey) -> Signed {
        sign("site-state", "machine:a", 7, NOW.plus_secs(60), &vec![1, 2, 3], key).unwrap()
    }

    fn fault(signed: &Signed, key: &PrivateKey, kind: &str, audience: &str, now: Millis, floor: u64) -> StatementFault {
        match verify::<Vec<u32>>(signed, key.public(), kind, audience, now, floor) {
            Err(Error::Statement { why, .. }) => why,
            other => panic!("accepted or another error: {other:?}"),
        }
    }

    #[test]
    fn a_good_statement_is_believed_also_when_repeated() {
        let key = PrivateKey::generate();
        let signed = sample(&key);
        for _ in 0..2 {
            let statement = verify::<Vec<u32>>(&signed, key.public(), "site-state", "machine:a", NOW, 7).unwrap();
            assert_eq!((statement.body, statement.sequence), (vec![1, 2, 3], 7));
        }
    }

    #[test]
    fn a_changed_payload_or_another_key_is_refused_before_parsing() {
        let key = PrivateKey::generate();
        let mut signed = sample(&key);
        assert_eq!(fault(&signed, &PrivateKey::generate(), "site-state", "machine:a", NOW, 0), StatementFault::Signature);
        signed.payload = "no JSON".to_owned();
        assert_eq!(fault(&signed, &key, "site-state", "machine:a", NOW, 0), StatementFault::Signature);
        signed.signature = "zz".to_owned();
        assert_eq!(fault(&signed, &key, "site-state", "machine:a", NOW, 0), StatementFault::Signature);
    }

    #[test]
    fn a_signature_over_the_bare_payload_is_no_statement() {
        let key = PrivateKey::generate();
        let mut signed = sample(&key);
        signed.signature = hex::encode(key.sign(signed.payload.as_bytes()));
        assert_eq!(fault(&signed, &key, "site-state", "machine:a", NOW, 0), StatementFault::Signature);
    }

    #[test]
    fn each_of_kind_audience_expiry_and_sequence_is_checked() {
        let key = PrivateKey::generate();
        let signed = sample(&key);
        assert_eq!(fault(&signed, &key, "report", "machine:a", NOW, 0), StatementFault::Kind("site-state".to_owned()));
        assert_eq!(fault(&signed, &key, "site-state", "machine:b", NOW, 0), StatementFault::Audience("machine:a".to_owned()));
        assert!(matches!(fault(&signed, &key, "site-state", "machine:a", NOW.plus_secs(60), 0), StatementFault::Expired(_)));
        assert_eq!(fault(&signed, &key, "site-state", "machine:a", NOW, 8), StatementFault::Sequence { found: 7, floor: 8 });
    }

    #[test]
    fn a_body_of_another_shape_is_malformed() {
        let key = PrivateKey::generate();
        let signed = sign("site-state", "machine:a", 7, NOW.plus_secs(60), &"text", &key).unwrap();
        assert!(matches!(fault(&signed, &key, "site-state", "machine:a", NOW, 0), StatementFault::Malformed(_)));
    }

    #[test]
    fn a_payload_over_the_limit_is_refused() {
        let key = PrivateKey::generate();
        let signed = Signed { payload: "a".repeat(PAYLOAD_BYTES_MAX + 1), signature: String::new() };
        assert_eq!(fault(&signed, &key, "site-state", "machine:a", NOW, 0), StatementFault::TooLong);
    }
}
