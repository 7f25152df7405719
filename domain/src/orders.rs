//! The rules of an order.
//!
//! An order ends in exactly one of rejected, cancelled or delivered. It ends as rejected or cancelled only when nothing
//! is held for it any more: a cancellation is requested, then everything is compensated, then the order is cancelled.
//! There is one exception: after a payment expired, the provider may still have to void it; no order waits for that.

mod commands;

use std::collections::BTreeMap;

pub use commands::{OrderCommand, OrderRefusal};
use event_log::{Aggregate, State, StreamId};
use events::inventory::ReleaseCause;
use events::orders::{
    OrderCancellationRefused, OrderCancellationRequested, OrderCancelled, OrderConfirmed, OrderDelivered,
    OrderLine, OrderPlaced, OrderRejected, OrderShipped, RejectionReason,
};
use events::{
    Currency, MAX_ORDER_LINES, Money, OrderEvent, OrderId, Quantity, Shortage, Sku, SkuQuantity, ValueError,
};

/// The lines of an order summed per SKU, in the order of the SKUs.
///
/// # Errors
/// [`ValueError::Range`] when the pieces of one SKU are more than [`Quantity::MAX`].
pub fn per_sku(lines: &[OrderLine]) -> Result<Vec<SkuQuantity>, ValueError> {
    let mut sums = BTreeMap::<&Sku, Quantity>::new();
    for line in lines {
        let sum = match sums.get(&line.sku) {
            Some(sum) => sum.checked_add(line.quantity)?,
            None => line.quantity,
        };
        sums.insert(&line.sku, sum);
    }
    Ok(sums.into_iter().map(|(sku, quantity)| SkuQuantity { sku: sku.clone(), quantity }).collect())
}

/// One order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    status: OrderStatus,
    placed: Option<OrderPlaced>,
    cancellation_reason: Option<String>,
}

/// The status of an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum OrderStatus {
    /// The order was never placed.
    #[default]
    Absent,
    Placed,
    Confirmed,
    /// A cancellation was requested; the completed steps are being compensated.
    Cancelling {
        was_confirmed: bool,
    },
    Rejected,
    Cancelled,
    Shipped,
    Delivered,
}

impl OrderStatus {
    /// The name that the HTTP interface shows.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Order {
    pub fn status(&self) -> OrderStatus {
        self.status
    }

    fn confirmation(&self) -> Option<OrderConfirmed> {
        let placed = self.placed.as_ref()?;
        Some(OrderConfirmed {
            order_id: placed.order_id,
            customer_id: placed.customer_id.clone(),
            total: Money::new(placed.total_minor, placed.currency)
                .expect("a placed order's total is 0 or more"),
            items: per_sku(&placed.lines).expect("a placed order's pieces were checked"),
            shipping_address: placed.shipping_address.clone(),
            placed_at: placed.placed_at,
        })
    }

    fn cancelled(&self, order_id: OrderId) -> OrderEvent {
        let reason = self.cancellation_reason.clone().unwrap_or_default();
        OrderCancelled { order_id, reason }.into()
    }

    fn invalid_transition(&self, order_id: OrderId, step: &'static str) -> OrderRefusal {
        if self.status == OrderStatus::Absent {
            return OrderRefusal::NotFound { order_id };
        }
        OrderRefusal::InvalidTransition { order_id, status: self.status, step }
    }

    fn cancel(&self, order_id: OrderId, reason: String) -> Result<Vec<OrderEvent>, OrderRefusal> {
        let was_confirmed = match self.status {
            OrderStatus::Placed => false,
            OrderStatus::Confirmed => true,
            OrderStatus::Cancelling { .. } => return Ok(Vec::new()),
            OrderStatus::Absent => return Err(OrderRefusal::NotFound { order_id }),
            status @ (OrderStatus::Rejected
            | OrderStatus::Cancelled
            | OrderStatus::Shipped
            | OrderStatus::Delivered) => return Err(OrderRefusal::CannotBeCancelled { order_id, status }),
        };
        Ok(vec![OrderCancellationRequested { order_id, reason, was_confirmed }.into()])
    }

