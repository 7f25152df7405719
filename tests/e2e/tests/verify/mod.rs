//! `tradewind verify` on a platform that is well, under load or at rest, and on one that was tampered with by hand.
//!
//! One platform is filled and stopped. Each test has a copy of its database, and of its topics where it changes them.

mod filled;
mod tampered;
mod untrue;
mod watching;
mod well;
