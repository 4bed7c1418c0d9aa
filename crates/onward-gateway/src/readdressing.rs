//! Where a copy that is sent again goes: to the address of the directory as it is now, for that is what people mend. It is the same bytes that
//! leave, so that address must take them.

use onward_core::OdsCode;
use onward_core::directory::{DirectoryEntry, Endpoint};
use onward_core::state::RecipientKind;
use onward_core::store::{DeliveryRecord, FormerAddress, MovedAlong, StoreError, Whereto};

use crate::Gateway;
use crate::identify::{self, Entries};

impl Gateway {
    /// Where this copy goes if it is sent again now. A response to a sender, a notice, which is for whoever has what it is about, and what is for a
    /// recipient that the directory does not know, or knows no longer, stay where they are stored to go.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn whereto(&self, copy: &DeliveryRecord) -> Result<Whereto, StoreError> {
        Ok(self.wheretos(std::iter::once(copy)).await?.pop().unwrap_or(Whereto::Stored))
    }

    /// The same of many.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn wheretos<'c>(
        &self,
        copies: impl Iterator<Item = &'c DeliveryRecord>,
    ) -> Result<Vec<Whereto>, StoreError> {
        let (mut wheretos, now) = (Vec::new(), self.clock.now());
        let entries = Entries::of(self.store.as_ref());
        for copy in copies {
            let entry = identify::current(&entries, &copy.recipient, now).await?;
            wheretos.push(leads(copy, entry.ok().as_ref()));
        }
        Ok(wheretos)
    }

    /// What the entry about a copy that is sent again says beside how: to where it no longer goes, and what has left before it.
    pub(crate) async fn told_of_resending(&self, copy: &DeliveryRecord, to: &Whereto) -> Result<String, StoreError> {
        Ok(format!("{}{}", told(to), after(self.store.left_since(copy.id).await?)))
    }
}

fn leads(copy: &DeliveryRecord, entry: Option<&DirectoryEntry>) -> Whereto {
    let is_theirs = |entry: &&DirectoryEntry| match copy.kind {
        RecipientKind::CareHome => matches!(entry, DirectoryEntry::CareHome(_)),
        RecipientKind::CoveringPractice | RecipientKind::RegisteredPractice => {
            matches!(entry, DirectoryEntry::Practice(_))
        }
        RecipientKind::PharmacyReferral | RecipientKind::PharmacyNomination => {
            matches!(entry, DirectoryEntry::Pharmacy(_))
        }
        RecipientKind::Sender => false,
    };
    if copy.notice.is_some() {
        return Whereto::Stored;
    }
    let Some(entry) = entry.filter(is_theirs) else { return Whereto::Stored };
    let (from, to) = (copy.endpoint.clone(), entry.endpoint().clone());
    let by_person = copy.kind == RecipientKind::RegisteredPractice;
    match from.leads_on_to(&to, by_person) {
        true => Whereto::Directory { from, to },
        false => Whereto::OtherWay { from, to },
    }
}

/// For an entry about a copy: how many younger ones of its lane it comes after.
fn after(younger: u64) -> String {
    match younger {
        0 => String::new(),
        1 => ", after a younger one to the same recipient had left".to_owned(),
        count => format!(", after {count} younger ones to the same recipient had left"),
    }
}

/// For people who are to send a copy again: that it may be older than what its recipient has; nothing where it is not.
#[must_use]
pub fn younger(count: u64) -> Option<String> {
    let copies = match count {
        0 => return None,
        1 => "A younger copy about the same person has".to_owned(),
        count => format!("{count} younger copies about the same person have"),
    };
    Some(format!("{copies} left for this recipient since: it comes after, and may say what is no longer so"))
}

/// For an entry about a copy: where it goes now, if that is elsewhere than before.
fn told(to: &Whereto) -> String {
    match to {
        Whereto::Directory { from, to } if from != to => {
            format!(", now to {} and not to {}", to.told(), from.told())
        }
        _ => String::new(),
    }
}

/// For people: why a copy for `from` cannot be sent again to `to`, and what to do.
#[must_use]
pub fn other_way(recipient: &OdsCode, from: &Endpoint, to: &Endpoint) -> String {
    format!(
        "{recipient} receives in another way now ({}), and this copy was made for {}. It cannot be sent again as it is: take it back \
         (`onward recall`) and ask the hospital to send the discharge again, or ask for a redirect",
        to.told(),
        from.told()
    )
}

/// For the entry of an import, and for whoever imports: what became of copies that waited for an address that changed.
#[must_use]
pub fn moved_along(moved: &[MovedAlong]) -> String {
    moved.iter().map(came_to).collect::<Vec<_>>().join("; ")
}

/// The same of one organisation.
#[must_use]
pub fn came_to(moved: &MovedAlong) -> String {
    let MovedAlong { recipient, from, to, copies, sending, stay } = moved;
    let of = |count: u64| if count == 1 { "1 queued copy".to_owned() } else { format!("{count} queued copies") };
    let parts = [
        (*copies, "to go there"),
        (*sending, "just being sent to the former address, to go there if that comes to nothing"),
        (*stay, "to go to the former address still, made for another way of receiving"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| format!("{} {what}", of(count))).collect();
    format!("{recipient} receives at {} and not at {}: {}", to.told(), from.told(), parts.join(", "))
}

/// To where the attempts of a copy went before it was given another address: first and last attempt, and the address in words.
#[must_use]
pub fn went_before(former: &[FormerAddress]) -> Vec<(u32, u32, String)> {
    let mut first = 1;
    let each = former.iter().map(|FormerAddress { attempt, endpoint }| {
        let went = (first, *attempt, endpoint.told());
        first = attempt + 1;
        went
    });
    each.collect()
}

/// The same in sentences.
#[must_use]
pub fn told_before(former: &[FormerAddress]) -> Vec<String> {
    let told = |(first, last, address): (u32, u32, String)| match first == last {
        true => format!("Attempt {first} went to {address}"),
        false => format!("Attempts {first} to {last} went to {address}"),
    };
    went_before(former).into_iter().map(told).collect()
}
