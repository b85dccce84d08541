//! todo
pub(crate) fn run(_: &crate::Figures) {}
