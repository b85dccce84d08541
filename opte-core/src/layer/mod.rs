//! The layers of a port, one per file or folder.

pub mod nat;
