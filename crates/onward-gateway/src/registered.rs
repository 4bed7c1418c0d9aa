//! Registrations of machine clients: as commands tell them in the log, and as they stand in the store. Whoever writes into the database
//! changes one without a command: then the store says something else than the log, which the next start and `audit verify` tell.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::OdsCode;
use onward_core::audit::{Agent, AuditWord, FoundAudit};
use onward_core::client::Client;
use onward_core::store::{Store, StoreError, StoredAudit};
use serde_json::Value;

use crate::starts::{self, Start};
use crate::verify::Misfit;
use crate::{configured, sha256_hex};

/// How the part of a start is named that tells all registrations by one digest.
pub const CLIENTS: &str = "clients";
/// What stands before the digest of the registration that a command left.
const LEFT: &str = "; registration ";
/// What a command says that added a client: as what, and of whom.
const ADDED: &str = "added: ";
const OF: &str = " of ";
/// How the entry of a start begins that tells registrations of which no command has told the digest.
const FOUND: &str = "clients as a start found them: ";
/// What stands first in it: how many entries the log had when it was read. It holds no blank, so that a program before it passes it over.
const HAD: &str = "entries:";
/// Registrations that one such entry tells: 25 kB of the 64 that an entry may have.
const FOUND_MAX: usize = 200;
/// How begins what is said of a registration that is another one.
const REGISTRATION: &str = "the registration of client ";
/// How begins what is said of one that is not there any more.
const GONE: &str = "client ";
/// How begins what is said where they cannot be read.
const UNREADABLE: &str = "a registration of a client is unreadable in the store: ";

/// Whether an alarm is about registrations.
pub(crate) fn is_about_clients(what: &str) -> bool {
    what.starts_with(REGISTRATION) || what.starts_with(GONE) || is_unreadable(what)
}

/// Whether an alarm says that registrations cannot be read.
pub(crate) fn is_unreadable(what: &str) -> bool {
    what.starts_with(UNREADABLE)
}

/// SHA-256, hexadecimal, of all that is registered of a client, its public keys or their URL included. What the log says of it is held
/// against it for ever: whatever a later program registers beside this must leave it as it is where it is not there.
#[must_use]
pub fn digest(client: &Client) -> String {
    let Client { id, ods, role, jwks, certificate_sha256, mesh_mailbox, nhs_number_policy, disabled, under: _ } =
        client;
    let [certificate, mailbox] = [certificate_sha256, mesh_mailbox].map(|text| text.as_deref().unwrap_or_default());
    sha256_hex(
        format!("{id}\n{ods}\n{role}\n{jwks}\n{certificate}\n{mailbox}\n{nhs_number_policy}\n{disabled}\n").as_bytes(),
    )
}

/// The digest of all registrations, as a start tells it.
#[must_use]
pub fn digest_of_all(clients: &[Client]) -> String {
    let each: BTreeSet<String> = clients.iter().map(digest).collect();
    starts::digest(&each.into_iter().collect::<Vec<_>>().join("\n"))
}

/// What the entry of a command says that added this client, before what it left.
#[must_use]
pub fn added(client: &Client, keys: &str) -> String {
    format!("{ADDED}{}{OF}{}, keys {keys}", client.role, client.ods)
}

/// The organisation of a client of which an entry says so.
fn added_as(did: &str) -> Option<OdsCode> {
    did.strip_prefix(ADDED)?.split_once(OF)?.1.split_once(", ")?.0.parse().ok()
}

/// What the entry of a command says that did this with a client and left this registration.
#[must_use]
pub fn told(client: &Client, did: &str) -> String {
    format!("client {} {did}{LEFT}{}", client.id, digest(client))
}

/// What the log says of registrations.
#[derive(Debug, Default)]
pub struct Registered {
    /// The first start that tells of clients.
    first: Option<u64>,
    /// By client the newest word on its registration.
    told: BTreeMap<String, Word>,
    /// By client the organisation that the newest command which added it named.
    added: BTreeMap<String, (u64, OdsCode)>,
}

/// What an entry says of a registration.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Word {
    /// Its order among others. A command's is the place of its entry, and `true`; that of what a start found is the first place that the
    /// start had not read, and `false`: a command of that place or a later one has the last word.
    from: (u64, bool),
    /// The place of the entry.
    index: u64,
    /// The digest; none where an earlier program wrote the entry.
    sha256: Option<String>,
}

/// A client that is not registered as the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// How, and which entry says otherwise.
    pub misfit: Misfit,
    /// Whose client it is, and whose it was added as; none where neither tells.
    pub whose: BTreeSet<OdsCode>,
}

