//! What only this shop has to read: all that belongs to one order, and the payment provider's ledger.

pub mod ledger;
pub mod orders;
