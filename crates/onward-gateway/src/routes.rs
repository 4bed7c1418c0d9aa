//! Which message goes to whom, or waits for a person. The first route whose conditions hold decides.

use std::collections::BTreeSet;

use onward_core::state::{HoldReason, RecipientKind};

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// These recipients get copies.
    Deliver(Vec<RecipientKind>),
    /// A person decides.
    Hold(HoldReason),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What people see.
    pub name: String,
    /// Event codes; empty: any.
    pub events: BTreeSet<String>,
    /// Discharge destination codes; empty: any, or none given.
    pub destinations: BTreeSet<String>,
    /// What to do.
    pub decision: Decision,
}

impl Route {
    /// Whether a message with this event and this discharge destination takes this route, if none before does.
    #[must_use]
    pub fn applies(&self, event: &str, destination: Option<&str>) -> bool {
        (self.events.is_empty() || self.events.contains(event))
            && (self.destinations.is_empty() || destination.is_some_and(|code| self.destinations.contains(code)))
    }
}

/// All rules, in order; together they take every message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// Rules whose last takes everything that the others leave.
    ///
    /// # Panics
    /// When the last rule has conditions: the caller has checked the rules before.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> Self {
        let last = routes.last().expect("there is a route");
        assert!(last.events.is_empty() && last.destinations.is_empty(), "the last route takes everything");
        Self(routes)
    }

    /// The rules in order.
    #[must_use]
    pub fn all(&self) -> &[Route] {
        &self.0
    }

    /// The rule that decides.
    #[must_use]
    pub fn decide(&self, event: &str, destination: Option<&str>) -> &Route {
        self.0.iter().find(|route| route.applies(event, destination)).expect("the last route takes everything")
    }

    /// The first rule that delivers this event, wherever the person goes: for a message that a person sends all the same.
    #[must_use]
    pub fn delivering(&self, event: &str) -> Option<&Route> {
        let fits = |route: &&Route| route.events.is_empty() || route.events.contains(event);
        self.0.iter().filter(fits).find(|route| matches!(route.decision, Decision::Deliver(_)))
    }

    /// Whether some rule delivers this event to such a recipient.
    #[must_use]
    pub fn delivers(&self, event: &str, kind: RecipientKind) -> bool {
        let to = |route: &Route| matches!(&route.decision, Decision::Deliver(kinds) if kinds.contains(&kind));
        self.0.iter().any(|route| (route.events.is_empty() || route.events.contains(event)) && to(route))
    }

    /// The rules before the deciding one, each with the reason why it does not apply.
    #[must_use]
    pub fn passed_over(&self, event: &str, destination: Option<&str>) -> Vec<(&Route, &'static str)> {
        self.0
            .iter()
            .take_while(|route| !route.applies(event, destination))
            .map(|route| {
                let event_fits = route.events.is_empty() || route.events.contains(event);
                (route, if event_fits { "another discharge destination" } else { "another event" })
            })
            .collect()
    }
}