impl Registered {
    /// Reads it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn of(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self::among(&configured::entries(store).await?))
    }

    /// Those that these entries tell.
    pub(crate) fn among(entries: &[FoundAudit]) -> Self {
        let mut registered = Self::default();
        for entry in entries {
            if let Some(event) = &entry.event {
                registered.read(entry.index, entry.agent.as_deref(), event);
            }
        }
        registered
    }

    /// Takes an entry of the log, where it is about registrations.
    pub(crate) fn see(&mut self, stored: &StoredAudit) {
        if stored.columns.word == AuditWord::Configure.as_str()
            && let Some(event) = stored.event()
        {
            self.read(stored.index, stored.columns.agent.as_deref(), event);
        }
    }

    fn read(&mut self, index: u64, agent: Option<&str>, event: &[u8]) {
        if !matches!(agent, Some(Agent::GATEWAY | Agent::OPERATOR)) {
            return;
        }
        let event: Value = serde_json::from_slice(event).unwrap_or_default();
        // Somebody with a role is a person who bears such a name.
        let said = event["outcomeDesc"].as_str().filter(|_| event["agent"][0].get("role").is_none());
        let Some(said) = said.and_then(|said| said.strip_prefix("configure: ")) else { return };
        if agent == Some(Agent::GATEWAY) && Start::says(said).is_some_and(|parts| parts.contains_key(CLIENTS)) {
            self.first = Some(self.first.map_or(index, |first| first.min(index)));
        } else if let Some(found) = said.strip_prefix(FOUND).filter(|_| agent == Some(Agent::GATEWAY)) {
            let had = found.split(", ").find_map(|each| each.strip_prefix(HAD)?.parse().ok());
            for (client, sha256) in found.split(", ").filter_map(|each| each.split_once(' ')) {
                // An earlier program does not say how far it had read.
                let from = had.map_or((index, true), |had| (had, false));
                self.tell(client, Word { from, index, sha256: Some(sha256.to_owned()) });
            }
        } else if let Some((client, did)) = said.strip_prefix("client ").and_then(|rest| rest.split_once(' ')) {
            if let Some(ods) = added_as(did).filter(|_| self.added.get(client).is_none_or(|(known, _)| *known < index))
            {
                self.added.insert(client.to_owned(), (index, ods));
            }
            let sha256 = did.rsplit_once(LEFT).map(|(_, sha256)| sha256.to_owned());
            self.tell(client, Word { from: (index, true), index, sha256 });
        }
    }

    fn tell(&mut self, client: &str, word: Word) {
        if self.told.get(client).is_none_or(|known| *known < word) {
            self.told.insert(client.to_owned(), word);
        }
    }

    /// What a start says of these clients where a program before this one registered them, which told no digests: from then on they are
    /// known, until a command tells of them that the start had not read, whose log had `entries`. Once a start has told of clients, one that
    /// no entry tells of is found by nobody.
    #[must_use]
    pub fn found(&self, clients: &[Client], entries: u64) -> Vec<String> {
        let plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '.' | '_' | '-');
        let is_untold = |client: &&Client| match self.told.get(&client.id) {
            None => self.first.is_none() && client.id.chars().all(plain),
            Some(word) => word.sha256.is_none(),
        };
        let untold: Vec<String> =
            clients.iter().filter(is_untold).map(|client| format!("{} {}", client.id, digest(client))).collect();
        untold.chunks(FOUND_MAX).map(|some| format!("{FOUND}{HAD}{entries}, {}", some.join(", "))).collect()
    }

    /// The clients of the store that are not registered as the log says, and those of the log that are not in the store, each with why.
    fn judge(&self, clients: &[Client]) -> BTreeMap<String, Misfit> {
        let Some(first) = self.first else { return BTreeMap::new() };
        let mut gone: BTreeMap<&str, u64> =
            self.told.iter().map(|(client, word)| (client.as_str(), word.index)).collect();
        let mut misfits = BTreeMap::new();
        for client in clients {
            gone.remove(client.id.as_str());
            let (id, sha256) = (&client.id, digest(client));
            let (index, why) = match self.told.get(id) {
                Some(word) if word.sha256.as_ref().is_none_or(|told| *told == sha256) => continue,
                Some(Word { index, .. }) => (*index, format!("is not the one that entry {index} tells")),
                None => (first, "is told by no command".to_owned()),
            };
            misfits.insert(id.clone(), Misfit { index, why: format!("{REGISTRATION}{id} ({sha256}) {why}") });
        }
        for (client, index) in gone {
            let why = format!("{GONE}{client}, of which entry {index} tells, is not registered any more");
            misfits.insert(client.to_owned(), Misfit { index, why });
        }
        misfits
    }

    /// Where store and log differ. A command may have been at work while these were read: what does not fit is looked at once more, and
    /// only what does not fit then either is told.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn misfits(&self, store: &dyn Store) -> Result<Vec<Unfit>, StoreError> {
        let before = match store.clients().await {
            Ok(clients) => self.judge(&clients),
            Err(StoreError::Corrupt(what)) => {
                let why = format!("{UNREADABLE}{what}");
                let misfit = Misfit { index: self.first.unwrap_or(0), why };
                return Ok(vec![Unfit { misfit, whose: BTreeSet::new() }]);
            }
            Err(error) => return Err(error),
        };
        if before.is_empty() {
            return Ok(Vec::new());
        }
        let clients = store.clients().await?;
        let now = Self::of(store).await?;
        let both = now.judge(&clients).into_iter().filter(|(client, _)| before.contains_key(client));
        Ok(both.map(|(client, misfit)| Unfit { misfit, whose: now.whose(&client, &clients) }).collect())
    }

    fn whose(&self, client: &str, clients: &[Client]) -> BTreeSet<OdsCode> {
        let registered = clients.iter().filter(|own| own.id == client).map(|own| own.ods.clone());
        registered.chain(self.added.get(client).map(|(_, ods)| ods.clone())).collect()
    }

    /// The first entry that the registrations do not fit.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn misfit(&self, store: &dyn Store) -> Result<Option<Misfit>, StoreError> {
        let misfits = self.misfits(store).await?.into_iter().map(|unfit| unfit.misfit);
        let first = misfits.min_by_key(|misfit| misfit.index);
        Ok(first.map(|Misfit { index, why }| Misfit { index, why: format!("entry {index}: {why}") }))
    }
}

