//! The elements that the renditions' own resources are made of.

use onward_core::OdsCode;
use onward_fhir::elements::table;
use onward_fhir::{Builder, Element, Release, systems, views};

pub(super) type B<'b> = Builder<'b>;

/// An entry whose resource is built here.
pub(super) fn entry<'b>(b: &mut B<'b>, id: &str, resource_type: &'static str, fill: impl FnOnce(&mut B<'b>)) {
    b.node("entry", |b| {
        b.leaf("fullUrl", urn(id));
        b.child_resource("resource", resource_type, |b| {
            b.leaf("id", id.to_owned());
            fill(b);
        });
    });
}

/// An entry whose resource stands elsewhere, as it is.
pub(super) fn entry_of<'b>(b: &mut B<'b>, id: &str, resource: Element<'b, '_>) {
    b.node("entry", |b| {
        b.leaf("fullUrl", urn(id));
        b.copy_lent_as("resource", resource);
    });
}

/// An entry whose resource is copied without the elements that refer to other entries of where it stood.
pub(super) fn entry_alone(b: &mut B, id: &str, resource: Element<'_, '_>) {
    let refers = |child: &Element<'_, '_>| child.descendants().any(|inner| inner.text("reference").is_some());
    b.node("entry", |b| {
        b.leaf("fullUrl", urn(id));
        b.open_shell_owned("resource", resource);
        resource.children().filter(|child| !refers(child)).for_each(|child| b.copy_owned(child));
        b.close();
    });
}

pub(super) fn urn(id: &str) -> String {
    format!("urn:uuid:{id}")
}

pub(super) fn identifier(b: &mut B, system: &'static str, value: impl Into<String>) {
    b.node("identifier", |b| {
        b.leaf("system", system);
        b.leaf("value", value.into());
    });
}

pub(super) fn coding(b: &mut B, name: &'static str, system: &'static str, code: &str, display: &str) {
    b.node(name, |b| {
        b.leaf("system", system);
        b.leaf("code", code.to_owned());
        b.leaf("display", display.to_owned());
    });
}

/// A CodeableConcept of one coding.
pub(super) fn concept(b: &mut B, name: &'static str, system: &'static str, code: &str, display: &str) {
    b.node(name, |b| coding(b, "coding", system, code, display));
}

/// A CodeableConcept in words.
pub(super) fn words(b: &mut B, name: &'static str, text: &str) {
    b.node(name, |b| b.leaf("text", text.to_owned()));
}

pub(super) fn reference(b: &mut B, name: &'static str, id: &str) {
    b.node(name, |b| b.leaf("reference", urn(id)));
}

/// A logical reference to an organisation.
pub(super) fn organisation(b: &mut B, name: &'static str, ods: &OdsCode, display: &str) {
    b.node(name, |b| {
        b.leaf("type", "Organization");
        identifier(b, systems::ODS_ORGANISATION, ods.as_str());
        b.leaf("display", display.to_owned());
    });
}

/// The patient of an entry, also by NHS number, so that the request is readable without the entry.
pub(super) fn patient_reference(b: &mut B, name: &'static str, id: &str, patient: Element<'_, '_>) {
    b.node(name, |b| {
        b.leaf("reference", urn(id));
        b.leaf("type", "Patient");
        if let Some(number) = views::nhs_number(patient) {
            identifier(b, systems::NHS_NUMBER, number.to_owned());
        }
    });
}

/// An extension.
pub(super) fn extension(b: &mut B, url: &'static str, fill: impl FnOnce(&mut B)) {
    b.node("extension", |b| {
        b.leaf("url", url);
        fill(b);
    });
}

/// `meta.profile`.
pub(super) fn profile(b: &mut B, url: &str) {
    b.node("meta", |b| b.leaf("profile", url.to_owned()));
}

/// Elements of a projected resource that refer to nothing, under the same names and in FHIR's order: the order of JSON
/// properties means nothing.
pub(super) fn copy_free(b: &mut B, resource: Element<'_, '_>, names: &[&str]) {
    copy_free_and(b, resource, names, "", |_| {});
}

/// The same, and right behind those called `beside` what `add` writes under that name: elements of one name must stand
/// together.
pub(super) fn copy_free_and(
    b: &mut B,
    resource: Element<'_, '_>,
    names: &[&str],
    beside: &str,
    add: impl FnOnce(&mut B),
) {
    let free = |element: &Element<'_, '_>| !element.descendants().any(|each| each.name() == "reference");
    let def = resource.resource_type().and_then(|name| table(Release::R4).type_def(name));
    let mut add = Some(add);
    for name in def.into_iter().flat_map(|def| def.elements()).map(|each| each.name) {
        for child in resource.all(name).filter(|_| names.contains(&name)).filter(free) {
            b.copy_owned(child);
        }
        if name == beside
            && let Some(add) = add.take()
        {
            add(b);
        }
    }
}
