//! The program that ships, against a driver on a socket that answers what a
//! test tells it to: what is sent, what is printed, how it exits.

mod engine;
mod failures;
mod fake;
mod listings;
mod requests;