#[cfg(test)]
mod tests {
    use onward_core::Timestamp;
    use onward_core::audit::AuditEntry;
    use onward_core::client::{NhsNumberPolicy, Role};

    use super::*;
    use crate::journal::Journal;

    fn client(id: &str, role: Role) -> Client {
        Client {
            id: id.to_owned(),
            ods: "R9Z".parse().expect("a code"),
            role,
            jwks: r#"{"keys":[]}"#.to_owned(),
            certificate_sha256: None,
            mesh_mailbox: None,
            nhs_number_policy: NhsNumberPolicy::Refuse,
            disabled: false,
            under: None,
        }
    }

    /// A log of these entries, by whom and what they say.
    fn log(entries: &[(Agent, String)]) -> Registered {
        let journal = Journal::new(&"R9Z".parse().expect("a code"), "https://gateway.example");
        let mut registered = Registered::default();
        for (index, (agent, said)) in (0..).zip(entries) {
            let entry = AuditEntry::new(AuditWord::Configure, Timestamp::UNIX_EPOCH, agent.clone(), said.clone());
            registered.read(index, Some(&agent.name), &journal.row(&entry).event);
        }
        registered
    }

    fn operator() -> Agent {
        Agent::operator(&"R9Z".parse().expect("a code"), None)
    }

    fn start(clients: &[Client]) -> (Agent, String) {
        let parts = [(CLIENTS.to_owned(), digest_of_all(clients))].into();
        (Agent::gateway(), Start::told("one", "x", &[], &parts))
    }

    fn misfits(registered: &Registered, clients: &[Client]) -> Vec<(u64, String)> {
        let judged = registered.judge(clients).into_values();
        judged.map(|Misfit { index, why }| (index, why)).collect()
    }

