//! The flat list of a snapshot or differential as the tree that its ids and paths describe.

use std::sync::Arc;

use super::{Shape, choice_suffix};
use crate::definition::ElementDefinition;

/// One element that a list speaks of, or has to pass through.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) definition: Option<Arc<ElementDefinition>>,
    pub(super) children: Vec<Draft>,
    /// By name; a re-slice `a/b` is a slice of the slice `a`.
    pub(super) slices: Vec<(String, Draft)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    name: String,
    slice: Option<String>,
}

impl Draft {
    pub(super) fn of(list: &[ElementDefinition]) -> Self {
        let mut root = Self::default();
        let mut before: Vec<Segment> = Vec::new();
        for definition in list {
            let segments = segments(definition, &before);
            if root.name.is_empty() {
                root.name.clone_from(&segments[0].name);
            }
            root.reach(&segments[1..]).definition = Some(Arc::new(definition.clone()));
            before = segments;
        }
        root
    }

    fn reach(&mut self, segments: &[Segment]) -> &mut Self {
        let mut at = self;
        for segment in segments {
            at = at.child(&segment.name);
            if let Some(slice) = &segment.slice {
                at = at.slice(slice);
            }
        }
        at
    }

    fn child(&mut self, name: &str) -> &mut Self {
        let index = self.children.iter().position(|child| child.name == name).unwrap_or_else(|| {
            self.children.push(Self { name: name.to_owned(), ..Self::default() });
            self.children.len() - 1
        });
        &mut self.children[index]
    }

    fn slice(&mut self, slice: &str) -> &mut Self {
        let mut at = self;
        let ends = slice.match_indices('/').map(|(end, _)| end).chain([slice.len()]);
        for end in ends {
            let (name, sliced) = (&slice[..end], at.name.clone());
            let index = at.slices.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                at.slices.push((name.to_owned(), Self { name: sliced, ..Self::default() }));
                at.slices.len() - 1
            });
            at = &mut at.slices[index].1;
        }
        at
    }

    /// A snapshot's draft is the shape already.
    pub(super) fn into_shape(self, path: &str) -> Arc<Shape> {
        let definition = self.definition.unwrap_or_else(|| {
            Arc::new(ElementDefinition { id: path.to_owned(), path: path.to_owned(), ..ElementDefinition::default() })
        });
        let children = self.children.into_iter().map(|child| {
            let path = format!("{path}.{}", child.name);
            child.into_shape(&path)
        });
        let children = children.collect();
        let slices = self.slices.into_iter().map(|(_, slice)| slice.into_shape(path)).collect();
        Arc::new(Shape { definition, children, slices })
    }
}

/// The way to an element. Its id tells it, when it fits the path; else the path, within the slices that the list is in.
fn segments(definition: &ElementDefinition, before: &[Segment]) -> Vec<Segment> {
    let names: Vec<&str> = definition.path.split('.').collect();
    let mut told = by_id(&definition.id, &names).unwrap_or_else(|| by_order(&names, before));
    if let (Some(last), Some(slice)) = (told.last_mut(), &definition.slice_name)
        && names.len() > 1
    {
        let is_reslice = last.slice.as_deref().is_some_and(|known| known.ends_with(&format!("/{slice}")));
        if !is_reslice {
            last.slice = Some(slice.clone());
        }
    }
    told
}

fn by_id(id: &str, names: &[&str]) -> Option<Vec<Segment>> {
    let parts: Vec<&str> = id.split('.').collect();
    if parts.len() != names.len() {
        return None;
    }
    parts
        .iter()
        .zip(names)
        .map(|(part, name)| {
            let (told, slice) = part.split_once(':').map_or((*part, None), |(told, slice)| (told, Some(slice)));
            let fits = told == *name || choice_suffix(told, name).is_some();
            fits.then(|| Segment { name: told.to_owned(), slice: slice.map(str::to_owned) })
        })
        .collect()
}

fn by_order(names: &[&str], before: &[Segment]) -> Vec<Segment> {
    let mut same = true;
    let last = names.len() - 1;
    names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let known = before.get(at).filter(|known| same && known.name == *name);
            same = known.is_some();
            let slice = known.and_then(|known| known.slice.clone()).filter(|_| at != last);
            Segment { name: (*name).to_owned(), slice }
        })
        .collect()
}
