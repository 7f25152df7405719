//! Every mutant by name: a guard that can be left out. Each of these bugs is known from real systems, and a trial finds
//! each.

/// A guard that is left out when the mutant is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutant {
    pub name: &'static str,
    /// What the code does without the guard.
    pub does: &'static str,
}

const fn mutant(name: &'static str, does: &'static str) -> Mutant {
    Mutant { name, does }
}

/// All of them; `docs/reliability.md` says which check finds each.
pub const MUTANTS: &[Mutant] = &[
    mutant("append::version_not_checked", "appends at whatever version the stream has"),
    mutant("append::position_from_a_sequence", "assigns positions before the order of the commits is known"),
    mutant("append::checkpoint_not_compared", "commits a reaction though the checkpoint has moved on"),
    mutant("unit_of_work::key_claimed_apart", "claims the idempotency key in a separate transaction"),
    mutant("relay::cursor_without_its_lease", "moves the cursor without holding the lease"),
    mutant(
        "relay::cursor_before_acknowledgement",
        "moves the cursor past events that Kafka has not acknowledged",
    ),
    mutant("publisher::next_after_an_error", "publishes the next record after one that was not delivered"),
    mutant("consumer::duplicates_handed_on", "handles twice what the relay published twice"),
    mutant("consumer::checkpoint_not_compared", "moves the checkpoint whatever its present value"),
    mutant("projector::checkpoint_before_effect", "commits the checkpoint, then the effect"),
    mutant("projector::version_not_checked", "applies an event that the row has already applied"),
    mutant("projector::poison_skipped", "logs an event that it cannot read, and skips it"),
    mutant("projector::release_in_the_wrong_column", "counts released pieces as shipped"),
    mutant("compensation::release_forgotten", "releases a reservation that is already released"),
    mutant("payments::charged_again_with_a_new_key", "charges again under another key after a time-out"),
    mutant(
        "replay::swapped_without_catching_up",
        "swaps in a table without the events that live applied during the replay",
    ),
];
