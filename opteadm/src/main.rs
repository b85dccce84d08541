//! opteadm.

fn main() {}
