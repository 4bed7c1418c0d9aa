//! Capability tests: each module is one thing that Onward's users rely on.

mod access;
mod answers;
mod architecture;
mod destination;
mod documents;
mod edge;
mod forms;
mod inbox;
mod mesh_exchange;
mod monitoring;
mod restart;
mod search;
mod seen;
mod submit;
mod token;
