//! Which slice an element is in, and how many each slice may have.

use onward_fhir::Element;

use super::views::{View, Views};
use super::{Found, Session};
use crate::definition::SlicingRules;
use crate::plan::{Matcher, Node, Plan, PlanId, SlicePlan, SlicingPlan, Step, Test};
use crate::snapshot::suffix_is_type;
use crate::terminology::Membership;
use crate::{IssueCode, Severity};

/// How an element stands to a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    /// A code that nothing here knows.
    Unsure,
}

impl Fit {
    fn of(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unsure,
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, Self::No) => Self::No,
            _ => Self::Unsure,
        }
    }
}

impl<'t, 's> Session<'_, 't, 's> {
    /// Puts siblings into the slices of a node, and each slice's view on those in it.
    pub(super) fn slices(
        &mut self,
        parent: Element<'t, 's>,
        run: &[Element<'t, 's>],
        plan_id: PlanId,
        plan: &Plan,
        at: u32,
        views: &mut [Views],
    ) {
        let node = plan.node(at);
        let Some(slicing) = &node.slicing else { return };
        let mut counts = vec![0_u32; slicing.slices.len()];
        let mut unsure = vec![false; slicing.slices.len()];
        let mut order: Vec<Option<usize>> = Vec::with_capacity(run.len());
        for (element, views) in run.iter().zip(views.iter_mut()) {
            let slice = self.slice_of(*element, slicing, &mut unsure);
            order.push(slice);
            match slice {
                Some(index) => {
                    counts[index] += 1;
                    views.add(View { plan: plan_id, node: slicing.slices[index].node });
                }
                None if slicing.rules == SlicingRules::Closed && !unsure.contains(&true) => {
                    self.outside(*element, plan, node, slicing);
                }
                None => {}
            }
        }
        for (index, slice) in slicing.slices.iter().enumerate() {
            let sliced = plan.node(slice.node);
            if counts[index] > sliced.max {
                self.slice_exceeded(parent, plan, sliced, &slice.name, counts[index]);
            }
            if counts[index] < sliced.min && !slice.matchers.is_empty() {
                let near = self.near_miss(run, &order, slice);
                self.slice_missing(parent, plan, sliced, &slice.name, counts[index], near, unsure[index]);
            }
            // Slices within the slice.
            if sliced.slicing.is_some() {
                self.reslices(parent, run, &order, index, plan_id, plan, slice.node, views);
            }
        }
        self.slice_order(run, &order, plan, node, slicing);
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one run of siblings, used here only")]
    fn reslices(
        &mut self,
        parent: Element<'t, 's>,
        run: &[Element<'t, 's>],
        order: &[Option<usize>],
        index: usize,
        plan_id: PlanId,
        plan: &Plan,
        at: u32,
        views: &mut [Views],
    ) {
        let inside: Vec<usize> = (0..run.len()).filter(|each| order[*each] == Some(index)).collect();
        let elements: Vec<Element<'t, 's>> = inside.iter().map(|each| run[*each]).collect();
        let mut own: Vec<Views> = inside.iter().map(|each| views[*each].clone()).collect();
        self.slices(parent, &elements, plan_id, plan, at, &mut own);
        for (each, own) in inside.into_iter().zip(own) {
            views[each] = own;
        }
    }

    fn slice_of(&mut self, element: Element<'t, 's>, slicing: &SlicingPlan, unsure: &mut [bool]) -> Option<usize> {
        for (index, slice) in slicing.slices.iter().enumerate() {
            if slice.matchers.is_empty() {
                continue;
            }
            let mut fit = Fit::Yes;
            for matcher in &slice.matchers {
                fit = fit.and(self.matches(element, matcher));
                if fit == Fit::No {
                    break;
                }
            }
            match fit {
                Fit::Yes => return Some(index),
                Fit::Unsure => unsure[index] = true,
                Fit::No => {}
            }
        }
        None
    }

    fn matches(&mut self, element: Element<'t, 's>, matcher: &Matcher) -> Fit {
        let reached = self.reach(element, &matcher.steps);
        if let Test::Exists(wanted) = matcher.test {
            return Fit::of(reached.is_empty() != wanted);
        }
        reached
            .into_iter()
            .fold(Fit::No, |fit, each| if fit == Fit::Yes { fit } else { fit.or(self.passes(each, &matcher.test)) })
    }

    fn reach(&mut self, element: Element<'t, 's>, steps: &[Step]) -> Vec<Element<'t, 's>> {
        let mut at = vec![element];
        for step in steps {
            at = match step {
                Step::Child { name, choice } => at
                    .iter()
                    .flat_map(|each| each.children())
                    .filter(|child| {
                        child.name() == &**name
                            || (*choice
                                && child
                                    .name()
                                    .strip_prefix(&**name)
                                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase())))
                    })
                    .collect(),
                Step::OfType(type_name) => at.into_iter().filter(|each| self.is_of_type(*each, type_name)).collect(),
                Step::Extension(url) => at
                    .iter()
                    .flat_map(|each| each.all("extension"))
                    .filter(|each| each.text("url") == Some(url))
                    .collect(),
                Step::Resolve => at.into_iter().filter_map(|each| self.resolve(each)).collect(),
            };
        }
        at
    }

    /// Whether an element is of a type, as far as its name or its being a resource tells.
    fn is_of_type(&mut self, element: Element<'t, 's>, type_name: &str) -> bool {
        match element.resource_type() {
            Some(actual) => self.is_a(actual, type_name),
            None => {
                let name = element.name();
                let starts = name.bytes().enumerate().skip(1).filter(|(_, byte)| byte.is_ascii_uppercase());
                let mut suffixes = starts.map(|(start, _)| &name[start..]).peekable();
                suffixes.peek().is_none() || suffixes.any(|suffix| suffix_is_type(suffix, type_name))
            }
        }
    }

    fn passes(&mut self, element: Element<'t, 's>, test: &Test) -> Fit {
        match test {
            Test::Equals(value) => Fit::of(value.equals(element)),
            Test::Within(value) => Fit::of(value.is_within(element)),
            Test::InValueSet(value_set) => match self.coded_member(element, value_set) {
                Some(Membership::Yes { .. }) => Fit::Yes,
                Some(Membership::No) | None => Fit::No,
                Some(Membership::Unknown { .. }) => Fit::Unsure,
            },
            Test::Has(steps, inner) => {
                let reached = self.reach(element, steps);
                reached.into_iter().fold(Fit::No, |fit, each| fit.or(self.passes(each, inner)))
            }
            Test::All(tests) => tests.iter().fold(Fit::Yes, |fit, each| fit.and(self.passes(element, each))),
            Test::Exists(wanted) => Fit::of(*wanted),
            Test::Type(codes) => Fit::of(codes.iter().any(|code| self.is_of_type(element, code))),
            Test::Profile(profiles) => {
                let mut fit = Fit::No;
                for profile in profiles {
                    let own = match self.validator.plan_id(profile) {
                        Ok(id) => Fit::of(self.conforms(element, View::root(id))),
                        Err(_) => Fit::Unsure,
                    };
                    fit = fit.or(own);
                }
                fit
            }
        }
    }

    /// What an element outside of all slices lacks to be in this one, when it has all but one of what tells it.
    fn near_miss(&mut self, run: &[Element<'t, 's>], order: &[Option<usize>], slice: &SlicePlan) -> String {
        let outside: Vec<Element<'t, 's>> =
            run.iter().zip(order).filter(|(_, slice)| slice.is_none()).map(|(element, _)| *element).collect();
        for element in outside.into_iter().take(4) {
            let mut missed = Vec::new();
            for matcher in &slice.matchers {
                if self.matches(element, matcher) == Fit::No {
                    missed.push(matcher);
                }
            }
            if let [only] = missed.as_slice() {
                let wanted = wanted(&only.test);
                return format!(" {} looks like it, but {} differs: expected {wanted}.", element.path(), only.path);
            }
        }
        String::new()
    }

    #[expect(clippy::too_many_arguments, reason = "the facts of one finding")]
    pub(super) fn slice_missing(
        &mut self,
        parent: Element<'t, 's>,
        plan: &Plan,
        sliced: &Node,
        name: &str,
        count: u32,
        near: String,
        unsure: bool,
    ) {
        self.find(Found {
            severity: if unsure { Severity::Information } else { Severity::Error },
            code: IssueCode::Required,
            at: parent,
            rule: format!("{}#{} min", plan.url(), sliced.id),
            same: &format!("min {}:{name}", sliced.name),
            text: if unsure {
                format!(
                    "Whether the slice {name} ({}) is there could not be told: its code system is not known here.",
                    sliced.id
                )
            } else {
                format!("The slice {name} ({}) needs at least {}, found {count}.{near}", sliced.id, sliced.min)
            },
        });
    }

    fn slice_exceeded(&mut self, parent: Element<'t, 's>, plan: &Plan, sliced: &Node, name: &str, count: u32) {
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at: parent,
            rule: format!("{}#{} max", plan.url(), sliced.id),
            same: &format!("max {}:{name}", sliced.name),
            text: format!("The slice {name} ({}) may have at most {}, found {count}.", sliced.id, sliced.max),
        });
    }

    fn outside(&mut self, element: Element<'t, 's>, plan: &Plan, node: &Node, slicing: &SlicingPlan) {
        let names: Vec<&str> = slicing.slices.iter().map(|slice| &*slice.name).collect();
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at: element,
            rule: format!("{}#{} slicing-closed", plan.url(), node.id),
            same: "slicing-closed",
            text: format!(
                "This {} is in none of the slices that {} allows: {}.",
                node.name,
                plan.url(),
                names.join(", ")
            ),
        });
    }

    fn slice_order(
        &mut self,
        run: &[Element<'t, 's>],
        order: &[Option<usize>],
        plan: &Plan,
        node: &Node,
        slicing: &SlicingPlan,
    ) {
        let mut last = 0;
        let mut open = false;
        for (element, slice) in run.iter().zip(order) {
            let wrong = match slice {
                None => {
                    open = true;
                    false
                }
                Some(index) => {
                    let place = slicing.slices[*index].node;
                    let wrong = (slicing.ordered && place < last) || (open && slicing.rules == SlicingRules::OpenAtEnd);
                    last = last.max(place);
                    wrong
                }
            };
            if wrong {
                self.find(Found {
                    severity: Severity::Error,
                    code: IssueCode::Structure,
                    at: *element,
                    rule: format!("{}#{} slicing-order", plan.url(), node.id),
                    same: "slicing-order",
                    text: format!("This {} stands behind others that {} wants behind it.", node.name, plan.url()),
                });
                return;
            }
        }
    }
}

fn wanted(test: &Test) -> String {
    match test {
        Test::Equals(value) | Test::Within(value) => value.shown(),
        Test::InValueSet(value_set) => format!("a code of {value_set}"),
        Test::Has(_, inner) => wanted(inner),
        Test::All(tests) => tests.iter().map(wanted).collect::<Vec<_>>().join(", "),
        Test::Exists(true) => "it to be there".to_owned(),
        Test::Exists(false) => "it to be absent".to_owned(),
        Test::Type(codes) => format!("type {}", codes.join(" or ")),
        Test::Profile(profiles) => format!("profile {}", profiles.join(" or ")),
    }
}
