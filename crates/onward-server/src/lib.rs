//! The server of Onward: HTTP, sign-in, configuration, directory import, command line and demo.
//!
//! The binary `onward` is a thin `main` over this library. It wires the other crates together and refuses to hold
//! rules of its own about documents, recipients or delivery: those live in validate, transform and gateway.

pub mod api;
pub mod app;
pub mod auth;
mod background;
pub mod bench;
pub mod cli;
pub mod config;
pub mod demo;
pub mod directory_import;
mod excerpt;
pub mod forwarding;
pub mod hardening;
pub mod in_force;
pub mod keys;
pub mod listener;
pub mod metrics;
pub mod outcome;
pub mod pages;
pub mod people;
mod reasons;
mod rules;
pub mod seal;
pub mod serve;
pub mod session;
mod spreadsheet;
pub mod store_keys;
pub mod traces;
pub mod witnessing;
