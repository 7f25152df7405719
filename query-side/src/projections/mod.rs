//! Every read model, one file each; all have the same form.
//!
//! Never: a rule of the business. What an order may do was decided when its event was appended.
//! Read next: [`orders`], then [`processes`] (the one that is fed by four topics).

use std::sync::Arc;

use crate::engine::{Engine, Projector};

pub mod order_events;
pub mod orders;
pub mod payments;
pub mod processes;
pub mod sales;
pub mod stock;

/// The projection called `name`, ready to be applied.
pub fn named(name: &str) -> Option<Arc<dyn Projector>> {
    all().into_iter().find(|projector| projector.name() == name)
}

/// All projections, each ready to be applied.
pub fn all() -> Vec<Arc<dyn Projector>> {
    vec![
        Arc::new(Engine::<orders::Orders>::new()),
        Arc::new(Engine::<order_events::OrderEvents>::new()),
        Arc::new(Engine::<processes::Processes>::new()),
        Arc::new(Engine::<stock::Stock>::new()),
        Arc::new(Engine::<payments::Payments>::new()),
        Arc::new(Engine::<sales::Sales>::new()),
    ]
}
