//! A world for the capability tests: a real gateway on loopback over TLS, with registered clients, a directory, and
//! messages that never repeat unless a test wants them to.

pub mod balp;
pub mod mesh_sandbox;
pub mod message;
pub mod shared;
pub mod world;
