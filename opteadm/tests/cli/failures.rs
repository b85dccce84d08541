//! What is said and how it exits when something is wrong.

use crate::fake::Fake;
use opte_core::api::{ConfigError, ErrorCode, ObjectKind, Page, Response};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;

#[test]
fn a_refusal_is_one_sentence_with_its_code() {
    let fake = Fake::new(|_| {
        Err(
            ConfigError::new(ErrorCode::OutOfRange, ObjectKind::Port, "g1")
                .field("mtu", 99_999)
                .hint("576 to 65000"),
        )
    });
    let run = fake.line("delete-xde g1");
    assert_eq!((run.code, &*run.stdout), (1, ""));
    assert_eq!(
        run.stderr,
        "opteadm: port g1: mtu 99999 is out of range (576 to 65000) [E3 out-of-range]\n"
    );
}

#[test]
fn a_missing_driver_is_named() {
    let nobody = Fake::absent();
    let socket = nobody.socket();
    let run = nobody.line("list-ports");
    assert_eq!((run.code, &*run.stdout), (3, ""));
    let expected = format!(
        "opteadm: no driver listens on {}; is xded running?\n",
        socket.display()
    );
    assert_eq!(run.stderr, expected);
    // The option wins over the environment.
    let run = nobody.line("list-ports --socket /nowhere/else");
    assert!(run.stderr.contains("/nowhere/else"), "{}", run.stderr);
}

#[test]
fn a_driver_that_hangs_up_or_says_nothing_is_told_apart() {
    let nobody = Fake::absent();
    let listener = UnixListener::bind(nobody.socket()).unwrap();
    let run = nobody.line("list-ports --timeout 1");
    assert_eq!(run.code, 3);
    assert!(
        run.stderr.contains("did not answer within 1 s"),
        "{}",
        run.stderr
    );
    drop(listener);
    std::fs::remove_file(nobody.socket()).unwrap();
    let listener = UnixListener::bind(nobody.socket()).unwrap();
    let driver = std::thread::spawn(move || drop(listener.accept()));
    let run = nobody.line("list-ports");
    driver.join().unwrap();
    assert_eq!(run.code, 3);
    assert!(run.stderr.contains("hung up"), "{}", run.stderr);
}

#[test]
fn output_that_can_not_be_written_is_no_missing_driver() {
    let fake = Fake::answering(Response::Id(4));
    let full = std::fs::File::options().write(true).open("/dev/full");
    let run = fake.run_into(
        full.unwrap().into(),
        "add-fw-rule -p g1 dir=in priority=1 action=deny",
    );
    assert_eq!((run.code, fake.asked().len()), (4, 1));
    let why = "opteadm: the output can't be written: No space left on device";
    assert!(run.stderr.starts_with(why), "{}", run.stderr);
}

#[test]
fn a_socket_of_somebody_else_is_said_to_be() {
    let fake = Fake::answering(Response::Done);
    let socket = fake.socket();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).unwrap();
    let run = match std::fs::metadata(&socket).unwrap().uid() {
        // Root may use any socket, so it is somebody else who tries.
        0 => fake.run_as(65_534, "clear-xde-underlay"),
        _ => fake.line("clear-xde-underlay"),
    };
    assert_eq!((run.code, fake.asked()), (3, vec![]));
    assert!(run.stderr.contains("is not yours to use"), "{}", run.stderr);
}

#[test]
fn wrong_usage_is_found_before_the_driver_is_asked() {
    let nobody = Fake::absent();
    let rules = nobody.file("rules", "dir=in priority=1 action=deny\nnonsense\n");
    for (line, why) in [
        ("frobnicate", "unrecognized subcommand"),
        (
            "list-ports -o colour",
            "there is no field `colour`; there are id, name,",
        ),
        ("list-layers", "which port? Name it with -p PORT"),
        (
            "list-layers -p g1 -p g2",
            "one port at a time, not both g1 and g2",
        ),
        ("list-layers -p G1", "--port: a name is"),
        ("list-layers -p g1 -p", "parsable output needs fields"),
        ("show-underlay -o link", "Name links, routes or neighbours"),
        ("add-fw-rule -p g1 dir=in", "a rule needs priority=NUMBER"),
        (
            "set-fw-rules -p g1 /no/such/file",
            "/no/such/file: No such file",
        ),
        (
            &format!("set-fw-rules -p g1 {rules}"),
            "rules:2: `nonsense` isn't KEY=VALUE",
        ),
        ("apply /no/such/file", "/no/such/file: No such file"),
        (
            "create-xde g1 --mac 2:0:0:0:0:1 --vni 1 --ipv4 1.1.1.1 --ipv4-gateway 1.1.1.2 \
             --option udp=1",
            "--option: unknown field `udp`",
        ),
    ] {
        let run = nobody.line(line);
        assert_eq!(run.code, 2, "{line}: {run:?}");
        assert!(run.stderr.contains(why), "{line}: {}", run.stderr);
    }
}

#[test]
fn an_answer_to_another_question_is_not_printed() {
    let fake = Fake::answering(Response::Count(1));
    let run = fake.line("list-ports");
    assert_eq!((run.code, &*run.stdout), (3, ""));
    assert!(
        run.stderr.contains("another kind of command"),
        "{}",
        run.stderr
    );
}

#[test]
fn pages_that_go_in_circles_end() {
    let fake = Fake::answering(Response::V2p(Page {
        entries: vec![],
        next: Some(0),
        generation: 1,
    }));
    let run = fake.line("dump-v2p");
    assert_eq!(run.code, 3);
    assert!(run.stderr.contains("in circles"), "{}", run.stderr);
}
