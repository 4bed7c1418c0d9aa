//! Capability tests: each module is one thing that Onward's users rely on.

mod access;
mod answers;
mod architecture;
mod audit;
mod audit_search;
mod destination;
mod documents;
mod edge;
mod inbox;
mod mesh_exchange;
mod proof;
mod restart;
mod seen;
mod submit;
mod token;
