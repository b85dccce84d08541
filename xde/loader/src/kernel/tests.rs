//! What the double calls a violation: each test does what a module mustn't, and
//! beside it what it may.

use super::callback::Mac;
use super::client::Kind;
use super::{FKIOCTL, Kernel, Resource, client, copy, ddi, kmem, kstat, mac, mutex};
use crate::context::{self, Context, Role};
use illumos_sys_hdrs as sys;
use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Does something in a kernel of its own; what was violated.
fn violations(work: impl FnOnce(&Arc<Kernel>)) -> Vec<String> {
    let kernel = Arc::new(Kernel::default());
    context::within(&kernel, Context::Thread, || work(&kernel));
    std::mem::take(&mut kernel.state().violations)
}

fn assert_one(found: &[String], words: &str) {
    let [one] = found else {
        panic!("{found:?} instead of: {words}");
    };
    assert!(one.contains(words), "{one} instead of: {words}");
}

/// A mutex of the module's.
#[derive(Default)]
struct Lock(std::cell::UnsafeCell<u64>);

// SAFETY: only the double's functions touch it, which exclude each other.
unsafe impl Sync for Lock {}

impl Lock {
    fn with<T>(&self, work: impl FnOnce() -> T) -> T {
        // SAFETY: eight bytes that are there for it.
        unsafe { mutex::mutex_enter(self.0.get().cast()) };
        let result = work();
        // SAFETY: held by this thread.
        unsafe { mutex::mutex_exit(self.0.get().cast()) };
        result
    }

    fn try_with<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        // SAFETY: as above.
        let got = unsafe { mutex::mutex_tryenter(self.0.get().cast()) };
        (got != 0).then(|| {
            let result = work();
            // SAFETY: as above.
            unsafe { mutex::mutex_exit(self.0.get().cast()) };
            result
        })
    }
}

/// An allocation that waits for memory.
fn sleep() {
    // SAFETY: not of no bytes.
    let place = unsafe { kmem::kmem_alloc(8, sys::KM_SLEEP) };
    // SAFETY: allocated above.
    unsafe { kmem::kmem_free(place, 8) };
}

