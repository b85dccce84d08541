//! What programs need of the C library.

/// The newest version of glibc that any of the programs asks for, as `2.34`.
pub(super) fn glibc(programs: &[&[u8]]) -> Option<String> {
    const MARK: &[u8] = b"GLIBC_2.";
    let minor = |at: &[u8]| {
        let digits: Vec<u8> = at.iter().copied().take_while(u8::is_ascii_digit).collect();
        String::from_utf8(digits).ok()?.parse::<u32>().ok()
    };
    let asked = programs.iter().flat_map(|program| {
        let starts = program.windows(MARK.len()).enumerate();
        let starts = starts.filter(|(_, window)| *window == MARK);
        starts.filter_map(|(at, _)| minor(program.get(at + MARK.len()..)?))
    });
    Some(format!("2.{}", asked.max()?))
}
