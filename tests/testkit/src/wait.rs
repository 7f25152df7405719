//! Waiting for a state. A test names what it waits for and asks until it is so; it never sleeps for a fixed time.

use std::panic::Location;
use std::time::{Duration, Instant};

/// The longest that a test waits for anything.
pub const WAIT_MAX: Duration = Duration::from_secs(180);
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// What a probe returns: the value it waits for, or why there is none yet.
pub trait Probed {
    type Value;

    /// # Errors
    /// Why there is no value yet.
    fn value(self) -> Result<Self::Value, String>;
}

impl Probed for bool {
    type Value = ();

    fn value(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("it is false".to_owned()) }
    }
}

impl<T> Probed for Option<T> {
    type Value = T;

    fn value(self) -> Result<T, String> {
        self.ok_or_else(|| "there is none".to_owned())
    }
}

impl<T> Probed for Result<T, String> {
    type Value = T;

    fn value(self) -> Self {
        self
    }
}

/// Calls `probe` again and again, with a short pause between, until it returns a value: `true`, `Some` or `Ok`.
///
/// # Panics
/// When there is none within [`WAIT_MAX`]; names `what`, the caller, and what `probe` said last.
#[track_caller]
pub fn eventually<P: Probed, F: Future<Output = P>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> impl Future<Output = P::Value> {
    let caller = Location::caller();
    async move {
        let (started, mut pause) = (Instant::now(), PAUSE_MIN);
        loop {
            match probe().await.value() {
                Ok(value) => return value,
                Err(last) if started.elapsed() > WAIT_MAX => {
                    panic!("{what}: not within {WAIT_MAX:?} ({caller}); last: {last}")
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
