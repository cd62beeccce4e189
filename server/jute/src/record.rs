//! `record!` declares a struct and its codec at once, so that the record files stay as terse as
//! `zookeeper.jute`: the order of the fields is their order on the wire.

/// A struct whose fields are written and read in order.
macro_rules! record {
    ($(#[$meta:meta])* $name:ident<$life:lifetime> { $($fields:tt)* }) => {
        record!(@item [$(#[$meta])*] $name [<$life>] $life { $($fields)* });
    };
    ($(#[$meta:meta])* $name:ident { $($fields:tt)* }) => {
        record!(@item [$(#[$meta])*] $name [] 'a { $($fields)* });
    };
    (@item [$(#[$meta:meta])*] $name:ident [$($generics:tt)*] $life:lifetime
        { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "fields whose name says it all stay as bare as in zookeeper.jute")]
        pub struct $name $($generics)* {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $($generics)* $crate::codec::Encode for $name $($generics)* {
            fn encode(&self, out: &mut ::bytes::BytesMut) {
                $($crate::codec::Encode::encode(&self.$field, out);)*
            }
        }

        impl<$life> $crate::codec::Decode<$life> for $name $($generics)* {
            fn decode(
                reader: &mut $crate::codec::Reader<$life>,
            ) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self {
                    $($field: $crate::codec::Decode::decode(reader).map_err(|error| {
                        error.named(concat!(stringify!($name), ".", stringify!($field)))
                    })?,)*
                })
            }
        }
    };
}

/// A closed enum with the numbers it has on the wire (int32).
macro_rules! numbers {
    ($(#[$meta:meta])* $name:ident is $of:literal {
        $($(#[$variant_meta:meta])* $variant:ident = $number:literal),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum $name {
            $($(#[$variant_meta])* $variant = $number,)*
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> i32 {
                self as i32
            }

            /// The value with this number, if there is one.
            #[must_use]
            pub const fn from_code(code: i32) -> Option<Self> {
                match code {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name as declared.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl $crate::codec::Encode for $name {
            fn encode(&self, out: &mut ::bytes::BytesMut) {
                $crate::codec::Encode::encode(&self.code(), out);
            }
        }

        impl<'a> $crate::codec::Decode<'a> for $name {
            fn decode(
                reader: &mut $crate::codec::Reader<'a>,
            ) -> Result<Self, $crate::codec::DecodeError> {
                let offset = reader.offset();
                let code = <i32 as $crate::codec::Decode>::decode(reader)?;
                Self::from_code(code).ok_or_else(|| {
                    $crate::codec::Reader::error_at(
                        offset,
                        $crate::codec::Expected::Number { of: $of, found: i64::from(code) },
                    )
                })
            }
        }
    };
}

pub(crate) use {numbers, record};
