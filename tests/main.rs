//! Capability tests: each module is one thing that Onward's users rely on.

mod access;
mod answers;
mod architecture;
mod audit;
mod audit_search;
mod bad_input;
mod canary;
mod crawl;
mod destination;
mod documents;
mod early_answer;
mod forms;
mod inbox;
mod mesh_exchange;
mod monitoring;
mod page_audit;
mod people;
mod proof;
mod renewal;
mod restart;
mod search;
mod seen;
mod serving;
mod slow;
mod submit;
mod token;
