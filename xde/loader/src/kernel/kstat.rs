//! Statistics.

use crate::context;
use illumos_sys_hdrs::{self as sys, kstat_named_t, kstat_t};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_uint};
use std::ptr;

/// Characters of each name: `KSTAT_STRLEN` without the zero.
const LEN_MAX: usize = 30;

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
    kernel.state().kstats.insert(name, place);
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

pub(super) unsafe extern "C" fn kstat_install(_: *mut kstat_t) {}

pub(super) unsafe extern "C" fn kstat_delete(stats: *mut kstat_t) {
    let kernel = context::kernel();
    let mut state = kernel.state();
    let before = state.kstats.len();
    state.kstats.retain(|_, place| *place != stats.addr());
    let known = state.kstats.len() < before;
    drop(state);
    if !known {
        kernel.violated("kstat_delete of what isn't there");
        return;
    }
    // SAFETY: made by `kstat_create`, and known until now.
    let stats = unsafe { Box::from_raw(stats) };
    let count = usize::try_from(stats.ks_ndata).unwrap_or(0);
    let values = ptr::slice_from_raw_parts_mut(stats.ks_data.cast::<kstat_named_t>(), count);
    // SAFETY: made by `kstat_create`.
    drop(unsafe { Box::from_raw(values) });
}

/// Has the module bring statistics up to date, and reads them.
pub(crate) fn read(name: &str) -> Result<BTreeMap<String, u64>, String> {
    let place = context::kernel().state().kstats.get(name).copied();
    let place = place.ok_or_else(|| format!("there is no {name}"))?;
    let stats = ptr::with_exposed_provenance::<kstat_t>(place);
    // SAFETY: known, and only the test deletes.
    let fields = unsafe { &*stats };
    let update = fields.ks_update.ok_or("no ks_update")?;
    let update = update as *const () as u64;
    let done = crate::call::module(update, &[place as u64, 0])?;
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
