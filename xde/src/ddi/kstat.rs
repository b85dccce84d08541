//! Statistics that `kstat` shows.

use alloc::boxed::Box;
use core::ffi::{CStr, c_int, c_uint, c_void};
use core::ptr::NonNull;
use illumos_sys_hdrs as sys;

/// Who knows the values.
pub(crate) trait Source: Send + Sync {
    /// Tells the value of each statistic, in any order. In a thread that may
    /// sleep.
    fn tell(&self, set: &mut dyn FnMut(&str, u64));
}

/// Statistics of one name, until this is dropped.
pub(crate) struct Kstat {
    stats: NonNull<sys::kstat_t>,
    /// What `ks_private` points to.
    _source: Box<Box<dyn Source>>,
}

// SAFETY: kstat's functions lock for themselves.
unsafe impl Send for Kstat {}
// SAFETY: as above.
unsafe impl Sync for Kstat {}

impl Kstat {
    /// Shows `names` as `MODULE:INSTANCE:NAME`; `None` when there is no memory or
    /// the name is taken.
    pub(crate) fn show(
        (module, instance, name): (&CStr, c_int, &CStr),
        names: impl Iterator<Item = &'static CStr> + Clone,
        source: Box<dyn Source>,
    ) -> Option<Self> {
        let count = c_uint::try_from(names.clone().count()).ok()?;
        let (module, class) = (module.as_ptr(), c"net".as_ptr());
        let kind = sys::KSTAT_TYPE_NAMED;
        // SAFETY: C strings; kstat allocates `count` named values.
        let stats =
            unsafe { sys::kstat_create(module, instance, name.as_ptr(), class, kind, count, 0) };
        let stats = NonNull::new(stats)?;
        let source = Box::new(source);
        // SAFETY: made above and not installed yet, so it is ours alone.
        let fields = unsafe { &mut *stats.as_ptr() };
        let values = fields.ks_data.cast::<sys::kstat_named_t>();
        for (index, name) in names.enumerate() {
            let value = values.wrapping_add(index);
            // SAFETY: one of the `count` values; a C string.
            unsafe { sys::kstat_named_init(value, name.as_ptr(), sys::KSTAT_DATA_UINT64) };
        }
        fields.ks_update = Some(update);
        fields.ks_private = (&raw const *source).cast::<c_void>().cast_mut();
        // SAFETY: as complete as `kstat_install` asks for; without a lock of
        // its own, kstat makes one.
        unsafe { sys::kstat_install(stats.as_ptr()) };
        Some(Self {
            stats,
            _source: source,
        })
    }
}

impl Drop for Kstat {
    fn drop(&mut self) {
        // SAFETY: installed by `show`; waits for an update that is under way.
        unsafe { sys::kstat_delete(self.stats.as_ptr()) }
    }
}

/// `ks_update`: fills in the values.
///
/// # Safety
///
/// Called by kstat only, with statistics that [`Kstat::show`] made.
unsafe extern "C" fn update(stats: *mut sys::kstat_t, direction: c_int) -> c_int {
    if direction != sys::KSTAT_READ {
        return sys::EACCES;
    }
    // SAFETY: kstat has locked them for this call.
    let fields = unsafe { &*stats };
    // SAFETY: `show` put it there, and it lives as long as the statistics.
    let source = unsafe { &*fields.ks_private.cast::<Box<dyn Source>>() };
    let count = usize::try_from(fields.ks_ndata).unwrap_or(0);
    let values = fields.ks_data.cast::<sys::kstat_named_t>();
    // SAFETY: kstat allocated so many and has locked them for this call.
    let values = unsafe { core::slice::from_raw_parts_mut(values, count) };
    for value in &mut *values {
        value.value = [0; 2];
    }
    source.tell(&mut |name, number| {
        let named = |value: &&mut sys::kstat_named_t| {
            // SAFETY: a name that `kstat_named_init` ended with a zero.
            let own = unsafe { CStr::from_ptr(value.name.as_ptr()) };
            own.to_bytes() == name.as_bytes()
        };
        if let Some(value) = values.iter_mut().find(named) {
            value.value = [number, 0];
        }
    });
    0
}
