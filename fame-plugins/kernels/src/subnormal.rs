//! Work done with subnormal numbers, closer to 0 than 1.2e-38, taken as 0.
//!
//! Training with weight decay leaves dead channels, whose weights, values and gradients are as small
//! as that. On some processors each instruction that meets one takes a hundred times as long: a
//! step of MobileFaceNet took 77 ms in place of 12 on an Intel Xeon (Emerald Rapids).

#![allow(unsafe_code, reason = "a control register is set around a call")]

/// What `work` gives, done with subnormal arguments and results taken as 0, in it and in what it
/// calls on this thread. Where the processor has no such setting, or we do not know it, the work is
/// done without.
///
/// A panic of `work` goes on to the caller.
pub fn without_subnormals<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    return x86::without_subnormals(work);
    #[cfg(not(target_arch = "x86_64"))]
    work()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::any::Any;
    use std::arch::asm;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    /// Bits of MXCSR: results that would be subnormal are 0, and so are arguments that are.
    const FLUSH: u32 = 1 << 15 | 1 << 6;

    /// The work before it is done, and what came of it.
    struct Job<F, T> {
        work: Option<F>,
        result: Option<Result<T, Box<dyn Any + Send>>>,
    }

    pub(super) fn without_subnormals<T, F: FnOnce() -> T>(work: F) -> T {
        let mut job = Job { work: Some(work), result: None };
        let mut before = 0u32;
        // SAFETY: `call` is given the job it is for, does not unwind, and is called as its ABI asks
        // for: the stack is aligned at the start of an `asm!`, and everything that a call may change
        // is named. MXCSR is what it was at the end. The compiler moves no arithmetic across the
        // block; what it has computed itself in what is called, it may have computed with subnormal
        // numbers, which changes values that are as good as 0 and nothing else.
        unsafe {
            asm!(
                "stmxcsr [r12]",
                "mov r13d, dword ptr [r12]",
                "or r13d, {flush}",
                "sub rsp, 16",
                "mov dword ptr [rsp], r13d",
                "ldmxcsr [rsp]",
                "add rsp, 16",
                "call {call}",
                "ldmxcsr [r12]",
                flush = const FLUSH,
                call = sym call::<T, F>,
                in("r12") &raw mut before,
                out("r13") _,
                in("rdi") &raw mut job,
                clobber_abi("sysv64"),
            );
        }
        match job.result.expect("the call has left a result") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Does the work of `job`.
    extern "sysv64" fn call<T, F: FnOnce() -> T>(job: &mut Job<F, T>) {
        if let Some(work) = job.work.take() {
            job.result = Some(catch_unwind(AssertUnwindSafe(work)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    fn half_of_the_least() -> f32 {
        black_box(f32::MIN_POSITIVE) * black_box(0.5)
    }

    #[test]
    fn subnormals_are_zero_inside_and_numbers_outside() {
        let before = half_of_the_least();
        let inside = without_subnormals(half_of_the_least);
        let after = half_of_the_least();
        assert!(before.is_subnormal() && before.to_bits() == after.to_bits());
        assert_eq!(inside, if cfg!(target_arch = "x86_64") { 0.0 } else { before });
    }

    #[test]
    fn a_panic_goes_on_and_leaves_the_setting_as_it_was() {
        let panic = std::panic::catch_unwind(|| without_subnormals(|| panic!("on purpose")));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"on purpose"));
        assert!(half_of_the_least().is_subnormal());
    }
}
