//! The contract between `opteadm` and the drivers.
#![no_std]
