//! What is read of this shop alone: all that belongs to one order, and the payment provider's ledger.

pub mod ledger;
pub mod orders;
