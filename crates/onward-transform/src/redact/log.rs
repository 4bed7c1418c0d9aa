//! The audit log and what people wrote, for the person whom they are about.
//!
//! Who cares for somebody acts in that capacity and stays named (Data Protection Act 2018 Schedule 2 paragraph 17); so do organisations
//! and their systems. Who runs or oversees the gateway is told by role: their names are about them (UK GDPR Article 15(4), paragraph 16).
//! Accounts, sessions and tokens are what the gateway is kept safe by (Article 32). What a legal hold is for may be privileged
//! (paragraph 19): that there is one is told, its reason is a person's to give.

use onward_fhir::{Builder, Element};

use super::{Others, Redacted, Redaction, Rule};

/// Roles of those who run or oversee the gateway.
const OVERSEEING: [&str; 2] = ["information-governance", "operator"];
/// The command line's name among agents: a name of nobody.
const COMMAND_LINE: &str = "operator";
/// What stands before a name in what the gateway writes about a decision.
const BEFORE_A_NAME: [&str; 9] = [
    ", by ",
    "closed by ",
    "requested by ",
    "confirmed by ",
    "placed by ",
    "lifted by ",
    "asked for by ",
    "paused by ",
    "resumed by ",
];
/// How the entry about a legal hold begins, after its word.
const LEGAL_HOLD: &str = "legal hold ";

/// Copies an AuditEvent without what is about others than its subject. Of one about a list, or about an export, on which others stood
/// too (`among_others`), what was asked goes: it says who they are.
#[must_use]
pub fn entry_without_third_parties(root: Element<'_, '_>, others: &Others, among_others: bool) -> Redacted {
    let mut builder = Builder::resource("AuditEvent".to_owned());
    let overseeing = agents(root).any(|agent| is_overseeing(agent) || is_command(agent));
    let mut walk = Walk { others, overseeing, among_others, redactions: Vec::new() };
    for child in root.children() {
        walk.copy(&mut builder, child);
    }
    Redacted { tree: builder.finish(), redactions: walk.redactions }
}

/// The names in an AuditEvent of those who run or oversee the gateway: a text may name them, too.
pub fn overseers<'t, 's>(root: Element<'t, 's>) -> impl Iterator<Item = &'t str> + use<'t, 's> {
    agents(root).filter(|agent| is_overseeing(*agent) && !is_command(*agent)).filter_map(|agent| agent.text("name"))
}

/// What somebody wrote about the person, without the names of who decided where the gateway wrote them in, and whether any rule took
/// something; a text that names somebody else goes as a whole.
#[must_use]
pub fn text_without_third_parties(text: &str, others: &Others, overseeing: bool) -> (String, Option<Rule>) {
    if let Some((before, _)) =
        text.split_once(LEGAL_HOLD).filter(|(before, _)| before.is_empty() || before.ends_with(": "))
    {
        return (format!("{before}{LEGAL_HOLD}{}", Rule::LegalHold.stand_in()), Some(Rule::LegalHold));
    }
    let (text, named) = if overseeing { without_names(text) } else { (text.to_owned(), false) };
    if others.are_named_in(&text) {
        // The word of an entry, which is ours, stays.
        let word = text
            .split_once(": ")
            .map(|(word, _)| word)
            .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        let word = word.map(|word| format!("{word}: ")).unwrap_or_default();
        return (format!("{word}{}", Rule::Mention.stand_in()), Some(Rule::Mention));
    }
    (text, named.then_some(Rule::Staff))
}

fn without_names(text: &str) -> (String, bool) {
    let (mut told, mut rest, mut found) = (String::new(), text, false);
    loop {
        let next = BEFORE_A_NAME.iter().filter_map(|mark| Some((rest.find(mark)? + mark.len(), mark))).min();
        let Some((at, _)) = next else { break };
        let (before, name) = rest.split_at(at);
        let end = name.find([',', ':', ';']).unwrap_or(name.len());
        told.push_str(before);
        told.push_str(Rule::Staff.stand_in());
        rest = &name[end..];
        found = true;
    }
    told.push_str(rest);
    (told, found)
}

