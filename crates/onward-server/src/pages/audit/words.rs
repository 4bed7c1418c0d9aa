//! What happened, in words, and which of it a search is about.

use onward_core::audit::AuditWord;
use onward_core::people::Strength;

/// What an entry tells.
pub(super) fn word(word: AuditWord) -> &'static str {
    match word {
        AuditWord::Accept => "Message accepted",
        AuditWord::Duplicate => "Message came again",
        AuditWord::Refuse => "Message refused",
        AuditWord::Hold => "Transfer held",
        AuditWord::Release => "Decision of a person",
        AuditWord::Withdraw => "Taken back",
        AuditWord::DirectoryLookup => "PDS asked",
        AuditWord::Disclose => "Sent to a recipient",
        AuditWord::Read => "Opened",
        AuditWord::Respond => "Response to the hospital",
        AuditWord::ReadTask => "State looked at",
        AuditWord::AttemptFailed => "Attempt failed",
        AuditWord::DeliveryFailed => "Delivery failed",
        AuditWord::Acknowledge => "Acknowledged or refused",
        AuditWord::Query => "Searched or listed",
        AuditWord::SubjectAccess => "Exported",
        AuditWord::Export => "File handed out",
        AuditWord::Reveal => "Identity shown",
        AuditWord::SignIn => "Signed in",
        AuditWord::SignOut => "Signed out",
        AuditWord::Deny => "Denied",
        AuditWord::Configure => "Settings changed",
        AuditWord::DryRun => "Tried out",
        AuditWord::Intend => "About to be sent",
        AuditWord::Erase => "Erasure",
        AuditWord::Notify => "Somebody alerted",
        AuditWord::Alarm => "Log or database not as it was left",
    }
}

/// How a person signed in.
pub(super) fn signed_in_by(strength: Strength) -> &'static str {
    match strength {
        Strength::Passkey => "by passkey",
        Strength::PasswordAndCode => "by password and code",
        Strength::Federated => "by an identity provider",
    }
}

/// What a disclosure is: bytes about a person that somebody got, or may have got.
pub(super) const DISCLOSURES: [AuditWord; 7] = [
    AuditWord::Intend,
    AuditWord::Disclose,
    AuditWord::Read,
    AuditWord::AttemptFailed,
    AuditWord::DeliveryFailed,
    AuditWord::SubjectAccess,
    AuditWord::Reveal,
];

/// Groups of words that a search offers: value, words for people, words of the log. Each word of the log is in one of them.
pub(super) const GROUPS: [(&str, &str, &[AuditWord]); 8] = [
    ("", "Everything", &[]),
    (
        "messages",
        "Messages that came, and what was answered",
        &[
            AuditWord::Accept,
            AuditWord::Duplicate,
            AuditWord::Refuse,
            AuditWord::Hold,
            AuditWord::DirectoryLookup,
            AuditWord::Respond,
            AuditWord::DryRun,
        ],
    ),
    ("reading", "Opened, listed or searched", &[AuditWord::Read, AuditWord::ReadTask, AuditWord::Query]),
    (
        "sending",
        "Sent, or tried",
        &[AuditWord::Intend, AuditWord::Disclose, AuditWord::AttemptFailed, AuditWord::DeliveryFailed],
    ),
    ("exports", "Exports, and identities shown", &[AuditWord::SubjectAccess, AuditWord::Export, AuditWord::Reveal]),
    (
        "decisions",
        "Decisions of people",
        &[AuditWord::Release, AuditWord::Withdraw, AuditWord::Acknowledge, AuditWord::Erase, AuditWord::Configure],
    ),
    ("alerts", "Alerts", &[AuditWord::Notify, AuditWord::Alarm]),
    ("access", "Sign-ins and denials", &[AuditWord::SignIn, AuditWord::SignOut, AuditWord::Deny]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_told_in_words_and_found_by_one_group() {
        for each in AuditWord::ALL {
            let told = word(*each);
            assert!(told.starts_with(char::is_uppercase), "{each} is told as the log writes it: {told}");
            let groups = GROUPS.iter().filter(|group| group.2.contains(each)).count();
            assert_eq!(groups, 1, "{each} is in {groups} groups of the search");
        }
    }
}
