//! A world for the capability tests: a real gateway on loopback over TLS, with registered clients, a directory, and
//! messages that never repeat unless a test wants them to.

pub mod authenticator;
pub mod authority;
pub mod balp;
pub mod browser;
pub mod collector;
pub mod identity_provider;
pub mod leaks;
pub mod lossy_network;
pub mod mesh;
pub mod mesh_sandbox;
pub mod message;
pub mod message_server;
pub mod ods;
pub mod openapi;
pub mod pds;
pub mod pharmacy;
pub mod postgres;
pub mod process;
pub mod published;
pub mod shared;
pub mod signer;
pub mod sources;
pub mod subscriber;
pub mod wire;
pub mod world;
