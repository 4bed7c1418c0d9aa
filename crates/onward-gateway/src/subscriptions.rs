//! Subscriptions of client systems (FHIR R4 rest-hook): who is called when a Task of theirs changes, and the calls.
//!
//! A call carries nothing: whoever gets it asks for its Tasks. What changed is read from the audit log, whose order is that of
//! commits, so that no change falls between two looks; changes that come before a call is taken become one call.

mod calls;
mod criteria;

use jiff::Timestamp;
use onward_core::OdsCode;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::Client;
use onward_core::store::StoreError;
use onward_core::store::subscriptions::{Subscription, SubscriptionStatus};
use onward_fhir::authored::{self, SubscriptionContent};
use uuid::Uuid;

use crate::Gateway;
use crate::holds::Decider;

pub use criteria::{Criteria, CriteriaError};

/// Subscriptions that one client may have.
pub const SUBSCRIPTIONS_MAX: u32 = 20;

/// How often it is tried to turn one off that changes meanwhile.
const TURNING_OFF: u32 = 10;

/// `Subscription.reason` of every answer: R4 demands one, and what people write there could name a person whom no erasure reaches.
const REASON_NOT_KEPT: &str = "not kept";

/// An address prefix that the subscriptions of one organisation may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookAddress {
    /// Whose.
    pub organisation: OdsCode,
    /// What the address begins with; ends with a slash.
    pub prefix: String,
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which Tasks.
    pub criteria: String,
    /// Where to call, as a URL parser writes it.
    pub endpoint: String,
    /// Not after this.
    pub ends: Option<Timestamp>,
    /// Kept, but not called.
    pub off: bool,
}

impl Wanted {
    /// Its status from now on, and when it is called next.
    fn standing(&self, now: Timestamp) -> (SubscriptionStatus, Option<Timestamp>) {
        if self.off { (SubscriptionStatus::Off, None) } else { (SubscriptionStatus::Requested, Some(now)) }
    }
}

/// Why a subscription is not taken as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The criteria are not ones.
    #[error(transparent)]
    Criteria(#[from] CriteriaError),
    /// The address is none that this organisation may name.
    #[error(
        "the address is none that this organisation's subscriptions may name: whoever runs the gateway lists them in [delivery] hooks"
    )]
    Address,
    /// Its time is over already.
    #[error("the end has passed: leave it out, or name a later one")]
    Ended,
    /// There is no room.
    #[error("a client may have {SUBSCRIPTIONS_MAX} subscriptions: delete one first")]
    TooMany,
}

/// What became of an operator's wish to turn a subscription off.
#[derive(Debug, Clone)]
pub enum TurnedOff {
    /// Done; this is how it stands.
    Done(Box<Subscription>),
    /// It is off already.
    Already,
    /// Not there.
    NotFound,
}

/// What became of a change.
#[derive(Debug, Clone)]
pub enum Changed {
    /// Done; this is how it stands.
    Done(Box<Subscription>),
    /// Not there, or another client's.
    NotFound,
    /// It has this version now.
    VersionChanged(u64),
    /// It is not taken as it is.
    NotTaken(NotTaken),
}

/// What the store has made of a change.
fn changed(sent: Subscription) -> Box<Subscription> {
    Box::new(Subscription { version: sent.version.saturating_add(1), failures: 0, failing_since: None, ..sent })
}

impl Gateway {
    /// A subscription as FHIR, JSON.
    #[must_use]
    pub fn subscription_resource(&self, subscription: &Subscription) -> String {
        let content = SubscriptionContent {
            id: subscription.id.to_string(),
            version: subscription.version.to_string(),
            last_updated: subscription.changed.to_string(),
            status: subscription.status.to_string(),
            end: subscription.ends.map(|ends| ends.to_string()),
            reason: REASON_NOT_KEPT.to_owned(),
            criteria: subscription.criteria.clone(),
            error: subscription.error.clone(),
            endpoint: subscription.endpoint.clone(),
        };
        authored::subscription(&content).expect("states and times are ours")
    }