fn agents<'t, 's>(root: Element<'t, 's>) -> impl Iterator<Item = Element<'t, 's>> {
    root.all("agent")
}

fn is_overseeing(agent: Element<'_, '_>) -> bool {
    let mut codes = agent.all("role").flat_map(|role| role.all("coding")).filter_map(|coding| coding.text("code"));
    codes.any(|code| OVERSEEING.contains(&code))
}

fn is_command(agent: Element<'_, '_>) -> bool {
    agent.text("name") == Some(COMMAND_LINE)
}

struct Walk<'o> {
    others: &'o Others,
    /// Somebody who runs or oversees the gateway acted.
    overseeing: bool,
    among_others: bool,
    redactions: Vec<Redaction>,
}

impl Walk<'_> {
    fn copy(&mut self, builder: &mut Builder<'_>, element: Element<'_, '_>) {
        if let Some(rule) = self.ruled_out(element) {
            self.redactions.push(Redaction { path: element.path(), rule });
            return;
        }
        let replaced = match (element.name(), element.value()) {
            ("name" | "display", Some(_)) if is_name_of_an_overseer(element) => {
                Some((Rule::Staff.stand_in().to_owned(), Some(Rule::Staff)))
            }
            ("outcomeDesc", Some(text)) => Some(text_without_third_parties(text, self.others, self.overseeing)),
            _ => None,
        };
        builder.open_same_owned(element);
        match replaced {
            Some((text, Some(rule))) => {
                self.redactions.push(Redaction { path: element.path(), rule });
                builder.set_value(text, element.lexical());
            }
            _ => {
                for child in element.children() {
                    self.copy(builder, child);
                }
            }
        }
        builder.close();
    }

    fn ruled_out(&self, element: Element<'_, '_>) -> Option<Rule> {
        let of_agent = element.parent().is_some_and(|parent| parent.name() == "agent");
        let says = |name, begin: &str| element.text(name).is_some_and(|text| text.starts_with(begin));
        // An account, or the address of the Internet Protocol that somebody asked from.
        let is_account = || says("address", "urn:uuid:") || says("type", "2");
        match element.name() {
            "altId" | "policy" if of_agent => Some(Rule::Account),
            "network" if of_agent && is_account() => Some(Rule::Account),
            "query" if self.among_others => Some(Rule::OthersOnList),
            _ => None,
        }
    }
}

/// `agent.name`, or `agent.who.display`, which says the same.
fn is_name_of_an_overseer(element: Element<'_, '_>) -> bool {
    let parent = element.parent();
    let agent = if element.name() == "name" {
        parent
    } else {
        parent.filter(|who| who.name() == "who").and_then(Element::parent)
    };
    agent.is_some_and(|agent| agent.name() == "agent" && is_overseeing(agent) && !is_command(agent))
}

#[cfg(test)]
mod tests {
    use onward_fhir::read::{self, Limits};
    use onward_fhir::{Release, write};

    use super::*;

    fn event(agent: &str, told: &str) -> String {
        format!(
            r#"{{"resourceType":"AuditEvent","outcomeDesc":"{told}","agent":[{agent},{{"name":"https://gateway.example","requestor":false}}],"entity":[{{"role":{{"code":"24"}},"query":"aW5ib3g="}}]}}"#
        )
    }

    fn redacted(event: &str, among_others: bool) -> (String, Vec<(String, Rule)>) {
        let document =
            r#"{"resourceType":"Patient","name":[{"family":"Whitfield"}],"contact":[{"name":{"text":"Clara Mint"}}]}"#;
        let document = read::json(document, &Limits::default()).expect("FHIR");
        let tree = read::json(event, &Limits::default()).expect("FHIR");
        let mut others = Others::of([document.root()]);
        overseers(tree.root()).for_each(|name| others.add_staff(name));
        let Redacted { tree, redactions } = entry_without_third_parties(tree.root(), &others, among_others);
        let written = write::json(tree.root(), Release::R4);
        assert!(written.losses.is_empty(), "{:?}", written.losses);
        (written.text, redactions.into_iter().map(|each| (each.path, each.rule)).collect())
    }

