//! Telling the processor what will be read soon.
//!
//! The only `unsafe` besides system calls: the instruction is a hint that reads nothing and cannot
//! fault, whatever the address, but its intrinsic is declared unsafe.
#![allow(unsafe_code)]

/// Has the cache line of `value` come into the cache.
#[inline(always)]
pub fn soon<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the address is that of a reference; the hint reads nothing.
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
