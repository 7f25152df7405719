//! What a debug build does at a crash point and at a mutant. Without a control file it opens no file and never waits.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError, RwLock};

use crate::control::{Armed, CONTROL_VARIABLE, Control, Crash};

static CONTROL: LazyLock<Option<Control>> =
    LazyLock::new(|| std::env::var_os(CONTROL_VARIABLE).map(Control::new));

/// How often this process has passed each armed crash point.
static PASSAGES: LazyLock<Mutex<HashMap<Crash, u64>>> = LazyLock::new(Mutex::default);

/// The mutant that a test has activated in its own process.
pub(crate) static ACTIVE: RwLock<Option<&'static str>> = RwLock::new(None);

/// Kills the process when the control file has this point, this role and this passage.
pub fn pass(name: &'static str) {
    let Some((control, armed)) = armed() else { return };
    let is_here =
        |crash: &Crash| crash.point == name && std::env::args().skip(1).any(|arg| arg == crash.role);
    for crash in armed.crashes.into_iter().filter(is_here) {
        let mut passages = PASSAGES.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = passages.entry(crash.clone()).or_default();
        *passed += 1;
        if *passed >= crash.passage && control.is_ours(&crash) {
            die(&format!("the process ends at {name}, as {CONTROL_VARIABLE} says"));
        }
    }
}

/// Whether the control file, or a test in this process, has activated the mutant.
pub fn is_active(name: &'static str) -> bool {
    let in_process = *ACTIVE.read().unwrap_or_else(PoisonError::into_inner);
    in_process == Some(name)
        || armed().is_some_and(|(_, armed)| armed.mutants.iter().any(|mutant| mutant == name))
}

fn armed() -> Option<(&'static Control, Armed)> {
    let control = CONTROL.as_ref()?;
    match control.read() {
        Ok(armed) => Some((control, armed)),
        // A test that armed an unknown name would wait for ever.
        Err(problem) => die(&problem),
    }
}

/// Ends the process as a power cut would: no buffer is flushed and no destructor runs.
fn die(why: &str) -> ! {
    eprintln!("fault: {why}");
    std::process::abort();
}
