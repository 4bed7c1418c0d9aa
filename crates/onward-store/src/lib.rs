//! The durable memory of the gateway: the only crate that knows SQL.
//!
//! Each engine is a module that implements [`onward_core::store::Store`], and the `contract` tests hold
//! every engine to the same behaviour. A method is one business transaction: its effect and its audit
//! rows are durable together before the caller hears of either.
//!
//! This crate refuses to know FHIR, to decide where a copy goes, to read the wall clock (it asks
//! [`onward_core::Clock`]), to retry a failed sync, and to put a stored value into an error.

pub mod postgres;
pub mod sealing;
pub mod sqlite;

mod checkup;
mod columns;
mod query;
mod retention;
mod rows;
mod schema;
mod stored;
mod versions;

#[cfg(test)]
mod contract;
