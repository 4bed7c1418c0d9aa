//! What a reference points to, inside the resource or its Bundle (R4 §2.3.0.5, §2.36.4).

use onward_fhir::Element;

use super::Session;
use super::views::Views;

impl<'t, 's> Session<'_, 't, 's> {
    /// The resource that a Reference (or a uri that refers) points to, when it is within the document.
    pub(super) fn resolve(&mut self, element: Element<'t, 's>) -> Option<Element<'t, 's>> {
        let reference = element.text("reference").or_else(|| element.value())?;
        self.resolve_text(element, reference)
    }

    pub(super) fn resolve_text(&mut self, from: Element<'t, 's>, reference: &str) -> Option<Element<'t, 's>> {
        if let Some(id) = reference.strip_prefix('#') {
            let container = container(from);
            if id.is_empty() {
                return Some(container);
            }
            return container.all("contained").find(|each| each.text("id") == Some(id));
        }
        let mut at = from;
        let mut full_url = None;
        while let Some(parent) = at.parent() {
            if parent.name() == "entry" && at.resource_type().is_some() && full_url.is_none() {
                full_url = Some(parent.text("fullUrl").unwrap_or_default());
            }
            if parent.is("Bundle") {
                if let Some(found) = in_bundle(parent, reference, full_url.unwrap_or_default()) {
                    return Some(found);
                }
                full_url = None;
            }
            at = parent;
        }
        None
    }

    pub(super) fn data_type(&mut self, _element: Element<'t, 's>, _name: &str, _views: &Views) {}

    pub(super) fn whole_resource(&mut self, _element: Element<'t, 's>, _type_name: &str) {}
}

/// The resource around, that is not contained itself.
pub(super) fn container<'t, 's>(element: Element<'t, 's>) -> Element<'t, 's> {
    let mut resource = element.resource();
    while resource.name() == "contained" {
        match resource.parent() {
            Some(parent) => resource = parent.resource(),
            None => break,
        }
    }
    resource
}

/// The entry that a reference names, by the rules of `fullUrl` (R4 §2.36.4.1).
fn in_bundle<'t, 's>(bundle: Element<'t, 's>, reference: &str, full_url: &str) -> Option<Element<'t, 's>> {
    let bare = reference.split("/_history/").next().unwrap_or(reference);
    let bare = bare.split('#').next().unwrap_or(bare);
    let absolute = if bare.contains(':') {
        bare.to_owned()
    } else {
        let base = base_of(full_url)?;
        format!("{base}{bare}")
    };
    bundle
        .all("entry")
        .find(|entry| entry.text("fullUrl") == Some(absolute.as_str()))
        .and_then(|entry| entry.get("resource"))
}

/// The service base of a RESTful URL: `https://a.b/fhir/` of `https://a.b/fhir/Patient/1`.
pub(super) fn base_of(full_url: &str) -> Option<&str> {
    if !full_url.starts_with("http") {
        return None;
    }
    let (head, _) = full_url.rsplit_once('/')?;
    let (base, _) = head.rsplit_once('/')?;
    Some(&full_url[..=base.len()])
}
