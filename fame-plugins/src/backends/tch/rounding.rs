//! How f32 numbers are rounded on a CUDA device: settings of libtorch that tch does not bind
//! (`build/rounding.cpp`).

// The only way to a function that tch does not bind.
#![allow(unsafe_code)]

use std::sync::{Condvar, Mutex, PoisonError};

use fame_core::{Error, Result};

// SAFETY: declared as in `build/rounding.cpp`, which this crate's build script compiles and links.
// It takes and gives plain booleans, keeps nothing, and lets no C++ exception out.
unsafe extern "C" {
    safe fn fame_cuda_rounding(tf32: bool) -> bool;
}

/// Who computes, and with which setting.
struct Users {
    count: usize,
    tf32: bool,
}

static USERS: Mutex<Users> = Mutex::new(Users { count: 0, tf32: false });
static IDLE: Condvar = Condvar::new();

/// While this lives, nobody changes the rounding.
#[must_use]
pub(super) struct Rounding(());

/// Lets convolutions and matrix products of f32 round their operands to TensorFloat-32, or forbids
/// it; and has cuDNN add in the same order in every run. libtorch's own choice is to round in
/// convolutions. The setting is the whole process's: networks that want the same compute at the
/// same time, and one that wants the other waits until they are done. A thread must not ask again
/// while it holds one.
pub(super) fn hold(tf32: bool) -> Result<Rounding> {
    let users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut users = IDLE
        .wait_while(users, |users| users.count > 0 && users.tf32 != tf32)
        .unwrap_or_else(PoisonError::into_inner);
    if users.count == 0 && !fame_cuda_rounding(tf32) {
        return Err(Error::new(
            "fame::backend::run",
            "libtorch refused to set how it rounds f32 numbers on a CUDA device.",
        ));
    }
    *users = Users { count: users.count + 1, tf32 };
    Ok(Rounding(()))
}

impl Drop for Rounding {
    fn drop(&mut self) {
        USERS.lock().unwrap_or_else(PoisonError::into_inner).count -= 1;
        IDLE.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The settings exist in every libtorch, whether or not there is a device to obey them.
    #[test]
    fn nobody_computes_under_another_setting_than_asked_for() {
        let running = [AtomicUsize::new(0), AtomicUsize::new(0)];
        std::thread::scope(|scope| {
            for tf32 in [false, true, false, true] {
                let running = &running;
                scope.spawn(move || {
                    for _ in 0..200 {
                        let held = hold(tf32).unwrap();
                        running[usize::from(tf32)].fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        assert_eq!(running[usize::from(!tf32)].load(Ordering::SeqCst), 0);
                        running[usize::from(tf32)].fetch_sub(1, Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
    }
}
