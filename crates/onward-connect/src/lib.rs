//! The network clients: HTTPS push, MESH, PDS, e-mail, webhooks, witnesses, syslog, and the one HTTP client beneath them.
//!
//! This crate refuses to follow redirects, to speak to hosts that the configuration does not list, to reach private
//! addresses that are not listed as internal, and to put a partner's answer into an error. It carries bytes and
//! core types and knows no FHIR; the few fields of PDS's and ODS's answers are read into structures of its own.

pub mod clamd;
pub mod egress;
pub mod http;
pub mod https_push;
#[cfg(test)]
mod loopback;
pub mod mesh;
pub mod ods;
pub mod pds;
pub mod secret;
pub mod smtp;
pub mod stand_in;
pub mod strength;
pub mod syslog;
pub mod terminology;
pub mod webhook;
pub mod witness;