    fn confirm(&self, order_id: OrderId) -> Result<Vec<OrderEvent>, OrderRefusal> {
        match self.status {
            OrderStatus::Placed => Ok(self.confirmation().map(OrderEvent::from).into_iter().collect()),
            // The cancellation came first; the authorisation is being voided.
            OrderStatus::Cancelling { .. }
            | OrderStatus::Cancelled
            | OrderStatus::Rejected
            | OrderStatus::Confirmed
            | OrderStatus::Shipped
            | OrderStatus::Delivered => Ok(Vec::new()),
            OrderStatus::Absent => Err(OrderRefusal::NotFound { order_id }),
        }
    }

    fn reject(&self, order_id: OrderId, shortages: Vec<Shortage>) -> Result<Vec<OrderEvent>, OrderRefusal> {
        match self.status {
            OrderStatus::Placed => {
                Ok(vec![OrderRejected { order_id, reason: RejectionReason::OutOfStock { shortages } }.into()])
            }
            // Nothing was reserved, so nothing was charged: the order is cancelled.
            OrderStatus::Cancelling { .. } => Ok(vec![self.cancelled(order_id)]),
            OrderStatus::Rejected | OrderStatus::Cancelled => Ok(Vec::new()),
            OrderStatus::Absent | OrderStatus::Confirmed | OrderStatus::Shipped | OrderStatus::Delivered => {
                Err(self.invalid_transition(order_id, "a refused reservation"))
            }
        }
    }

    fn compensation_done(
        &self,
        order_id: OrderId,
        cause: ReleaseCause,
    ) -> Result<Vec<OrderEvent>, OrderRefusal> {
        match (self.status, cause) {
            (OrderStatus::Cancelling { .. }, _) => Ok(vec![self.cancelled(order_id)]),
            (OrderStatus::Placed, ReleaseCause::PaymentDeclined { decline_code }) => {
                let reason = RejectionReason::PaymentDeclined { decline_code };
                Ok(vec![OrderRejected { order_id, reason }.into()])
            }
            (OrderStatus::Placed, ReleaseCause::PaymentExpired) => {
                Ok(vec![OrderRejected { order_id, reason: RejectionReason::PaymentExpired }.into()])
            }
            (OrderStatus::Rejected | OrderStatus::Cancelled, _) => Ok(Vec::new()),
            (
                OrderStatus::Absent
                | OrderStatus::Placed
                | OrderStatus::Confirmed
                | OrderStatus::Shipped
                | OrderStatus::Delivered,
                _,
            ) => Err(self.invalid_transition(order_id, "a released reservation")),
        }
    }

    fn ship(
        &self,
        order_id: OrderId,
        carrier: String,
        tracking: String,
    ) -> Result<Vec<OrderEvent>, OrderRefusal> {
        let shipped = OrderShipped { order_id, carrier, tracking }.into();
        match self.status {
            OrderStatus::Confirmed => Ok(vec![shipped]),
            // The goods were dispatched before the cancellation reached the shipment.
            OrderStatus::Cancelling { was_confirmed: true } => {
                Ok(vec![OrderCancellationRefused { order_id }.into(), shipped])
            }
            OrderStatus::Shipped | OrderStatus::Delivered => Ok(Vec::new()),
            OrderStatus::Absent
            | OrderStatus::Placed
            | OrderStatus::Cancelling { was_confirmed: false }
            | OrderStatus::Rejected
            | OrderStatus::Cancelled => Err(self.invalid_transition(order_id, "a dispatched shipment")),
        }
    }

    fn deliver(&self, order_id: OrderId) -> Result<Vec<OrderEvent>, OrderRefusal> {
        match self.status {
            OrderStatus::Shipped => Ok(vec![OrderDelivered { order_id }.into()]),
            OrderStatus::Delivered => Ok(Vec::new()),
            OrderStatus::Absent
            | OrderStatus::Placed
            | OrderStatus::Confirmed
            | OrderStatus::Cancelling { .. }
            | OrderStatus::Rejected
            | OrderStatus::Cancelled => Err(self.invalid_transition(order_id, "a delivered shipment")),
        }
    }
}

