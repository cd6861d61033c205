//! What the result types of all libraries have in common.

/// Makes the `Error` of a library and the C name of its result.
///
/// All four libraries have 0 for success, so `Result<(), Error>` over a non-zero number is the C
/// result itself: C sees 0 or the code, and `?` works in Rust.
macro_rules! result_type {
    ($(#[$doc:meta])* $result:ident) => {
        /// A result code of the library that is not success.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(transparent)]
        pub struct Error(std::num::NonZeroU32);

        $(#[$doc])*
        pub type $result = Result<(), Error>;

        // C reads the result as an int: RFC 3391 promises this layout.
        const _: () = assert!(size_of::<$result>() == size_of::<u32>());

        impl Error {
            const fn of(code: u32) -> Self {
                match std::num::NonZeroU32::new(code) {
                    Some(code) => Self(code),
                    None => panic!("0 is success in every library"),
                }
            }

            /// Makes the error of a code; 0 is success and gives `None`.
            pub const fn new(code: u32) -> Option<Self> {
                match std::num::NonZeroU32::new(code) {
                    Some(code) => Some(Self(code)),
                    None => None,
                }
            }

            /// Returns the library's number.
            pub const fn code(self) -> u32 {
                self.0.get()
            }

            /// Returns the name in the header, or `None` for a number that it does not know.
            pub fn name(self) -> Option<&'static std::ffi::CStr> {
                name_of(self.code())
            }

            /// Returns what the library says about it, or `None` for a number that it does not
            /// know.
            pub fn text(self) -> Option<&'static std::ffi::CStr> {
                text_of(self.code())
            }
        }

        /// Returns the name of a result code, success included.
        pub fn name_of(code: u32) -> Option<&'static std::ffi::CStr> {
            let at = CODES.binary_search_by_key(&code, |entry| entry.0).ok()?;
            Some(CODES[at].1)
        }

        /// Returns what the library says about a result code, success included.
        pub fn text_of(code: u32) -> Option<&'static std::ffi::CStr> {
            let at = CODES.binary_search_by_key(&code, |entry| entry.0).ok()?;
            Some(CODES[at].2)
        }

        impl std::fmt::Display for Error {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match (self.name(), self.text()) {
                    (Some(name), Some(text)) => {
                        write!(formatter, "{} ({})", text.to_string_lossy(), name.to_string_lossy())
                    }
                    _ => write!(formatter, "result code {}", self.code()),
                }
            }
        }

        impl std::fmt::Debug for Error {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => formatter.write_str(&name.to_string_lossy()),
                    None => write!(formatter, "Error({})", self.code()),
                }
            }
        }

        impl std::error::Error for Error {}
    };
}

pub(crate) use result_type;
