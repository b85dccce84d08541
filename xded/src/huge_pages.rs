//! Huge pages for flows.
//!
//! Purpose   a driver with many flows reads memory that is spread over
//!           gigabytes; with pages of 4 KiB every packet of another flow waits
//!           for the page tables too, a fifth of its time. The C library asks
//!           the kernel for huge pages when it is told to, and that has to be
//!           said before it starts.
//! Failure   where it can't be done, the driver is slower and nothing else.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Where the GNU C library is told such things.
const VARIABLE: &str = "GLIBC_TUNABLES";
/// Asks for huge pages by madvise(2); with 0 in its place, an operator says no.
const TUNABLE: &str = "glibc.malloc.hugetlb";

/// Starts this program again with huge pages, unless it was told already
/// whether to use them. Process and open files stay the same.
pub(crate) fn ask() {
    let Some(value) = told(std::env::var_os(VARIABLE)) else {
        return;
    };
    let mut args = std::env::args_os();
    let Some(name) = args.next() else { return };
    // By its name rather than as /proc/self/exe, so that pgrep(1) and who asks
    // for it still find it.
    let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    // Comes back only when it failed.
    let error = Command::new(program)
        .arg0(name)
        .args(args)
        .env(VARIABLE, value)
        .exec();
    eprintln!("xded: goes on without huge pages: {error}");
}

/// What the variable has to be; `None` when it says something already.
fn told(now: Option<OsString>) -> Option<OsString> {
    let mut value = now.unwrap_or_default();
    let tunable = OsStr::new(TUNABLE).as_bytes();
    let parts = value.as_bytes().split(|byte| *byte == b':');
    if parts.into_iter().any(|part| part.starts_with(tunable)) {
        return None;
    }
    if !value.is_empty() {
        value.push(":");
    }
    value.push(TUNABLE);
    value.push("=1");
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_only_if_nobody_has() {
        let told = |now: Option<&str>| told(now.map(OsString::from));
        assert_eq!(told(None).unwrap(), "glibc.malloc.hugetlb=1");
        assert_eq!(told(Some("")).unwrap(), "glibc.malloc.hugetlb=1");
        let other = Some("glibc.rtld.nns=4");
        assert_eq!(
            told(other).unwrap(),
            "glibc.rtld.nns=4:glibc.malloc.hugetlb=1"
        );
        assert_eq!(told(Some("glibc.malloc.hugetlb=0")), None);
        assert_eq!(told(Some("glibc.rtld.nns=4:glibc.malloc.hugetlb=1")), None);
    }
}
