//! What the routes share: parameters, cursors, waiting, answers.
//!
//! Never: a route; they are in [`crate::routes`], which is what to read next.

use std::time::Duration;

use deadpool_postgres::Pool;
use event_bus::BusConfig;

use crate::arrivals::Arrivals;

pub mod cursor;
pub mod failure;
pub mod params;
pub mod read;
pub mod reply;
pub mod schema;
pub mod wait;

/// What every handler is given.
pub struct App {
    pub pool: Pool,
    /// Names the topics that the checkpoints are filed under.
    pub bus: BusConfig,
    pub arrivals: Arrivals,
    /// A machine's step that takes longer than this is shown as stuck.
    pub stuck_after: Duration,
}
