//! FHIRPath invariants of an element: each expression once, whichever definitions demand it.

use std::sync::Arc;

use onward_fhir::Element;

use super::Session;
use super::views::{View, Views};
use crate::invariant::{Compiled, Invariant};
use crate::plan::PlanId;

impl<'t, 's> Session<'_, 't, 's> {
    pub(super) fn invariants(&mut self, element: Element<'t, 's>, views: &Views, type_plan: Option<PlanId>) {
        let mut done: Vec<Arc<Compiled>> = Vec::new();
        for view in views.iter().chain(type_plan.map(View::root)) {
            if self.is_decided() {
                return;
            }
            let plan = self.plan(view.plan);
            let node = plan.node(view.node);
            for invariant in &node.invariants {
                if done.iter().any(|known| Arc::ptr_eq(known, &invariant.compiled)) {
                    continue;
                }
                done.push(Arc::clone(&invariant.compiled));
                self.invariant(element, invariant);
            }
        }
    }

    fn invariant(&mut self, _element: Element<'t, 's>, _invariant: &Invariant) {}
}
