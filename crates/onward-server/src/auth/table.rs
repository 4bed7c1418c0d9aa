//! The authorization table (trust.md §8): which role has which function. Whose object it is, is decided where the
//! object is known; a foreign one answers 404.

use onward_core::client::Role;
use onward_core::people;

/// What a caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Submit a message for its own organisation.
    Submit,
    /// Validate or explain a message without effect.
    DryRun,
    /// See the state of one transfer or copy, by its identifier.
    ReadTask,
    /// List Tasks: a recipient its inbox, a sender what became of its own submissions.
    SearchTasks,
    /// Move a Task: a recipient that of a copy addressed to it, a sender that of its own transfer, which withdraws it.
    MoveTask,
    /// Read a copy addressed to it.
    ReadRendition,
    /// Search the audit entries of its own organisation.
    SearchAudit,
    /// See who is due to arrive at one's own home, on the page.
    ListArrivals,
    /// See what has not left and what waits for a person, and decide about it, on the page.
    Operate,
    /// Search the directory of care homes; a person of a home sees its own entry.
    SearchDirectory,
    /// The same, of places.
    SearchPlaces,
    /// Keep the own home's entry of the directory, on the page.
    KeepEntry,
    /// Ask to be called when a Task of the own organisation changes.
    CreateSubscription,
    /// See one of the own subscriptions.
    ReadSubscription,
    /// List the own subscriptions.
    SearchSubscriptions,
    /// Change one of the own subscriptions.
    ChangeSubscription,
    /// End one of the own subscriptions.
    DeleteSubscription,
    /// Have audit entries, or everything about one person, leave as a file, on the page.
    ExportEvidence,
    /// Have a person's data destroyed, which another lead confirms, or kept whatever others wish, on the page.
    Erase,
}

/// Whether the role has the function at all.
#[must_use]
pub fn may(role: Role, action: Action) -> bool {
    use Role::{CareHome, InformationGovernance, Operator, Pharmacy, Practice, Sender};
    match action {
        Action::Submit => role == Sender,
        Action::DryRun => matches!(role, Sender | Operator),
        Action::ReadTask => {
            matches!(role, Sender | CareHome | Practice | Pharmacy | InformationGovernance | Operator)
        }
        Action::SearchAudit => role == InformationGovernance,
        // A page for people: systems list Tasks.
        Action::ListArrivals | Action::Operate | Action::ExportEvidence | Action::Erase | Action::KeepEntry => false,
        Action::SearchDirectory | Action::SearchPlaces => matches!(role, Sender | Operator),
        // "List inbox, addressed" is no function of IG leads and operators: they see a state whose identifier they know.
        Action::SearchTasks => matches!(role, Sender | CareHome | Practice | Pharmacy),
        Action::MoveTask => matches!(role, Sender | CareHome | Practice | Pharmacy),
        // Who lists Tasks may be called when one changes.
        Action::CreateSubscription
        | Action::ReadSubscription
        | Action::SearchSubscriptions
        | Action::ChangeSubscription
        | Action::DeleteSubscription => may(role, Action::SearchTasks),
        Action::ReadRendition => matches!(role, CareHome | Practice | Pharmacy),
    }
}

/// Whether a person of this role has the function.
#[must_use]
pub fn person_may(role: people::Role, action: Action) -> bool {
    use people::Role::{CareHomeUser, InformationGovernance, Operator, WardCoordinator};
    match action {
        // Systems submit; a person who would try out a message has the command line.
        Action::Submit | Action::DryRun | Action::SearchPlaces => false,
        // Systems are called; people are told by e-mail.
        Action::CreateSubscription
        | Action::ReadSubscription
        | Action::SearchSubscriptions
        | Action::ChangeSubscription
        | Action::DeleteSubscription => false,
        Action::ReadTask => matches!(role, CareHomeUser | WardCoordinator | InformationGovernance | Operator),
        Action::SearchTasks => matches!(role, CareHomeUser | WardCoordinator),
        Action::MoveTask | Action::ReadRendition | Action::ListArrivals | Action::KeepEntry => role == CareHomeUser,
        Action::SearchDirectory => matches!(role, CareHomeUser | WardCoordinator | Operator),
        Action::SearchAudit | Action::ExportEvidence | Action::Erase => role == InformationGovernance,
        Action::Operate => role == Operator,
    }
}
