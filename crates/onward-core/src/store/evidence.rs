//! What leaves the gateway to prove its audit log, and what its entries name: witnesses' cosignatures, how far the log was forwarded,
//! what the bytes carried that were sent, and by which policies they were made.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Contents, StoreError};
use crate::DeliveryId;
use crate::audit::AuditRow;
use crate::state::RecipientKind;

/// A witness's statement about one of our checkpoints (C2SP tlog-cosignature).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCosignature {
    /// Number of entries of the checkpoint.
    pub size: u64,
    /// The witness's name.
    pub witness: String,
    /// The signature line, newline included.
    pub line: String,
    /// When it came.
    pub at: Timestamp,
}

/// A disclosure policy that was in force. Nothing in it is about a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInForce {
    /// For whom.
    pub kind: RecipientKind,
    /// From when on.
    pub since: Timestamp,
    /// As it was written.
    pub text: String,
}

/// The durable memory of what was proven to others.
#[async_trait]
pub trait EvidenceStore: Send + Sync + 'static {
    /// Keeps a cosignature of a checkpoint that is stored; of the same witness and checkpoint the later one.
    async fn put_cosignature(&self, cosignature: StoredCosignature) -> Result<(), StoreError>;
    /// The cosignatures of checkpoints of `first` to `last` entries, by size, then by witness.
    async fn cosignatures(&self, first: u64, last: u64) -> Result<Vec<StoredCosignature>, StoreError>;
    /// Each witness's cosignature of the largest checkpoint, by witness.
    async fn latest_cosignatures(&self) -> Result<Vec<StoredCosignature>, StoreError>;

    /// Takes the forwarding of the log to `sink` for `holder` until `until`, and says which entry comes next; `None` while
    /// another holder's time lasts. The first to ask for a sink makes it begin at `from`.
    async fn take_forwarding(
        &self,
        sink: &str,
        holder: u64,
        now: Timestamp,
        until: Timestamp,
        from: u64,
    ) -> Result<Option<u64>, StoreError>;
    /// Notes that every entry before `next` was forwarded; `false` when the forwarding is another holder's by now.
    async fn forwarded(&self, sink: &str, holder: u64, next: u64) -> Result<bool, StoreError>;
    /// Which entry comes next, by sink.
    async fn forwarding(&self) -> Result<Vec<(String, u64)>, StoreError>;
    /// The number of entries of the log.
    async fn audit_size(&self) -> Result<u64, StoreError>;

    /// The lists of what was sent with these digests, as they are stored, in no order; one that is not there is left out. The caller
    /// judges whether a list is what its digest says.
    async fn contents(&self, sha256s: &[[u8; 32]]) -> Result<Vec<Contents>, StoreError>;

    /// What a copy discloses and withholds by its rules, as it was kept with it (JSON); `None` where there is no such copy.
    async fn disclosure(&self, delivery: DeliveryId) -> Result<Option<String>, StoreError>;

    /// Keeps policies that come into force, with the entry that tells so. `Overtaken` where one of the same kind and moment is kept
    /// already.
    async fn put_in_force(&self, policies: Vec<PolicyInForce>, audit: Vec<AuditRow>) -> Result<(), StoreError>;
    /// All policies that were in force since they are kept, the oldest first.
    async fn policies_in_force(&self) -> Result<Vec<PolicyInForce>, StoreError>;
}
