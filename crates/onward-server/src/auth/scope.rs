//! SMART scopes of systems (SMART App Launch 2.2, §Scopes for Backend Services): what a token lets its client do, beside its role.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::client::Role;

use super::table::Action;

/// What we know scopes about.
const RESOURCES: [&str; 6] = ["Bundle", "Task", "AuditEvent", "HealthcareService", "Location", "Subscription"];

/// What a client's role may do, as scopes.
pub(crate) fn of_role(role: Role) -> &'static str {
    match role {
        Role::Sender => {
            "system/Bundle.c system/Task.rus system/HealthcareService.rs system/Location.rs system/Subscription.cruds"
        }
        Role::CareHome | Role::Practice | Role::Pharmacy => "system/Task.rus system/Bundle.r system/Subscription.cruds",
        Role::InformationGovernance => "system/Task.rs system/AuditEvent.s",
        Role::Operator => "system/Bundle.c system/Task.rs system/HealthcareService.rs system/Location.rs",
    }
}

/// The scopes of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scopes(BTreeMap<&'static str, BTreeSet<char>>);

impl Scopes {
    /// Those of a role.
    pub(crate) fn of(role: Role) -> Self {
        let mut scopes = Self::default();
        of_role(role).split(' ').for_each(|scope| {
            scopes.add(scope);
        });
        scopes
    }

    /// Whether everything that this scope asks for is among them.
    pub(crate) fn include(&self, asked: &str) -> bool {
        let mut alone = Self::default();
        alone.add(asked)
            && alone
                .0
                .iter()
                .all(|(resource, letters)| self.0.get(resource).is_some_and(|own| own.is_superset(letters)))
    }

    /// Adds `system/RESOURCE.LETTERS`, the letters in any order; false when it is none of ours.
    pub(crate) fn add(&mut self, scope: &str) -> bool {
        let Some((resource, letters)) = scope.strip_prefix("system/").and_then(|rest| rest.split_once('.')) else {
            return false;
        };
        let known = RESOURCES.into_iter().find(|known| *known == resource);
        let distinct: BTreeSet<char> = letters.chars().filter(|letter| "cruds".contains(*letter)).collect();
        let right = !letters.is_empty() && distinct.len() == letters.chars().count();
        match known.filter(|_| right) {
            Some(resource) => {
                self.0.entry(resource).or_default().extend(letters.chars());
                true
            }
            None => false,
        }
    }

    /// Whether they cover this.
    pub(crate) fn cover(&self, action: Action) -> bool {
        needed(action).is_some_and(|(resource, letter)| self.0.get(resource).is_some_and(|own| own.contains(&letter)))
    }
}

/// What must be covered for this; none for what is done on pages only.
fn needed(action: Action) -> Option<(&'static str, char)> {
    match action {
        Action::Submit | Action::DryRun => Some(("Bundle", 'c')),
        Action::ReadRendition => Some(("Bundle", 'r')),
        Action::ReadTask => Some(("Task", 'r')),
        Action::SearchTasks => Some(("Task", 's')),
        Action::MoveTask => Some(("Task", 'u')),
        Action::CreateSubscription => Some(("Subscription", 'c')),
        Action::ReadSubscription => Some(("Subscription", 'r')),
        Action::SearchSubscriptions => Some(("Subscription", 's')),
        Action::ChangeSubscription => Some(("Subscription", 'u')),
        Action::DeleteSubscription => Some(("Subscription", 'd')),
        Action::SearchAudit => Some(("AuditEvent", 's')),
        Action::SearchDirectory => Some(("HealthcareService", 's')),
        Action::SearchPlaces => Some(("Location", 's')),
        Action::ListArrivals | Action::Operate | Action::KeepEntry | Action::ExportEvidence | Action::Erase => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::table::may;

    fn parsed(text: &str) -> Scopes {
        let mut scopes = Scopes::default();
        assert!(text.split(' ').all(|scope| scopes.add(scope)), "{text}");
        scopes
    }

    #[test]
    fn the_scopes_of_a_role_cover_its_functions() {
        let actions = [
            Action::Submit,
            Action::DryRun,
            Action::ReadTask,
            Action::SearchTasks,
            Action::MoveTask,
            Action::ReadRendition,
            Action::SearchAudit,
            Action::SearchDirectory,
            Action::SearchPlaces,
            Action::CreateSubscription,
            Action::ReadSubscription,
            Action::SearchSubscriptions,
            Action::ChangeSubscription,
            Action::DeleteSubscription,
            Action::ListArrivals,
            Action::Operate,
        ];
        for role in Role::ALL {
            let scopes = parsed(of_role(*role));
            for action in actions {
                assert!(!may(*role, action) || scopes.cover(action), "{role} {action:?}");
            }
            assert!(!scopes.cover(Action::Operate));
        }
    }

    #[test]
    fn what_is_no_scope_of_ours_adds_nothing() {
        let mut scopes = Scopes::default();
        for bad in [
            "",
            "openid",
            "system/Task",
            "system/Task.",
            "system/Task.x",
            "system/Task.rr",
            "user/Task.r",
            "system/Patient.r",
            "system/*.rs",
            "system/task.r",
            "patient/Task.r",
            "system/Task.r system/Task.u",
        ] {
            assert!(!scopes.add(bad), "{bad}");
        }
        assert_eq!(scopes, Scopes::default());
        assert!(
            Scopes::of(Role::Sender).include("system/Task.rs") && Scopes::of(Role::Sender).include("system/Task.sur")
        );
        for more in ["system/Task.crs", "system/AuditEvent.s", "system/Bundle.rc", "openid", ""] {
            assert!(!Scopes::of(Role::Sender).include(more), "{more}");
        }
        assert!(scopes.add("system/Task.r") && scopes.cover(Action::ReadTask) && !scopes.cover(Action::SearchTasks));
    }
}
