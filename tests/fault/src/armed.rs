//! What a debug build does at a crash point and at a mutant.
//!
//! Never: a look at a file when nothing is armed, or a wait. Read next: `control.rs`.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError, RwLock};

use crate::control::{CONTROL_VARIABLE, Control, Crash, Orders};

static CONTROL: LazyLock<Option<Control>> =
    LazyLock::new(|| std::env::var_os(CONTROL_VARIABLE).map(Control::new));

/// How often this process has passed what is armed.
static PASSAGES: LazyLock<Mutex<HashMap<Crash, u64>>> = LazyLock::new(Mutex::default);

/// What a test planted in its own process.
pub(crate) static PLANTED: RwLock<Option<&'static str>> = RwLock::new(None);

/// Dies when the control file says that it is here, and now.
pub fn pass(name: &'static str) {
    let Some((control, orders)) = armed() else { return };
    let of_ours =
        |crash: &Crash| crash.point == name && std::env::args().skip(1).any(|arg| arg == crash.role);
    for crash in orders.crashes.into_iter().filter(of_ours) {
        let mut passages = PASSAGES.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = passages.entry(crash.clone()).or_default();
        *passed += 1;
        if *passed >= crash.passage && control.is_ours(&crash) {
            die(&format!("dies at {name}, as {CONTROL_VARIABLE} says"));
        }
    }
}

/// Whether the control file, or a test in this process, has planted the bug.
pub fn is_active(name: &'static str) -> bool {
    let in_process = *PLANTED.read().unwrap_or_else(PoisonError::into_inner);
    in_process == Some(name) || armed().is_some_and(|(_, orders)| orders.bugs.iter().any(|bug| bug == name))
}

fn armed() -> Option<(&'static Control, Orders)> {
    let control = CONTROL.as_ref()?;
    match control.read() {
        Ok(orders) => Some((control, orders)),
        // Whoever arms something that there is not would wait for it for ever.
        Err(wrong) => die(&wrong),
    }
}

/// As a power cut does it: nothing is flushed, no destructor runs.
fn die(why: &str) -> ! {
    eprintln!("fault: {why}");
    std::process::abort();
}
