//! FHIR as Onward reads and writes it: JSON and XML into one compact borrowed tree without loss, typed
//! views over that tree, and the few resources that Onward authors itself.
//!
//! This crate refuses to guess: what it cannot read is an error with a place, what it cannot write is a
//! listed loss. Clinical content never passes through a generated model.

#[cfg(feature = "authored")]
pub mod authored;
pub mod bundle;
pub mod document;
pub mod elements;
pub mod heading;
pub mod issue;
pub mod itk;
pub mod message;
pub mod read;
pub mod systems;
pub mod tree;
pub mod views;
pub mod write;

pub use bundle::Bundle;
pub use document::Document;
pub use heading::{DocumentKind, Heading};
pub use message::Message;
pub use tree::{Builder, Element, Lexical, NodeId, Release, Tree};
