//! The boundary to C: NULL, strings, `errno`, and panics that must not unwind into C.
//!
//! A pointer from C is taken as the type that it points to: `Option<&T>` and `Option<&mut T>` for
//! what is borrowed, `Option<Box<T>>` for what is given back, `Option<&mut MaybeUninit<T>>` for an
//! output, [`Text`] for a string. Each of them is one pointer in C, and NULL is `None`. The caller
//! guarantees that a pointer is what the header says; nothing can check it.

use std::ffi::{CStr, CString, c_char, c_int};
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;

/// A string from C: NULL, or NUL-terminated and unchanged for the time of the call.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    start: Option<NonNull<c_char>>,
    call: PhantomData<&'a c_char>,
}

impl<'a> Text<'a> {
    /// The string, or `None` for NULL.
    pub(crate) fn get(self) -> Option<&'a CStr> {
        #[allow(unsafe_code, reason = "a C string has no length")]
        // SAFETY: only C makes a `Text`, from a pointer that is NULL, or a string with its NUL
        // that lives and stays as it is for the whole call.
        self.start.map(|start| unsafe { CStr::from_ptr(start.as_ptr()) })
    }
}

/// A string for C. A NUL inside it, which only a peer could have sent, becomes a space.
pub(crate) fn c_string(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes: Vec<u8> = text.into();
    for byte in bytes.iter_mut().filter(|byte| **byte == 0) {
        *byte = b' ';
    }
    CString::new(bytes).unwrap_or_default()
}

/// The longest message about what a caller has passed, in characters.
const MAX_MESSAGE: usize = 400;

/// A message about what a caller has passed. What is too long loses its middle, and control
/// characters become spaces: a caller's text can be of any length and can hold anything.
pub(crate) fn bounded(message: &str) -> CString {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if message.len() <= MAX_MESSAGE {
        return c_string(message.chars().map(clean).collect::<String>());
    }
    let head = message.chars().take(MAX_MESSAGE / 2);
    let tail = message.chars().rev().take(MAX_MESSAGE / 2 - 1).collect::<Vec<_>>();
    let text = head.chain(['…']).chain(tail.into_iter().rev()).map(clean);
    c_string(text.collect::<String>())
}

/// The body of every exported function: `export!(NULL_VALUE, PANIC_VALUE; pointers => body)`. The
/// body gets each pointer as what it points to. It does not run where one is NULL; a panic gives
/// the second value; `errno` is restored afterwards.
macro_rules! export {
    ($null:expr, $bug:expr; $($pointer:ident),* => $body:expr) => {
        $crate::boundary::guarded($bug, || {
            $(let Some($pointer) = $pointer else { return $null };)*
            $body
        })
    };
    // A call that returns a status and records why it failed.
    (recorded; $($pointer:ident),* => $body:expr) => {
        $crate::boundary::guarded($crate::status::MAILPORT_ERR_INTERNAL, || {
            let run = || {
                $(let Some($pointer) = $pointer else {
                    return Err($crate::failure::CallFailure::null(stringify!($pointer)));
                };)*
                $body
            };
            $crate::failure::record(run())
        })
    };
    // A call that returns a status.
    (status; $($pointer:ident),* => $body:expr) => {
        $crate::boundary::export!(
            $crate::status::MAILPORT_ERR_NULL_POINTER, $crate::status::MAILPORT_ERR_INTERNAL; $($pointer),* => $body
        )
    };
    // A call that returns nothing.
    (nothing; $($pointer:ident),* => $body:expr) => {
        $crate::boundary::export!((), (); $($pointer),* => $body)
    };
    // A getter, with its neutral value.
    ($neutral:expr; $($pointer:ident),* => $body:expr) => {
        $crate::boundary::export!($neutral, $neutral; $($pointer),* => $body)
    };
}
pub(crate) use export;

/// Runs the body of an exported function. No state that a panic left half changed is used later:
/// a dial that panicked is never processed again, and a setting is changed in one assignment.
pub(crate) fn guarded<T>(panicked: T, body: impl FnOnce() -> T) -> T {
    let call = Call::begin();
    let result = panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(panicked);
    call.end();
    result
}

/// What a call from C leaves as it was: `errno`, and whether the thread can be cancelled. While it
/// runs, pthread_cancel(3) is deferred: a thread that ends in the middle of a call would unwind
/// through Rust, which aborts the process.
struct Call {
    cancellation: c_int,
    errno: c_int,
}

// Not in the libc crate for every C library.
const PTHREAD_CANCEL_DISABLE: c_int = 1;
#[allow(unsafe_code, reason = "a declaration of what every C library has")]
// SAFETY: the signature of POSIX.
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

// Not inlined: a hundred functions have these calls.
impl Call {
    #[inline(never)]
    fn begin() -> Call {
        let mut cancellation = PTHREAD_CANCEL_DISABLE;
        #[allow(unsafe_code, reason = "the state and errno are the C library's")]
        // SAFETY: the first pointer is to an int that outlives the call, and the C library gives a
        // valid pointer to this thread's errno.
        let errno = unsafe {
            pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut cancellation);
            *libc::__errno_location()
        };
        Call { cancellation, errno }
    }

    #[inline(never)]
    fn end(self) {
        let mut disabled = 0;
        #[allow(unsafe_code, reason = "the state and errno are the C library's")]
        // SAFETY: as above; no reference to errno is kept. With the deferred type of cancellation,
        // which is the default, this ends no thread.
        unsafe {
            *libc::__errno_location() = self.errno;
            pthread_setcancelstate(self.cancellation, &raw mut disabled);
        }
    }
}

/// Whether this process has more rights than the user who started it (set-user-ID and the like), so
/// that its environment must not be trusted.
pub(crate) fn is_privileged() -> bool {
    #[allow(unsafe_code, reason = "only the kernel knows it")]
    // SAFETY: reads a number that the kernel gave when the program began.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) };
    secure != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_stays_inside_and_errno_stays_as_it_was() {
        let errno = || std::io::Error::last_os_error().raw_os_error();
        let _ = std::fs::File::open("/nowhere");
        let before = errno();
        assert_eq!(before, Some(libc::ENOENT));
        let result = guarded(-1, || {
            let _ = std::fs::File::open("/dev/null/nowhere");
            assert_eq!(errno(), Some(libc::ENOTDIR));
            panic!("as a bug would");
        });
        assert_eq!((result, errno()), (-1, before));
    }

    #[test]
    fn null_is_reported_and_the_body_does_not_run() {
        let call = |pointer: Option<&i32>| export!(-1, -2; pointer => *pointer);
        assert_eq!((call(Some(&7)), call(None)), (7, -1));
    }

    #[test]
    fn a_string_for_c_has_no_nul_inside() {
        assert_eq!(c_string("a\0b").to_bytes(), b"a b");
    }

    #[test]
    fn a_message_is_bounded_and_has_no_control_character() {
        assert_eq!(bounded("a\nb\x1b[2J").to_bytes(), b"a b [2J");
        let long = bounded(&format!("`{}` is not an address", "é".repeat(1 << 20)));
        let long = long.to_str().expect("UTF-8");
        assert_eq!(long.chars().count(), MAX_MESSAGE);
        assert!(long.starts_with("`é") && long.ends_with("é` is not an address"));
    }
}
