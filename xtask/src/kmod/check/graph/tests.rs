//! Graphs of a few functions, made by hand.

use super::*;

/// Limits: what is given, and nothing of the rest.
fn limits(given: &[(&str, &str)]) -> Limits {
    let mut text = String::from("frame_max = 2048\ndebug_percent = 160\n");
    for (key, nothing) in [
        ("entries", "{}"),
        ("frames", "{}"),
        ("recursion", "{}"),
        ("methods", "[]"),
        ("pointers", "[]"),
        ("panics", "{ packets = [], commands = [] }"),
        ("instructions", "{ engine = 1.0, ways = {} }"),
    ] {
        let given = given.iter().find(|it| it.0 == key);
        let value = given.map_or(nothing, |it| it.1);
        text.push_str(&format!("{key} = {value}\n"));
    }
    toml::from_str(&text).unwrap()
}

fn only(entries: &str) -> Limits {
    limits(&[("entries", &format!("{{ {entries} }}"))])
}

/// A function: address, name, frame, calls.
fn function(
    at: u64,
    name: &str,
    frame: u64,
    calls: impl IntoIterator<Item = Callee>,
) -> (u64, Function) {
    let function = Function {
        name: name.to_owned(),
        frame,
        calls: calls.into_iter().collect(),
        ..Function::default()
    };
    (at, function)
}

/// Code in which these functions are handed to the kernel.
fn code(
    functions: impl IntoIterator<Item = (u64, Function)>,
    handed: impl IntoIterator<Item = u64>,
) -> Code {
    let mut code = Code::default();
    code.functions.extend(functions);
    code.tables.others.extend(handed);
    code
}

fn findings(code: &Code, limits: &Limits) -> Vec<String> {
    check(code, limits, Variant::Release).0
}

use Callee::{Own, Pointer, Table};

#[test]
fn entry_points_are_what_the_file_hands_over() {
    let module = code(
        [
            function(1, "_init", 16, []),
            function(2, "tx", 16, []),
            function(3, "rx.2", 16, []),
            function(4, "tick", 16, []),
            function(5, "gone", 16, []),
        ],
        [2, 3],
    );
    let mut module_that_takes = module;
    let init = module_that_takes.functions.get_mut(&1).unwrap();
    init.takes.insert(4);
    let all = "_init = { stack_max = 64 }, tx = { stack_max = 64 }, rx = { stack_max = 64 }, \
               tick = { stack_max = 64 }";
    assert!(findings(&module_that_takes, &only(all)).is_empty());
    let other = "tx = { stack_max = 64 }, gone = { stack_max = 64 }";
    let found = findings(&module_that_takes, &only(other));
    assert_eq!(
        found,
        [
            "_init is handed to the kernel, and isn't in the list of entry points",
            "gone isn't handed to the kernel; take it off the list of entry points",
            "rx is handed to the kernel, and isn't in the list of entry points",
            "tick is handed to the kernel, and isn't in the list of entry points",
        ]
    );
}

#[test]
fn a_stack_that_is_too_deep_is_found_below_calls_of_every_kind() {
    for (kind, call, list) in [
        ("direct", Own(2), ""),
        ("virtual table", Table(24), ""),
        (
            "pointer",
            Pointer,
            "{ by = ['tx'], to = ['deep'], why = '' }",
        ),
        // A place that no virtual table has is a field's.
        (
            "field",
            Table(800),
            "{ by = ['tx'], to = ['deep'], why = '' }",
        ),
    ] {
        let mut module = code(
            [
                function(1, "tx", 100, [call]),
                function(2, "deep", 1_000, []),
            ],
            [1],
        );
        if list.is_empty() {
            module.tables.methods.insert(24, [2].into());
        } else {
            module.tables.others.insert(2);
        }
        let of = |most: u64| {
            limits(&[
                ("entries", &format!("{{ tx = {{ stack_max = {most} }} }}")),
                ("pointers", &format!("[{list}]")),
            ])
        };
        assert!(findings(&module, &of(1_100)).is_empty(), "{kind}");
        let found = findings(&module, &of(1_099));
        let expected = ["tx takes 1100 bytes of stack; 1099 is the limit"];
        assert_eq!(found, expected, "{kind}");
    }
}

