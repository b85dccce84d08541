//! xded.

fn main() {}
