//! The conformance resources of one file.

use std::sync::Arc;

use onward_fhir::read::{self, Format};
use onward_fhir::{Element, Release, write};

use super::{Conformance, Notice, Origin};
use crate::conformance::source::{Kind, Source, Text, limits};

/// Adds what a file holds: a conformance resource, or a Bundle of some. Any other resource is not of interest and is left out.
pub(in crate::conformance) fn add_file(
    into: &mut Conformance,
    name: &Arc<str>,
    bytes: &[u8],
    origin: Origin,
) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text: Arc<str> = text.strip_prefix('\u{feff}').unwrap_or(text).into();
    let format = read::sniff(text.as_bytes()).ok_or("it is neither JSON nor XML")?;
    let tree = match format {
        Format::Json => read::json(&text, &limits()),
        Format::Xml => read::xml(&text, &limits()),
    }
    .map_err(|error| error.to_string())?;
    let root = tree.root();
    if !root.is("Bundle") {
        let whole = Text::Shared { text: Arc::clone(&text), range: 0..text.len(), format };
        return add_resource(into, name, root, origin, whole);
    }
    for resource in root.all("entry").filter_map(|entry| entry.get("resource")) {
        if !is_used(resource) {
            continue;
        }
        let part = match format {
            Format::Json => Text::Shared { text: Arc::clone(&text), range: resource.span(), format },
            // Cut out of its document, XML would lose the namespaces that are declared around it.
            Format::Xml => {
                let written: Arc<str> = write::json(resource, Release::R4).text.into();
                Text::Shared { range: 0..written.len(), text: written, format: Format::Json }
            }
        };
        add_resource(into, name, resource, origin.clone(), part)?;
    }
    Ok(())
}

fn add_resource(
    into: &mut Conformance,
    name: &Arc<str>,
    resource: Element<'_, '_>,
    origin: Origin,
    text: Text,
) -> Result<(), String> {
    if !is_used(resource) {
        return Ok(());
    }
    if let Some(release) = resource.text("fhirVersion").filter(|release| !release.starts_with("4.0"))
        // Who gives a resource by itself means it.
        && !matches!(origin, Origin::Given(_))
    {
        into.notices.push(Notice::OtherRelease { file: name.to_string(), release: release.to_owned() });
        return Ok(());
    }
    let source = Source::describe(resource, origin, text).ok_or("it has no canonical URL")?;
    into.add(source);
    Ok(())
}

fn is_used(resource: Element<'_, '_>) -> bool {
    resource.resource_type().is_some_and(|named| Kind::of(named).is_some())
}
