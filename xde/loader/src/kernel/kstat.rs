//! Statistics.
//!
//! Rules     S1  one thread at a time reads statistics, and `kstat_delete` waits
//!               for it. Nobody reads what isn't installed.

use super::Resource;
use crate::context;
use illumos_sys_hdrs::{self as sys, kstat_named_t, kstat_t};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_uint};
use std::ptr;

/// Characters of each name: `KSTAT_STRLEN` without the zero.
const LEN_MAX: usize = 30;

/// Statistics that were made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    place: usize,
    installed: bool,
    /// Whether somebody reads them.
    read: bool,
}

/// Copies a name into a field; a zero stays behind it.
fn name_into(place: &mut [c_char], name: &str) {
    for (place, byte) in place.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
}

pub(super) unsafe extern "C" fn kstat_create(
    module: *const c_char,
    instance: c_int,
    name: *const c_char,
    _: *const c_char,
    kind: u8,
    ndata: c_uint,
    _: u8,
) -> *mut kstat_t {
    let kernel = context::kernel();
    kernel.sleeps("kstat_create");
    // SAFETY: a C string of the module's.
    let module = unsafe { super::text(module) };
    // SAFETY: as above.
    let name = unsafe { super::text(name) };
    let fits = [&module, &name]
        .map(String::len)
        .iter()
        .all(|len| *len <= LEN_MAX);
    let name = format!("{module}:{instance}:{name}");
    if kind != sys::KSTAT_TYPE_NAMED || !fits {
        kernel.violated(format!(
            "{name}: statistics of another kind, or a name that would be cut off"
        ));
    }
    if kernel.step_fails() || kernel.state().kstats.contains_key(&name) {
        return ptr::null_mut();
    }
    let values: Vec<kstat_named_t> = (0..ndata)
        .map(|_| kstat_named_t {
            name: [0; 31],
            data_type: 0,
            value: [0; 2],
        })
        .collect();
    // SAFETY: all fields of it may be zero.
    let mut stats: Box<kstat_t> = Box::new(unsafe { std::mem::zeroed() });
    stats.ks_ndata = ndata;
    stats.ks_data = Box::into_raw(values.into_boxed_slice()).cast();
    let stats = Box::into_raw(stats);
    let place = stats.expose_provenance();
    let shown = Shown {
        place,
        installed: false,
        read: false,
    };
    kernel.state().kstats.insert(name, shown);
    stats
}

pub(super) unsafe extern "C" fn kstat_named_init(
    value: *mut kstat_named_t,
    name: *const c_char,
    kind: u8,
) {
    // SAFETY: a C string of the module's.
    let name = unsafe { super::text(name) };
    if name.len() > LEN_MAX {
        context::kernel().violated(format!("{name}: a statistic's name of over 30 characters"));
    }
    // SAFETY: one of the values that `kstat_create` made.
    let value = unsafe { &mut *value };
    name_into(&mut value.name, &name);
    value.data_type = kind;
}

pub(super) unsafe extern "C" fn kstat_install(stats: *mut kstat_t) {
    let kernel = context::kernel();
    kernel.sleeps("kstat_install");
    let mut state = kernel.state();
    let mut all = state.kstats.values_mut();
    let shown = all.find(|shown| shown.place == stats.addr());
    let was = shown.map(|shown| std::mem::replace(&mut shown.installed, true));
    drop(state);
    if was != Some(false) {
        kernel.violated("kstat_install of what isn't there, or twice");
    }
}

pub(super) unsafe extern "C" fn kstat_delete(stats: *mut kstat_t) {
    let kernel = context::kernel();
    let call = "kstat_delete";
    kernel.sleeps(call);
    let place = stats.addr();
    let known = || {
        let state = kernel.state();
        let mut all = state.kstats.values();
        all.find(|shown| shown.place == place).copied()
    };
    if known().is_none() {
        kernel.violated("kstat_delete of what isn't there");
        return;
    }
    kernel.wait_for(Resource::Update(place), call, || {
        let mut state = kernel.state();
        state
            .kstats
            .retain(|_, shown| shown.place != place || shown.read);
        state.kstats.values().any(|shown| shown.place == place)
    });
    if known().is_some() {
        // Whoever waits for itself here has the memory still.
        return;
    }
    kernel.forget(Resource::Update(place));
    // SAFETY: made by `kstat_create`, and known until now.
    let stats = unsafe { Box::from_raw(stats) };
    let count = usize::try_from(stats.ks_ndata).unwrap_or(0);
    let values = ptr::slice_from_raw_parts_mut(stats.ks_data.cast::<kstat_named_t>(), count);
    // SAFETY: made by `kstat_create`.
    drop(unsafe { Box::from_raw(values) });
}

/// Has the module bring statistics up to date, and reads them.
pub(crate) fn read(name: &str) -> Result<BTreeMap<String, u64>, String> {
    let kernel = context::kernel();
    let mut place = None;
    kernel.wait("kstat_read", || {
        let mut state = kernel.state();
        let shown = state.kstats.get_mut(name).filter(|it| it.installed);
        let Some(shown) = shown else { return true };
        place = (!shown.read).then_some(shown.place);
        shown.read = true;
        place.is_some()
    });
    let place = place.ok_or_else(|| format!("there is no {name}"))?;
    let values = kernel.having(Resource::Update(place), || update(place));
    if let Some(shown) = kernel.state().kstats.get_mut(name) {
        shown.read = false;
    }
    values
}

/// Has the module bring statistics up to date, which nobody else reads or
/// deletes meanwhile.
fn update(place: usize) -> Result<BTreeMap<String, u64>, String> {
    let stats = ptr::with_exposed_provenance::<kstat_t>(place);
    // SAFETY: as the caller promises.
    let fields = unsafe { &*stats };
    let update = fields.ks_update.ok_or("no ks_update")?;
    let update = update as *const () as u64;
    let kernel = context::kernel();
    let refused = kernel.enter(update, &[place as u64, 1])?;
    if refused != sys::EACCES as u64 {
        return Err(format!("ks_update that writes: {refused}"));
    }
    let done = kernel.enter(update, &[place as u64, 0])?;
    if done != 0 {
        return Err(format!("ks_update: {done}"));
    }
    let count = usize::try_from(fields.ks_ndata).unwrap_or(0);
    let values = fields.ks_data.cast::<kstat_named_t>();
    // SAFETY: as many as were made.
    let values = unsafe { std::slice::from_raw_parts(values, count) };
    let named = values.iter().map(|value| {
        // SAFETY: a name that `kstat_named_init` wrote.
        let name = unsafe { super::text(value.name.as_ptr()) };
        (name, value.value[0])
    });
    Ok(named.collect())
}