    fn person(role: &str, name: &str) -> String {
        format!(
            r#"{{"role":[{{"coding":[{{"code":"{role}"}}]}}],"altId":"ada, uid 1001","who":{{"display":"{name}"}},"name":"{name}","requestor":true,"network":{{"address":"urn:uuid:5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10","type":"5"}},"policy":["https://onward.example/session/1"]}}"#
        )
    }

    #[test]
    fn whoever_cares_is_named_and_whoever_oversees_is_a_role() {
        let (text, redactions) = redacted(&event(&person("care-home-user", "Pat Moore"), "read: version 1"), false);
        assert!(text.contains("Pat Moore") && text.contains("version 1") && text.contains("aW5ib3g="), "{text}");
        for gone in ["uid 1001", "urn:uuid", "session/1"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
        assert_eq!(redactions.iter().map(|(_, rule)| *rule).collect::<Vec<_>>(), [Rule::Account; 3]);
        let from = person("care-home-user", "Pat Moore")
            .replace("urn:uuid:5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10\",\"type\":\"5", "192.0.2.17\",\"type\":\"2");
        let (text, redactions) = redacted(&event(&from, "read: version 1"), false);
        assert!(text.contains("Pat Moore") && !text.contains("192.0.2.17"), "where staff sit is theirs: {text}");
        assert_eq!(redactions.len(), 3);
        for role in OVERSEEING {
            let told = "reveal: whom it is about was shown: complaint, Byte asks";
            let (text, redactions) = redacted(&event(&person(role, "Ada Byte"), told), false);
            assert!(!text.contains("Byte") && text.contains(role), "{text}");
            let rules: Vec<Rule> = redactions.iter().map(|(_, rule)| *rule).collect();
            assert!(rules.contains(&Rule::Staff) && rules.contains(&Rule::Mention), "{rules:?}");
        }
    }

    #[test]
    fn what_somebody_wrote_is_told_unless_it_names_somebody_else() {
        let command = r#"{"name":"operator","requestor":true}"#;
        for (told, kept, rule) in [
            (
                "release: care-home-unknown released, 5 copies, by Ada Byte, care home VMH01: Whitfield goes there",
                "Whitfield goes there",
                Some(Rule::Staff),
            ),
            ("release: not a discharge closed by Ada Byte, nothing is sent: she stays", "she stays", Some(Rule::Staff)),
            (
                "withdraw: recalled, by Ada Byte: sent to clara mint by mistake",
                "withdraw: [withheld",
                Some(Rule::Mention),
            ),
            (
                "configure: legal hold 17 placed by Ada Byte: inquest",
                "configure: legal hold [withheld",
                Some(Rule::LegalHold),
            ),
            ("read-task: Task read", "Task read", None),
        ] {
            let (text, redactions) = redacted(&event(command, told), false);
            assert!(text.contains(kept), "{told}: {text}");
            for gone in ["Byte", "mint", "inquest"] {
                assert!(!text.contains(gone), "{gone}: {text}");
            }
            assert_eq!(redactions.first().map(|(_, rule)| *rule), rule, "{told}");
        }
    }

    #[test]
    fn a_list_does_not_say_who_else_stood_on_it() {
        let (text, redactions) =
            redacted(&event(&person("care-home-user", "Pat Moore"), "query: list of arrivals"), true);
        assert!(!text.contains("aW5ib3g=") && text.contains("list of arrivals"), "{text}");
        assert!(
            redactions.iter().any(|(path, rule)| path.contains("query") && *rule == Rule::OthersOnList),
            "{redactions:?}"
        );
    }
}