/// The total of the lines in minor units.
fn total_minor(lines: &[OrderLine], currency: Currency) -> Result<i64, OrderRefusal> {
    let mut total = Money::zero(currency);
    for (index, line) in lines.iter().enumerate() {
        let refusal = OrderRefusal::NegativePrice { line: index, given: line.unit_price_minor };
        let price = Money::new(line.unit_price_minor, currency).map_err(|_| refusal)?;
        let line_total =
            price.checked_mul(line.quantity).map_err(|_| OrderRefusal::LineTotalTooLarge { line: index })?;
        total = total.checked_add(line_total).map_err(|_| OrderRefusal::TotalTooLarge)?;
    }
    Ok(total.amount_minor())
}

impl State for Order {
    type Event = OrderEvent;

    const CATEGORY: &'static str = "order";

    fn evolve(self, event: &OrderEvent) -> Self {
        match event {
            OrderEvent::OrderPlaced(event) => {
                Self { status: OrderStatus::Placed, placed: Some(event.clone()), cancellation_reason: None }
            }
            OrderEvent::OrderConfirmed(_) => Self { status: OrderStatus::Confirmed, ..self },
            OrderEvent::OrderRejected(_) => Self { status: OrderStatus::Rejected, ..self },
            OrderEvent::OrderCancellationRequested(event) => Self {
                status: OrderStatus::Cancelling { was_confirmed: event.was_confirmed },
                cancellation_reason: Some(event.reason.clone()),
                ..self
            },
            OrderEvent::OrderCancellationRefused(_) => Self { status: OrderStatus::Confirmed, ..self },
            OrderEvent::OrderCancelled(_) => Self { status: OrderStatus::Cancelled, ..self },
            OrderEvent::OrderShipped(_) => Self { status: OrderStatus::Shipped, ..self },
            OrderEvent::OrderDelivered(_) => Self { status: OrderStatus::Delivered, ..self },
        }
    }
}

impl Aggregate for Order {
    type Command = OrderCommand;
    type Refusal = OrderRefusal;

    fn stream(command: &OrderCommand) -> StreamId {
        let (OrderCommand::PlaceOrder { order_id, .. }
        | OrderCommand::CancelOrder { order_id, .. }
        | OrderCommand::ConfirmOrder { order_id }
        | OrderCommand::RejectOrder { order_id, .. }
        | OrderCommand::CompensationDone { order_id, .. }
        | OrderCommand::ShipOrder { order_id, .. }
        | OrderCommand::DeliverOrder { order_id }) = command;
        events::orders::stream(*order_id)
    }

    fn decide(&self, command: &OrderCommand) -> Result<Vec<OrderEvent>, OrderRefusal> {
        match command.clone() {
            OrderCommand::PlaceOrder {
                order_id,
                customer_id,
                currency,
                lines,
                shipping_address,
                placed_at,
            } => {
                if self.status != OrderStatus::Absent {
                    return Err(OrderRefusal::AlreadyPlaced { order_id });
                }
                if lines.is_empty() || lines.len() > MAX_ORDER_LINES {
                    return Err(OrderRefusal::LineCount { given: lines.len(), max: MAX_ORDER_LINES });
                }
                shipping_address.check().map_err(|cause| OrderRefusal::ShippingAddress { cause })?;
                per_sku(&lines).map_err(|cause| OrderRefusal::TooManyPieces { cause })?;
                let total_minor = total_minor(&lines, currency)?;
                Ok(vec![
                    OrderPlaced {
                        order_id,
                        customer_id,
                        currency,
                        lines,
                        total_minor,
                        shipping_address,
                        placed_at,
                    }
                    .into(),
                ])
            }
            OrderCommand::CancelOrder { order_id, reason } => self.cancel(order_id, reason),
            OrderCommand::ConfirmOrder { order_id } => self.confirm(order_id),
            OrderCommand::RejectOrder { order_id, shortages } => self.reject(order_id, shortages),
            OrderCommand::CompensationDone { order_id, cause } => self.compensation_done(order_id, cause),
            OrderCommand::ShipOrder { order_id, carrier, tracking } => self.ship(order_id, carrier, tracking),
            OrderCommand::DeliverOrder { order_id } => self.deliver(order_id),
        }
    }
}