#[test]
fn a_call_through_a_table_reaches_its_own_place_and_its_own_trait() {
    let mut module = code(
        [
            function(1, "tx", 100, [Table(32)]),
            function(2, "a.write", 200, []),
            function(3, "a.other", 300, []),
            function(4, "a.read", 400, []),
        ],
        [1],
    );
    module.tables.methods.insert(32, [2, 3].into());
    module.tables.methods.insert(24, [4].into());
    let depth = |methods: &str| {
        let limits = limits(&[
            ("entries", "{ tx = { stack_max = 1 } }"),
            ("methods", &format!("[{methods}]")),
        ]);
        findings(&module, &limits)
    };
    assert!(depth("")[0].starts_with("tx takes 400 bytes"));
    let narrow = "{ by = ['tx'], to = ['*.write'], why = '' }";
    assert!(depth(narrow)[0].starts_with("tx takes 300 bytes"));
    // Nothing of that name is there.
    let empty = "{ by = ['tx'], to = ['*.write_all'], why = '' }";
    assert_eq!(
        depth(empty)[0],
        "tx calls by a pointer, and the list says that this reaches nobody"
    );
    let of_another = "{ by = ['rx'], to = ['*.write'], why = '' }";
    assert!(depth(of_another)[0].starts_with("tx takes 400 bytes"));
}

#[test]
fn a_pointer_of_which_nothing_is_known_reaches_whatever_is_taken() {
    let module = code(
        [
            function(1, "tx", 100, [Pointer]),
            function(2, "rx", 900, []),
            function(3, "not_taken", 9_000, []),
        ],
        [1, 2],
    );
    let limits = only("tx = { stack_max = 500 }, rx = { stack_max = 900 }");
    let found = findings(&module, &limits);
    let what = "tx calls by a pointer, and isn't in the list of what pointers reach";
    assert!(found.contains(&what.to_owned()), "{found:?}");
    // It may reach itself, too.
    assert!(found.contains(&"functions call each other: tx".to_owned()));
    let deep = "tx takes 1000 bytes of stack; 500 is the limit";
    assert!(found.contains(&deep.to_owned()), "{found:?}");
}

#[test]
fn who_is_said_to_be_called_by_a_pointer_is() {
    let of = |call: Callee, by: &str| {
        let mut module = code(
            [function(1, "tx", 100, [call]), function(2, "work", 900, [])],
            [1, 2],
        );
        module.tables.methods.insert(24, [1].into());
        let limits = limits(&[
            ("entries", "{ tx = { stack_max = 1000 } }"),
            ("recursion", "{ tx = { rounds = 1, why = '' } }"),
            (
                "pointers",
                &format!("[{{ by = [{by}], to = ['work'], why = '' }}]"),
            ),
        ]);
        findings(&module, &limits)
    };
    assert!(of(Pointer, "'tx'").is_empty());
    let uncalled = ["work is in the list of what pointers reach, and none does"];
    // It was a field of a structure, and taken for a method.
    assert_eq!(of(Table(24), "'tx'"), uncalled);
    // It was followed to its call.
    assert!(of(Own(2), "'tx'").is_empty());
    assert!(of(Table(24), "").is_empty());
}

#[test]
fn a_borrowed_pointer_reaches_what_is_taken_below_the_same_entry_point() {
    let mut module = code(
        [
            function(1, "tx", 100, [Own(3)]),
            function(2, "rx", 100, [Own(3)]),
            function(3, "format", 100, [Pointer]),
            function(4, "number.fmt", 100, []),
            function(5, "address.fmt", 700, []),
        ],
        [1, 2],
    );
    module.functions.get_mut(&1).unwrap().takes.insert(4);
    module.functions.get_mut(&2).unwrap().takes.insert(5);
    let depths = |borrowed: bool| {
        let list =
            format!("[{{ by = ['format'], to = ['*.fmt'], borrowed = {borrowed}, why = '' }}]");
        let limits = limits(&[
            (
                "entries",
                "{ tx = { stack_max = 1 }, rx = { stack_max = 1 } }",
            ),
            ("pointers", &list),
        ]);
        findings(&module, &limits)
    };
    assert_eq!(
        depths(true),
        [
            "rx takes 900 bytes of stack; 1 is the limit",
            "tx takes 300 bytes of stack; 1 is the limit"
        ]
    );
    assert!(depths(false)[1].starts_with("tx takes 900 bytes"));
}

