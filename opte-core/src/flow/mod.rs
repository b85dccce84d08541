//! Flows: what they are called and what is remembered of them.

pub mod tuple;

pub use tuple::{Family, Proto, Tuple};
