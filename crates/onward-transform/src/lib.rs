//! From the sender's document to each recipient's rendition: STU3 becomes R4, a disclosure policy says what a recipient
//! may have, and the copy is written in the form that recipient reads.
//!
//! This crate is pure: it looks nothing up and sends nothing. It refuses to drop an element without a note, to disclose
//! one that no policy names, and to write what would lose something.

pub mod convert;
pub mod disclose;
pub mod pdf;
pub mod redact;
pub mod render;
