//! Macros that declare structs and constants together with what a test
//! compares with the facts.

/// Declares `repr(C)` structs, asserts size, alignment and offsets (S1), and
/// lists them.
macro_rules! structs {
    ($list:ident: $($name:ident = $size:literal align $align:literal {
        $($offset:literal $field:ident: $ty:ty,)*
    })*) => {
        $(
            #[repr(C)]
            pub struct $name { $(pub $field: $ty,)* }

            const _: () = {
                assert!(size_of::<$name>() == $size);
                assert!(align_of::<$name>() == $align);
                $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
            };
        )*

        /// Every struct that is laid out here.
        pub const $list: &[$crate::Layout] = &[
            $((
                stringify!($name),
                size_of::<$name>(),
                align_of::<$name>(),
                &[$((
                    stringify!($field),
                    core::mem::offset_of!($name, $field),
                    size_of::<$ty>(),
                ),)*],
            ),)*
        ];
    };
}

/// Declares types that are only ever seen by pointer (S2).
macro_rules! opaque {
    ($($name:ident)*) => {
        $(
            #[repr(C)]
            pub struct $name {
                hidden: [u8; 0],
                _shared: core::marker::PhantomData<core::cell::UnsafeCell<*mut u8>>,
            }
        )*
    };
}

/// Declares constants and lists them.
macro_rules! constants {
    ($list:ident: $($name:ident: $ty:ty = $value:expr;)*) => {
        $(pub const $name: $ty = $value;)*

        /// Every number that is declared here.
        pub const $list: &[(&str, i64)] = &[$((stringify!($name), $name as i64),)*];
    };
}