    #[test]
    fn what_no_command_left_is_told() {
        let (ward, home) = (client("ward", Role::Sender), client("home", Role::CareHome));
        let registered = log(&[
            start(&[]),
            (operator(), told(&ward, "added: keys k; registration of old")),
            (operator(), told(&home, "added")),
            start(&[ward.clone(), home.clone()]),
            (operator(), told(&Client { disabled: true, ..home.clone() }, "disabled")),
        ]);
        let home = Client { disabled: true, ..home };
        assert!(misfits(&registered, &[ward.clone(), home.clone()]).is_empty());
        assert!(registered.found(&[ward.clone(), home.clone()], 5).is_empty());

        let raised = Client { role: Role::Operator, ..ward.clone() };
        let other_keys = Client { jwks: r#"{"keys":[{}]}"#.to_owned(), ..ward.clone() };
        for changed in [raised, other_keys, Client { mesh_mailbox: Some("X26OT001".to_owned()), ..ward.clone() }] {
            let why =
                format!("the registration of client ward ({}) is not the one that entry 1 tells", digest(&changed));
            assert_eq!(misfits(&registered, &[changed, home.clone()]), [(1, why)]);
        }
        let again = Client { disabled: false, ..home.clone() };
        assert_eq!(misfits(&registered, &[ward.clone(), again]).len(), 1, "enabled again");
        let why = "client home, of which entry 4 tells, is not registered any more".to_owned();
        assert_eq!(misfits(&registered, std::slice::from_ref(&ward)), [(4, why)]);
        let planted = client("planted", Role::Operator);
        let why = format!("the registration of client planted ({}) is told by no command", digest(&planted));
        assert_eq!(misfits(&registered, &[ward.clone(), home.clone(), planted.clone()]), [(0, why)]);
        assert!(registered.found(&[planted], 5).is_empty(), "a start signs for none");
    }

    /// A command comes after the start has read the log, and before it tells what it found.
    #[test]
    fn a_command_that_a_start_had_not_read_has_the_last_word() {
        let (ward, home) = (client("ward", Role::Sender), client("home", Role::CareHome));
        let clients = [home.clone(), ward.clone()];
        let mut entries = vec![(operator(), "client ward added: sender of R9Z, keys k".to_owned())];
        let found = log(&entries).found(&clients, 1);
        let rotated = Client { jwks: r#"{"keys":[{}]}"#.to_owned(), ..ward.clone() };
        entries.push((operator(), told(&rotated, "rotated: keys k replaced by l")));
        entries.extend(found.into_iter().map(|told| (Agent::gateway(), told)));
        entries.push(start(&clients));
        let registered = log(&entries);
        assert!(misfits(&registered, &[home.clone(), rotated]).is_empty());
        let why = format!("the registration of client ward ({}) is not the one that entry 1 tells", digest(&ward));
        assert_eq!(misfits(&registered, &[home, ward]), [(1, why)], "what the start found is over");
        // As a program told it that did not say how far it had read.
        entries[2].1 = entries[2].1.replace("entries:1, ", "");
        let before = log(&entries);
        assert!(misfits(&before, &clients).is_empty());
    }

    #[test]
    fn an_alarm_concerns_whose_client_it_is_and_whose_it_was() {
        let ward = client("ward", Role::Sender);
        let registered = log(&[
            (operator(), told(&ward, &added(&ward, "mine, of R9Y, x (k)"))),
            (operator(), told(&ward, "rotated: keys added: a of R9Y, b replaced by c")),
            start(std::slice::from_ref(&ward)),
        ]);
        let [own, other]: [OdsCode; 2] = ["R9Z", "R9Y"].map(|code| code.parse().expect("a code"));
        let moved = Client { ods: other.clone(), ..ward };
        assert_eq!(registered.whose("ward", &[moved]), [own.clone(), other].into());
        assert_eq!(registered.whose("ward", &[]), [own].into(), "it is gone");
        assert_eq!(registered.whose("planted", &[]), BTreeSet::new());
    }

    #[test]
    fn only_commands_and_starts_tell_of_clients() {
        let ward = client("ward", Role::Sender);
        let person = Agent { role: Some("operator"), ..operator() };
        let registered = log(&[
            start(&[]),
            (person, told(&ward, "added")),
            (Agent::named("somebody", None), told(&ward, "added")),
            (operator(), format!("{FOUND}ward {}", digest(&ward))),
        ]);
        assert_eq!(misfits(&registered, &[ward]).len(), 1);
    }

    #[test]
    fn what_an_earlier_program_registered_is_known_from_the_first_start_on() {
        let clients: Vec<Client> = (0..450).map(|number| client(&format!("c-{number}"), Role::Sender)).collect();
        let mut entries = vec![(operator(), "client c-0 added: sender of R9Z, keys k".to_owned())];
        let before = log(&entries);
        assert!(misfits(&before, &clients).is_empty(), "no start has told of clients");
        let found = before.found(&clients, 1);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|told| told.len() < 60_000));
        entries.extend(found.into_iter().map(|told| (Agent::gateway(), told)));
        entries.push(start(&clients));
        let after = log(&entries);
        assert_eq!((misfits(&after, &clients), after.found(&clients, 5)), (vec![], vec![]));
        let mut changed = clients.clone();
        changed[7].role = Role::Operator;
        assert_eq!(misfits(&after, &changed).len(), 1);

        // A program that tells no digest ran beside once more: the next start takes it as it is.
        entries.push((operator(), "client c-7 rotated: keys k replaced by l".to_owned()));
        let beside = log(&entries);
        assert!(misfits(&beside, &changed).is_empty());
        assert_eq!(beside.found(&changed, 6).len(), 1);
    }
}
