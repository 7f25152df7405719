//! Every guard that may be taken away, by name.
//!
//! A bug is worth planting when the field has had it. Never: a bug that no test finds. Read next: `trial.rs`.

/// A guard that is left out when the bug is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutant {
    pub name: &'static str,
    /// What the code then does.
    pub does: &'static str,
}

const fn bug(name: &'static str, does: &'static str) -> Mutant {
    Mutant { name, does }
}

/// All of them; `docs/reliability.md` says how each is found.
pub const MUTANTS: &[Mutant] = &[
    bug("append::version_not_checked", "appends at whatever version the stream has"),
    bug("append::position_from_a_sequence", "gives positions before the order of the commits is known"),
    bug("append::checkpoint_not_compared", "commits a reaction though the checkpoint has moved on"),
    bug("unit_of_work::key_claimed_apart", "claims the idempotency key in another transaction"),
    bug("relay::cursor_without_its_lease", "moves the cursor whoever has the lease"),
    bug("relay::cursor_before_acknowledgement", "moves the cursor behind what Kafka has not acknowledged"),
    bug("publisher::next_after_an_error", "goes on with the next record after one that was not delivered"),
    bug("consumer::duplicates_handed_on", "handles twice what the relay published twice"),
    bug("consumer::checkpoint_not_compared", "moves the checkpoint from wherever it stands"),
    bug("projector::checkpoint_before_effect", "commits the checkpoint, then the effect"),
    bug("projector::version_not_checked", "applies an event that the row has applied already"),
    bug("projector::poison_skipped", "logs an event that it cannot read, and skips it"),
    bug("projector::release_in_the_wrong_column", "counts released pieces as shipped"),
    bug("compensation::release_forgotten", "releases a reservation that was released already"),
    bug("payments::charged_again_with_a_new_key", "charges again under another key after a time-out"),
    bug("replay::swapped_without_catching_up", "swaps in a table that lacks what live applied meanwhile"),
];