#[test]
fn locks_have_an_order() {
    let [a, b] = [Lock::default(), Lock::default()];
    let found = violations(|_| {
        a.with(|| b.with(|| ()));
        a.with(|| b.with(|| ()));
    });
    assert_eq!(found, Vec::<String>::new());
    let found = violations(|_| {
        a.with(|| b.with(|| ()));
        b.with(|| a.with(|| ()));
    });
    assert_one(&found, "a deadlock: mutex_enter");
    // Who only tries waits for nobody.
    let found = violations(|_| {
        a.with(|| b.with(|| ()));
        b.with(|| a.try_with(|| ()));
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_perimeter_has_its_place_in_the_order() {
    let lock = Lock::default();
    let enter = |kernel: &Kernel, work: &dyn Fn()| kernel.in_perimeter(7, "mac_perim_enter", work);
    let found = violations(|kernel| {
        enter(kernel, &|| lock.with(|| ()));
        enter(kernel, &|| enter(kernel, &|| ()));
    });
    assert_eq!(found, Vec::<String>::new());
    let found = violations(|kernel| {
        // A callback takes a lock, with which a command calls MAC.
        enter(kernel, &|| lock.with(|| ()));
        lock.with(|| enter(kernel, &|| ()));
    });
    assert_one(&found, "a deadlock: mac_perim_enter");
    let found = violations(|kernel| enter(kernel, &|| kernel.asks_a_process("an upcall")));
    assert_one(&found, "in a perimeter");
}

#[test]
fn nobody_sleeps_with_a_lock_that_packets_take() {
    let lock = Lock::default();
    let packet = |kernel: &Arc<Kernel>, context| {
        context::within(kernel, context, || lock.with(|| ()));
    };
    assert_eq!(violations(|_| lock.with(sleep)), Vec::<String>::new());
    for context in [Context::Packet, Context::Interrupt] {
        let found = violations(|kernel| {
            packet(kernel, context);
            lock.with(sleep);
        });
        assert_one(&found, "with a lock held that a packet takes");
        // Also if a packet comes only later.
        let found = violations(|kernel| {
            lock.with(sleep);
            packet(kernel, context);
        });
        assert_one(&found, "with a lock held that a packet takes");
    }
    let found =
        violations(|kernel| context::within(kernel, Context::Interrupt, || lock.with(sleep)));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn nobody_sleeps_with_a_lock_that_the_timer_waits_for() {
    let lock = Lock::default();
    let found = violations(|_| {
        Role::timer().play(|| lock.with(|| ()));
        lock.with(sleep);
    });
    assert_one(&found, "with a lock held that the timer takes");
    let found = violations(|_| {
        Role::timer().play(|| lock.try_with(|| ()));
        lock.with(sleep);
    });
    assert_eq!(found, Vec::<String>::new());
}

/// What has the memory of a lock that is gone is another one.
#[test]
fn locks_end_with_their_memory() {
    let found = violations(|kernel| {
        // SAFETY: not of no bytes.
        let place = unsafe { kmem::kmem_alloc(8, sys::KM_NOSLEEP) };
        // SAFETY: memory of that size.
        unsafe { place.cast::<u64>().write(0) };
        let enter = || {
            // SAFETY: eight zero bytes.
            unsafe { mutex::mutex_enter(place.cast()) };
            // SAFETY: held by this thread.
            unsafe { mutex::mutex_exit(place.cast()) };
        };
        context::within(kernel, Context::Packet, enter);
        kernel.forget_locks(place.addr()..place.addr() + 8);
        // SAFETY: as above.
        unsafe { mutex::mutex_enter(place.cast()) };
        sleep();
        // SAFETY: as above.
        unsafe { mutex::mutex_exit(place.cast()) };
        // SAFETY: allocated above.
        unsafe { kmem::kmem_free(place, 8) };
    });
    assert_eq!(found, Vec::<String>::new());
}

/// What a thread does, those do who wait for it.
#[test]
fn a_thread_has_what_its_maker_has() {
    let lock = Lock::default();
    let found = violations(|kernel| {
        context::within(kernel, Context::Packet, || lock.with(|| ()));
        lock.with(|| {
            let role = Role::of_child();
            let work = || role.play(|| context::within(kernel, Context::Thread, sleep));
            std::thread::scope(|scope| scope.spawn(work).join()).expect("no panic");
        });
    });
    assert_one(&found, "with a lock held that a packet takes");
}

/// An open datalink with a callback.
fn listening() -> *mut c_void {
    unsafe extern "C" fn receive(
        _: *mut c_void,
        _: *mut c_void,
        _: *mut sys::mblk_t,
        _: sys::boolean_t,
    ) {
    }
    let kernel = context::kernel();
    kernel.state().net.open_world = true;
    let (mut mac, mut client) = (ptr::null_mut(), ptr::null_mut());
    let flags = sys::MAC_OPEN_FLAGS_NO_UNICAST_ADDR;
    let name = c"us".as_ptr().cast_mut();
    // SAFETY: a C string and a place for the handle.
    let opened = unsafe { client::mac_open_by_linkname(c"u0".as_ptr(), &raw mut mac) };
    // SAFETY: as above.
    let made = unsafe { client::mac_client_open(mac, &raw mut client, name, flags) };
    let mut handle = ptr::null_mut();
    let only = sys::MAC_PROMISC_FLAGS_NO_TX_LOOP;
    // SAFETY: as above; nothing is ever received.
    let added = unsafe {
        client::mac_promisc_add(client, 0, receive, ptr::null_mut(), &raw mut handle, only)
    };
    assert_eq!([opened, made, added], [0; 3]);
    handle
}

fn remove(handle: *mut c_void) {
    // SAFETY: a handle, of whatever.
    unsafe { client::mac_promisc_remove(handle) };
}

#[test]
fn a_callback_is_removed_once_and_not_by_itself() {
    assert_eq!(violations(|_| remove(listening())), Vec::<String>::new());
    let twice = violations(|_| {
        let handle = listening();
        remove(handle);
        remove(handle);
    });
    assert_one(&twice, "mac_promisc_remove of what isn't there");
    let unknown = violations(|_| remove(ptr::dangling_mut()));
    assert_one(&unknown, "a datalink that isn't open");
    let by_itself = violations(|kernel| {
        let handle = listening();
        let called = kernel.with_callback("u0", Kind::Receiver, |_| remove(handle));
        assert!(called.is_some());
    });
    assert!(
        by_itself
            .iter()
            .any(|it| it.starts_with("a deadlock: mac_promisc_remove")),
        "{by_itself:?}"
    );
}

/// Removing waits: the callback ends only when it sees that it is removed.
#[test]
fn a_callback_has_ended_when_it_is_removed() {
    let found = violations(|kernel| {
        let (handle, removed) = (listening().expose_provenance(), AtomicBool::new(false));
        let running = AtomicBool::new(false);
        let callback = || {
            running.store(true, Ordering::SeqCst);
            let there = || {
                let state = kernel.state();
                let mut clients = state.net.clients.values();
                clients.any(|client| client.callback.is_some())
            };
            while there() {
                std::thread::yield_now();
            }
            assert!(!removed.load(Ordering::SeqCst), "it didn't wait");
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                context::within(kernel, Context::Interrupt, || {
                    kernel.with_callback("u0", Kind::Receiver, |_| callback())
                })
            });
            while !running.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            remove(ptr::with_exposed_provenance_mut(handle));
            removed.store(true, Ordering::SeqCst);
        });
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_callback_isnt_removed_with_a_lock_that_it_takes() {
    let lock = Lock::default();
    let found = violations(|kernel| {
        let handle = listening();
        context::within(kernel, Context::Thread, || {
            kernel.with_callback("u0", Kind::Receiver, |_| lock.with(|| ()))
        });
        lock.with(|| remove(handle));
    });
    // By way of the perimeter, too.
    let deadlock = |it: &String| it.starts_with("a deadlock: mac_promisc_remove");
    assert!(found.len() == 2 && found.iter().all(deadlock), "{found:?}");
}

unsafe extern "C" fn nothing(_: *mut c_void) {}

fn add_handler() {
    // SAFETY: it does nothing.
    unsafe { ddi::ddi_periodic_add(nothing, ptr::null_mut(), 100_000_000, sys::DDI_IPL_0) };
}

fn delete_handler() {
    // SAFETY: takes a number.
    unsafe { ddi::ddi_periodic_delete(ptr::null_mut()) };
}

#[test]
fn the_periodic_handler_doesnt_delete_itself() {
    let found = violations(|_| {
        add_handler();
        delete_handler();
    });
    assert_eq!(found, Vec::<String>::new());
    assert_one(&violations(|_| delete_handler()), "of what isn't there");
    let found = violations(|kernel| {
        add_handler();
        let _turn = kernel.handler_turn();
        kernel.having(Resource::Handler, delete_handler);
    });
    assert_one(&found, "a deadlock: ddi_periodic_delete");
    let lock = Lock::default();
    let found = violations(|kernel| {
        add_handler();
        kernel.having(Resource::Handler, || lock.with(|| ()));
        lock.with(delete_handler);
    });
    assert_one(&found, "a deadlock: ddi_periodic_delete");
}

fn statistics(name: &CStr) -> *mut sys::kstat_t {
    let (class, kind) = (c"net".as_ptr(), sys::KSTAT_TYPE_NAMED);
    // SAFETY: C strings.
    unsafe { kstat::kstat_create(c"xde".as_ptr(), 0, name.as_ptr(), class, kind, 1, 0) }
}

#[test]
fn statistics_arent_deleted_while_they_are_read() {
    let delete = |stats| {
        // SAFETY: statistics of the double's, or nothing.
        unsafe { kstat::kstat_delete(stats) };
    };
    let found = violations(|_| delete(statistics(c"host")));
    assert_eq!(found, Vec::<String>::new());
    let found = violations(|_| delete(ptr::dangling_mut()));
    assert_one(&found, "kstat_delete of what isn't there");
    let lock = Lock::default();
    let found = violations(|kernel| {
        let stats = statistics(c"host");
        let update = Resource::Update(stats.addr());
        kernel.having(update, || lock.with(|| ()));
        lock.with(|| delete(stats));
    });
    assert_one(&found, "a deadlock: kstat_delete");
    let found = violations(|_| {
        let stats = statistics(c"host");
        // SAFETY: made above.
        unsafe { kstat::kstat_install(stats) };
        // SAFETY: as above.
        unsafe { kstat::kstat_install(stats) };
        delete(stats);
    });
    assert_one(&found, "kstat_install");
}

#[test]
fn macs_are_those_that_are_registered() {
    let unknown = ptr::dangling_mut::<c_void>();
    let address = [2_u8; 6];
    let found = violations(|_| {
        // SAFETY: a handle of nothing.
        unsafe { mac::mac_link_update(unknown, sys::LINK_STATE_UP) };
        // SAFETY: as above.
        unsafe { mac::mac_maxsdu_update(unknown, 1_500) };
        // SAFETY: as above; an Ethernet address.
        unsafe { mac::mac_unicst_update(unknown, address.as_ptr()) };
        // SAFETY: as above.
        unsafe { mac::mac_unregister(unknown) };
        let mut number = 0;
        // SAFETY: as above; a place for the number.
        unsafe { mac::dls_devnet_destroy(unknown, &raw mut number, 1) };
        // SAFETY: the double looks before it writes.
        unsafe { mac::mac_prop_info_set_range_uint32(unknown, 0, 1) };
    });
    let of = ["link_update", "maxsdu", "unicst", "unregister", "destroy"];
    assert_eq!(found.len(), of.len() + 1, "{found:?}");
    for (violation, call) in found.iter().zip(of) {
        assert!(violation.contains(call), "{violation}: {call}");
        assert!(violation.contains("isn't registered"), "{violation}");
    }
}

/// The double keeps its own rule: what changes a MAC is called in its perimeter.
#[test]
fn callbacks_that_change_a_mac_are_in_its_perimeter() {
    unsafe extern "C" fn start(_: *mut c_void) -> i32 {
        5
    }
    // SAFETY: pointers and numbers, all of which may be zero.
    let mut callbacks: sys::mac_callbacks_t = unsafe { std::mem::zeroed() };
    callbacks.mc_start = Some(start);
    let mac = Mac {
        handle: 7,
        callbacks: Box::leak(Box::new(callbacks)),
        argument: 0,
    };
    let found = violations(|kernel| {
        assert_eq!(mac.start(kernel), Ok(5));
    });
    assert_one(&found, "outside of its perimeter");
    let found = violations(|kernel| {
        let errno = kernel.in_perimeter(7, "mac_perim_enter", || mac.start(kernel));
        assert_eq!(errno, Ok(5));
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_ioctls_mode_says_whose_memory_it_is() {
    let found = violations(|kernel| {
        let (user, kernels) = ([1_u8, 2], [3_u8, 4]);
        let start = kernels.as_ptr().addr();
        kernel.state().kernel_memory.push(start..start + 2);
        let copy = |from: *const u8, mode| {
            let mut to = [0_u8; 2];
            // SAFETY: room for as many bytes; the double checks the source.
            let failed = unsafe { copy::ddi_copyin(from.cast(), to.as_mut_ptr().cast(), 2, mode) };
            (failed == 0).then_some(to)
        };
        assert_eq!(copy(user.as_ptr(), 0), Some([1, 2]));
        assert_eq!(copy(kernels.as_ptr(), FKIOCTL), Some([3, 4]));
        assert_eq!(copy(kernels.as_ptr(), 0), None);
        assert_eq!(copy(user.as_ptr(), FKIOCTL), None);
        // Half of it isn't the kernel's.
        assert_eq!(copy(kernels.as_ptr().wrapping_add(1), FKIOCTL), None);
        // Where nothing is, and nothing ever can be.
        for nowhere in [0x8000, 1 << 63, usize::MAX] {
            assert_eq!(copy(ptr::without_provenance(nowhere), 0), None);
        }
        // What can't be written: a constant.
        static READ_ONLY: [u8; 2] = [5, 6];
        let to = READ_ONLY.as_ptr().cast_mut().cast();
        // SAFETY: the double has Linux write, which says that it can't.
        let failed = unsafe { copy::ddi_copyout(user.as_ptr().cast(), to, 2, 0) };
        assert_eq!(failed, -1);
    });
    assert_eq!(found, Vec::<String>::new());
}
