//! One valid message, one mutation per rule; then the official files.

mod examples;
mod fixture;
mod hostile;
mod laws;
mod r4;
mod responses;
mod rulebook;
mod rules;