    /// Keeps a client's new subscription; its address is called before anything is told there.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn subscribe(
        &self,
        client: &Client,
        wanted: Wanted,
        request_id: Option<&str>,
    ) -> Result<Result<Subscription, NotTaken>, StoreError> {
        let criteria = match self.judge(client, &wanted) {
            Ok(criteria) => criteria,
            Err(reason) => return Ok(Err(reason)),
        };
        let now = to_the_microsecond(self.clock.now());
        let (status, next_call) = wanted.standing(now);
        let new = Subscription {
            id: Uuid::new_v4(),
            client_id: client.id.clone(),
            criteria: criteria.to_string(),
            endpoint: wanted.endpoint,
            ends: wanted.ends.map(to_the_microsecond),
            status,
            error: None,
            version: 1,
            created: now,
            changed: now,
            told: self.store.audit_size().await?,
            failures: 0,
            next_call,
            failing_since: None,
        };
        let entry = self.configure_entry(client, &new, "made", request_id);
        let added = self.store.add_subscription(new.clone(), SUBSCRIPTIONS_MAX, vec![self.journal.row(&entry)]).await?;
        Ok(if added { Ok(new) } else { Err(NotTaken::TooMany) })
    }

    /// Changes a client's subscription. One that is not off is requested anew.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn change_subscription(
        &self,
        client: &Client,
        id: Uuid,
        version: u64,
        wanted: Wanted,
        request_id: Option<&str>,
    ) -> Result<Changed, StoreError> {
        let Some(own) = self.own_subscription(client, id, request_id).await? else { return Ok(Changed::NotFound) };
        if own.version != version {
            return Ok(Changed::VersionChanged(own.version));
        }
        let criteria = match self.judge(client, &wanted) {
            Ok(criteria) => criteria,
            Err(reason) => return Ok(Changed::NotTaken(reason)),
        };
        let now = to_the_microsecond(self.clock.now());
        let (status, next_call) = wanted.standing(now);
        let new = Subscription {
            criteria: criteria.to_string(),
            endpoint: wanted.endpoint,
            ends: wanted.ends.map(to_the_microsecond),
            status,
            error: None,
            changed: now,
            // What happened while it was off, or could not be told, is history: the first call makes its owner look.
            told: self.store.audit_size().await?,
            next_call,
            ..own
        };
        let entry = self.configure_entry(client, &new, "changed", request_id);
        if self.store.change_subscription(new.clone(), vec![self.journal.row(&entry)]).await? {
            return Ok(Changed::Done(changed(new)));
        }
        Ok(match self.store.subscription(id).await? {
            Some(other) => Changed::VersionChanged(other.version),
            None => Changed::NotFound,
        })
    }

    /// Turns anybody's subscription off, for whoever runs the gateway. Its owner sees that, and can ask for it again.
    ///
    /// # Errors
    /// When the store cannot commit; [`StoreError::Overtaken`] when calls and changes come faster than this.
    pub async fn turn_off_subscription(&self, id: Uuid, decider: &Decider<'_>) -> Result<TurnedOff, StoreError> {
        for _ in 0..TURNING_OFF {
            let Some(own) = self.store.subscription(id).await? else { return Ok(TurnedOff::NotFound) };
            if own.status == SubscriptionStatus::Off {
                return Ok(TurnedOff::Already);
            }
            let now = to_the_microsecond(self.clock.now());
            let off = turned_off(
                own,
                now,
                Some("turned off by whoever runs the gateway: ask them before you ask for it again"),
            );
            let row = self.configured(decider, format!("subscription {id} turned off by"));
            // When it is `false` its owner, or the end of a call, has just changed it.
            if self.store.change_subscription(off.clone(), vec![row]).await? {
                return Ok(TurnedOff::Done(changed(off)));
            }
        }
        Err(StoreError::Overtaken)
    }

    /// Removes a client's subscription; `false` when there is none of this client.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn unsubscribe(&self, client: &Client, id: Uuid, request_id: Option<&str>) -> Result<bool, StoreError> {
        let Some(own) = self.own_subscription(client, id, request_id).await? else { return Ok(false) };
        let entry = self.configure_entry(client, &own, "deleted", request_id);
        self.store.remove_subscription(id, vec![self.journal.row(&entry)]).await
    }

    /// One of the client's subscriptions, audited; another client's is denied and not there.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited.
    pub async fn read_subscription(
        &self,
        client: &Client,
        id: Uuid,
        request_id: Option<&str>,
    ) -> Result<Option<Subscription>, StoreError> {
        let Some(own) = self.own_subscription(client, id, request_id).await? else { return Ok(None) };
        self.note_subscriptions_seen(client, format!("Subscription/{id}"), request_id).await?;
        Ok(Some(own))
    }

    /// All of the client's subscriptions, audited as this query.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited.
    pub async fn list_subscriptions(
        &self,
        client: &Client,
        asked: String,
        request_id: Option<&str>,
    ) -> Result<Vec<Subscription>, StoreError> {
        let own = self.store.subscriptions(Some(&client.id)).await?;
        self.note_subscriptions_seen(client, asked, request_id).await?;
        Ok(own)
    }

    async fn own_subscription(
        &self,
        client: &Client,
        id: Uuid,
        request_id: Option<&str>,
    ) -> Result<Option<Subscription>, StoreError> {
        let Some(found) = self.store.subscription(id).await? else { return Ok(None) };
        if found.client_id != client.id {
            self.deny(client, None, None, "subscription of another client", request_id).await?;
            return Ok(None);
        }
        Ok(Some(found))
    }

    fn judge(&self, client: &Client, wanted: &Wanted) -> Result<Criteria, NotTaken> {
        let criteria = Criteria::read(&wanted.criteria)?;
        criteria.fit(client)?;
        if self.hook_address(&client.ods, &wanted.endpoint).is_none() {
            return Err(NotTaken::Address);
        }
        match wanted.ends {
            Some(ends) if ends <= self.clock.now() => Err(NotTaken::Ended),
            _ => Ok(criteria),
        }
    }

    /// What lets the subscriptions of this organisation name this address, if anything does.
    fn hook_address(&self, organisation: &OdsCode, endpoint: &str) -> Option<&HookAddress> {
        let fits = |hook: &&HookAddress| hook.organisation == *organisation && endpoint.starts_with(&hook.prefix);
        self.settings.hooks.iter().find(fits)
    }

    fn configure_entry(
        &self,
        client: &Client,
        subscription: &Subscription,
        done: &str,
        request_id: Option<&str>,
    ) -> AuditEntry {
        let Subscription { id, criteria, status, .. } = subscription;
        AuditEntry {
            request_id: request_id.map(str::to_owned),
            ..AuditEntry::new(
                AuditWord::Configure,
                self.clock.now(),
                Agent::client(client),
                format!("subscription {id} {done}: {criteria}, {status}"),
            )
        }
    }

    async fn note_subscriptions_seen(
        &self,
        client: &Client,
        asked: String,
        request_id: Option<&str>,
    ) -> Result<(), StoreError> {
        let entry = AuditEntry {
            request_id: request_id.map(str::to_owned),
            query: Some(asked),
            ..AuditEntry::new(AuditWord::Query, self.clock.now(), Agent::client(client), "subscriptions")
        };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }
}

/// As it stands when somebody else than its owner turns it off; `why` takes the place of the last failure.
fn turned_off(own: Subscription, now: Timestamp, why: Option<&str>) -> Subscription {
    let error = why.map(str::to_owned).or_else(|| own.error.clone());
    Subscription { status: SubscriptionStatus::Off, error, changed: now, next_call: None, ..own }
}

/// As the store keeps it: what is shown at once must be what is shown later.
fn to_the_microsecond(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