#[test]
fn a_circle_is_found_unless_it_is_listed() {
    let module = code(
        [
            function(1, "tx", 100, [Own(2)]),
            function(2, "sort.3", 50, [Own(2)]),
        ],
        [1],
    );
    let found = findings(&module, &only("tx = { stack_max = 500 }"));
    assert_eq!(found, ["functions call each other: sort.3"]);
    let listed = |entry: &str| {
        limits(&[
            ("entries", &format!("{{ tx = {entry} }}")),
            ("recursion", "{ sort = { rounds = 10, why = '' } }"),
        ])
    };
    assert!(findings(&module, &listed("{ stack_max = 600 }")).is_empty());
    assert_eq!(findings(&module, &listed("{ stack_max = 599 }")).len(), 1);
    // Short lists take fewer rounds.
    let short = listed("{ stack_max = 200, rounds_max = 2 }");
    assert!(findings(&module, &short).is_empty());
}

#[test]
fn a_large_frame_is_listed_with_its_size_and_has_a_stack_of_its_own() {
    let module = code(
        [
            function(1, "thread", 100, [Own(2)]),
            function(2, "plan.2", 5_000, []),
        ],
        [1],
    );
    let of = |own: bool, frames: &str| {
        let entries = format!("{{ thread = {{ stack_max = 9000, own_stack = {own} }} }}");
        let limits = limits(&[
            ("entries", &entries),
            ("frames", &format!("{{ {frames} }}")),
        ]);
        findings(&module, &limits)
    };
    assert_eq!(
        of(true, ""),
        ["plan.2: a frame of 5000 bytes; 2048 is the limit"]
    );
    assert!(of(true, "plan = 5000").is_empty());
    assert_eq!(
        of(true, "plan = 4999"),
        ["plan.2: a frame of 5000 bytes; 4999 is the limit"]
    );
    assert_eq!(
        of(true, "plan = 6000"),
        ["plan: a frame of 5000 bytes; the list of frames allows 6000"]
    );
    assert_eq!(
        of(true, "plan = 5000, thread = 2100"),
        ["thread has no large frame; take it off the list of frames"]
    );
    // On a kernel's stack the list doesn't help.
    let found = of(false, "plan = 5000");
    let expected = "plan.2: a frame of 5000 bytes; 2048 is the limit";
    assert!(found.contains(&expected.to_owned()), "{found:?}");
}

#[test]
fn panics_are_found_wherever_they_are_reached_and_listed_apart() {
    let mut module = code(
        [
            function(1, "tx", 100, [Table(24)]),
            function(2, "open", 100, [Own(4), Own(3)]),
            function(3, "parse.2", 100, [Own(9)]),
            function(4, "check", 100, [Own(8)]),
            function(5, "reserve", 100, [Own(7)]),
            function(6, "halt", 100, [Callee::Kernel("panic".to_owned())]),
            function(7, "alloc.raw_vec.handle_error", 16, []),
            function(8, "core.option.unwrap_failed", 16, []),
            function(9, "core.panicking.panic", 16, []),
            function(10, "nobody", 100, [Own(9)]),
        ],
        [1, 2],
    );
    module.tables.methods.insert(24, [3, 5, 6].into());
    let of = |packets: &str, commands: &str, variant: Variant| {
        let lists = format!("{{ packets = [{packets}], commands = [{commands}] }}");
        let entries = "{ tx = { stack_max = 900, packets = true }, open = { stack_max = 900 } }";
        let limits = limits(&[("entries", entries), ("panics", &lists)]);
        check(&module, &limits, variant).0
    };
    assert_eq!(
        of("", "", Variant::Release),
        [
            "check can panic, and isn't in the list of those of commands that may",
            "halt can panic, and isn't in the list of those of packets that may",
            "parse can panic, and isn't in the list of those of packets that may",
        ]
    );
    assert!(of("'halt', 'parse'", "'check'", Variant::Release).is_empty());
    assert_eq!(
        of(
            "'halt', 'parse'",
            "'check', 'nobody', 'parse'",
            Variant::Release
        ),
        [
            "nobody can't panic; take it off the list of commands",
            "parse can't panic; take it off the list of commands",
        ]
    );
    // Lists aren't of the debug variant (rule L2).
    assert!(of("", "", Variant::Debug).is_empty());
}

#[test]
fn what_a_panic_takes_counts_unless_every_check_is_one() {
    let module = code(
        [
            function(1, "tx", 100, [Own(2)]),
            function(2, "core.panicking.panic", 700, []),
        ],
        [1],
    );
    let limits = limits(&[
        ("entries", "{ tx = { stack_max = 200 } }"),
        ("panics", "{ packets = [], commands = ['tx'] }"),
    ]);
    let (release, _) = check(&module, &limits, Variant::Release);
    assert_eq!(release, ["tx takes 800 bytes of stack; 200 is the limit"]);
    assert!(check(&module, &limits, Variant::Debug).0.is_empty());
}
