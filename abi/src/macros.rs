//! How this crate declares structures and lists of constants.

/// Declares `#[repr(C)]` structures without padding that may be copied from and to guests as bytes, each followed by
/// its size in bytes, which the compiler checks.
macro_rules! abi_structs {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident: $size:literal {
            $($(#[$field_attribute:meta])* $field_visibility:vis $field:ident: $type:ty),* $(,)?
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable)]
        #[repr(C)]
        $visibility struct $name {
            $($(#[$field_attribute])* $field_visibility $field: $type),*
        }

        const _: () = assert!(size_of::<$name>() == $size);

        impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }
    )*};
}

/// Declares a C enumeration: a Rust enumeration with the Linux names, `from_raw`, `raw`, `name` and `TryFrom`, whose
/// error is `EINVAL`.
macro_rules! abi_enum {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident: $raw:ty {
            $($(#[$variant_attribute:meta])* $variant:ident = $value:expr),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(non_camel_case_types, reason = "the names are those of Linux")]
        #[repr($raw)]
        pub enum $name {
            $($(#[$variant_attribute])* $variant = $value),*
        }

        impl $name {
            /// All values, in the order of the header.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value with this number, if there is one.
            pub const fn from_raw(raw: $raw) -> Option<Self> {
                $(if raw == $value { return Some(Self::$variant); })*
                None
            }

            /// The number that crosses the boundary.
            pub const fn raw(self) -> $raw {
                self as $raw
            }

            /// The name that Linux gives it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),* }
            }
        }

        impl TryFrom<$raw> for $name {
            type Error = $crate::Errno;

            fn try_from(raw: $raw) -> Result<Self, Self::Error> {
                Self::from_raw(raw).ok_or($crate::Errno::EINVAL)
            }
        }
    };
}

/// Declares constants of one type, documented by one line each.
macro_rules! abi_consts {
    ($type:ty; $($(#[$attribute:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$attribute])* pub const $name: $type = $value;)*
    };
}

/// Declares constants of one type whose names say all, as the manual page that the first argument names has them.
macro_rules! abi_named_consts {
    ($page:literal, $type:ty; $($name:ident = $value:expr),* $(,)?) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: ", $page, ".")]
            pub const $name: $type = $value;
        )*
    };
}

/// Declares a `bitflags` type whose flags' names say all.
macro_rules! abi_named_flags {
    (
        $(#[$attribute:meta])*
        pub struct $struct:ident: $type:ty {
            $($name:ident = $value:expr),* $(,)?
        }
    ) => {
        bitflags::bitflags! {
            $(#[$attribute])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
            pub struct $struct: $type {
                $(
                    #[doc = concat!("`", stringify!($name), "`.")]
                    const $name = $value;
                )*
            }
        }
    };
}

/// Declares a structure around a number that may hold values without a name: `name` knows those that have one.
macro_rules! abi_open_enum {
    (
        $(#[$attribute:meta])*
        pub struct $struct:ident: $type:ty {
            $($name:ident = $value:expr),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $struct(pub $type);

        impl $struct {
            $(
                #[doc = concat!("`", stringify!($name), "`.")]
                pub const $name: Self = Self($value);
            )*

            /// The name that Linux gives it, if it has one.
            pub const fn name(self) -> Option<&'static str> {
                $(if self.0 == $value { return Some(stringify!($name)); })*
                None
            }
        }
    };
}

pub(crate) use {abi_consts, abi_enum, abi_named_consts, abi_named_flags, abi_open_enum, abi_structs};
