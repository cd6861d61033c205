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

        impl From<Error> for u32 {
            fn from(error: Error) -> Self {
                error.code()
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

#[cfg(test)]
mod tests {
    use crate::{cublas, cuda, cudart, nvml};

    #[test]
    fn a_code_has_the_name_and_the_text_that_clients_match() {
        let cases = [
            (cuda::name_of(100), cuda::text_of(100), c"CUDA_ERROR_NO_DEVICE"),
            (cudart::name_of(100), cudart::text_of(100), c"cudaErrorNoDevice"),
        ];
        for (name, text, expected) in cases {
            assert_eq!(name, Some(expected));
            assert_eq!(text, Some(c"no CUDA-capable device is detected"));
        }
        assert_eq!(nvml::name_of(9), Some(c"NVML_ERROR_DRIVER_NOT_LOADED"));
        assert_eq!(nvml::text_of(9), Some(c"Driver Not Loaded"));
        assert_eq!(cublas::name_of(15), Some(c"CUBLAS_STATUS_NOT_SUPPORTED"));
    }

    #[test]
    fn success_has_a_name_but_is_no_error() {
        assert_eq!(cuda::name_of(0), Some(c"CUDA_SUCCESS"));
        assert_eq!(cuda::Error::new(0), None);
        assert_eq!(cuda::Error::new(801), Some(cuda::Error::NOT_SUPPORTED));
    }

    #[test]
    fn a_number_that_no_header_knows_has_neither_name_nor_text() {
        assert_eq!((cuda::name_of(7777), cuda::text_of(7777)), (None, None));
        let unknown = cuda::Error::new(7777).expect("not 0");
        assert_eq!(format!("{unknown} {unknown:?}"), "result code 7777 Error(7777)");
    }

    #[test]
    fn every_library_lists_its_codes_in_order_for_the_search() {
        fn ordered<T>(codes: &[(u32, T, T)]) -> bool {
            codes.len() > 9 && codes.windows(2).all(|pair| pair[0].0 < pair[1].0)
        }
        assert!(ordered(&cuda::CODES));
        assert!(ordered(&cudart::CODES));
        assert!(ordered(&nvml::CODES));
        assert!(ordered(&cublas::CODES));
    }
}
