//! `tradewind verify` on a sound platform, stopped or under load, and on one that was changed by hand.
//!
//! One platform is filled and stopped. Each test has a copy of its database, and of its topics where it changes them.
//! Never: a change to what the other tests copy. Read next: `filled.rs`, `tampered.rs`.

mod filled;
mod sound;
mod tampered;
mod tampered_progress;
mod tampered_shop;
mod watching;
