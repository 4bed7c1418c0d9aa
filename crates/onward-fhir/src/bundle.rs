//! A Bundle with its entries indexed, so that references resolve as FHIR says (R4 §2.36.4.1).

use crate::tree::Element;
use foldhash::{HashMap, HashMapExt};

/// A Bundle element (root or nested) and its index.
#[derive(Debug, Clone)]
pub struct Bundle<'t, 's> {
    element: Element<'t, 's>,
    resources: Vec<Element<'t, 's>>,
    by_full_url: HashMap<&'t str, Element<'t, 's>>,
    by_type_and_id: HashMap<(&'t str, &'t str), Element<'t, 's>>,
}

impl<'t, 's> Bundle<'t, 's> {
    /// Indexes a Bundle; `None` when the element is not one.
    #[must_use]
    pub fn new(element: Element<'t, 's>) -> Option<Self> {
        if !element.is("Bundle") {
            return None;
        }
        let entries = element.all("entry").count();
        let mut bundle = Self {
            element,
            resources: Vec::with_capacity(entries),
            by_full_url: HashMap::with_capacity(entries),
            by_type_and_id: HashMap::with_capacity(entries),
        };
        for entry in element.all("entry") {
            let Some(resource) = entry.get("resource") else { continue };
            bundle.resources.push(resource);
            if let Some(full_url) = entry.text("fullUrl") {
                bundle.by_full_url.entry(full_url).or_insert(resource);
            }
            if let (Some(resource_type), Some(id)) = (resource.resource_type(), resource.text("id")) {
                bundle.by_type_and_id.entry((resource_type, id)).or_insert(resource);
            }
        }
        Some(bundle)
    }

    /// The Bundle itself.
    #[must_use]
    pub fn element(&self) -> Element<'t, 's> {
        self.element
    }

    /// `Bundle.type`.
    #[must_use]
    pub fn bundle_type(&self) -> Option<&'t str> {
        self.element.text("type")
    }

    /// The resources of the entries, in order.
    #[must_use]
    pub fn resources(&self) -> &[Element<'t, 's>] {
        &self.resources
    }

    /// The resources of one type, in order.
    pub fn of_type<'a>(&'a self, resource_type: &'a str) -> impl Iterator<Item = Element<'t, 's>> + 'a {
        self.resources.iter().copied().filter(move |resource| resource.is(resource_type))
    }

    /// The first resource, when it is of this type (MessageHeader, Composition).
    #[must_use]
    pub fn first(&self, resource_type: &str) -> Option<Element<'t, 's>> {
        self.resources.first().copied().filter(|resource| resource.is(resource_type))
    }

    /// `entry.fullUrl` of a resource of this bundle.
    #[must_use]
    pub fn full_url(&self, resource: Element<'t, 's>) -> Option<&'t str> {
        resource.parent().and_then(|entry| entry.text("fullUrl"))
    }

    /// What a `Reference` element points to: contained, by `fullUrl`, or by type and id. Never looks outside.
    #[must_use]
    pub fn resolve(&self, reference: Element<'t, 's>) -> Option<Element<'t, 's>> {
        let text = reference.text("reference")?;
        if let Some(id) = text.strip_prefix('#') {
            return container(reference).all("contained").find(|resource| resource.text("id") == Some(id));
        }
        self.resolve_text(text)
    }

    /// What a reference text points to: by `fullUrl`, or by type and id.
    #[must_use]
    pub fn resolve_text(&self, text: &str) -> Option<Element<'t, 's>> {
        if let Some(found) = self.by_full_url.get(text) {
            return Some(*found);
        }
        let unversioned = match text.split_once("/_history/") {
            Some((before, _)) => match self.by_full_url.get(before) {
                Some(found) => return Some(*found),
                None => before,
            },
            None => text,
        };
        let mut parts = unversioned.rsplitn(3, '/');
        let (id, resource_type) = (parts.next()?, parts.next()?);
        // An absolute URL means exactly that URL; only a relative one may be matched by type and id.
        if parts.next().is_some() {
            return None;
        }
        self.by_type_and_id.get(&(resource_type, id)).copied()
    }
}

/// The outermost resource of the entry that an element stands in: where `contained` lives.
fn container<'t, 's>(element: Element<'t, 's>) -> Element<'t, 's> {
    let mut resource = element.resource();
    while resource.name() == "contained" {
        match resource.parent() {
            Some(parent) => resource = parent.resource(),
            None => break,
        }
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Builder;

    #[test]
    fn resolves_by_full_url_type_and_id_and_contained() {
        let mut b = Builder::resource("Bundle");
        b.node("entry", |b| {
            b.leaf("fullUrl", "urn:uuid:1");
            b.child_resource("resource", "Patient", |b| b.leaf("id", "p"));
        });
        b.node("entry", |b| {
            b.child_resource("resource", "Encounter", |b| {
                b.child_resource("contained", "Location", |b| b.leaf("id", "l"));
                b.node("subject", |b| b.leaf("reference", "urn:uuid:1"));
                b.node("location", |b| b.node("location", |b| b.leaf("reference", "#l")));
                b.node("serviceProvider", |b| b.leaf("reference", "http://elsewhere/Patient/p"));
                b.node("partOf", |b| b.leaf("reference", "Patient/p/_history/2"));
            });
        });
        let tree = b.finish();
        let bundle = Bundle::new(tree.root()).expect("a bundle");
        let encounter = bundle.of_type("Encounter").next().expect("there");
        let to = |path: &str| {
            bundle
                .resolve(encounter.at(path).expect("there"))
                .and_then(|found| found.resource_type().map(str::to_owned))
        };
        assert_eq!(to("subject").as_deref(), Some("Patient"));
        assert_eq!(to("location.location").as_deref(), Some("Location"));
        assert_eq!(to("partOf").as_deref(), Some("Patient"));
        assert_eq!(to("serviceProvider"), None, "an absolute URL is not matched by its tail");
    }
}
