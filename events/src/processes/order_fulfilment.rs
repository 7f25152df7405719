//! The fulfilment of an order, as a table: from the placed order to the delivery, and every way back.
//!
//! There is no coordinator: each context carries out the reactions in its own rows.

use super::Holds::{Money, Stock};
use super::StepOrder::{IfNeeded, InSequence, Parallel};
use super::TakenBy::{Customer, Staff};
use super::Trigger::{Deadline, Event};
use super::WhyFinal::{AppendedWith, End, Unrelated, WaitsForPerson};
use super::{ProcessTable, Reaction, Step, WhyFinal, on, step};
use crate::Context::{Inventory, Orders, Payments, Shipping};
use crate::inventory::{
    ReservationCommitted, ReservationMade, ReservationRefused, ReservationReleased, SkuRegistered,
    StockAdjusted, StockReceived, StockReleased, StockReserved, StockShipped,
};
use crate::orders::{
    OrderCancellationRefused, OrderCancellationRequested, OrderCancelled, OrderConfirmed, OrderDelivered,
    OrderPlaced, OrderRejected, OrderShipped,
};
use crate::payments::{
    PaymentAuthorised, PaymentCaptureRequested, PaymentCaptured, PaymentDeclined, PaymentExpired,
    PaymentRefundRequested, PaymentRefunded, PaymentRequested, PaymentUnknown, PaymentVoidRequested,
    PaymentVoided, PaymentWaived,
};
use crate::shipping::{ShipmentCancelled, ShipmentDelivered, ShipmentDispatched, ShipmentPrepared};

pub static TABLE: ProcessTable = ProcessTable {
    name: "order_fulfilment",
    steps: STEPS,
    reactions: REACTIONS,
    final_events: FINAL_EVENTS,
    entry_events: ENTRY_EVENTS,
};

/// The deadline of a payment that has no outcome; it is set when the payment is requested.
pub const EXPIRE: &str = "expire";

/// The steps: those that an order takes to which nothing happens, in their order; then those of the ways back.
pub static STEPS: &[Step] = &[
    PLACE_ORDER,
    RESERVE_STOCK,
    REQUEST_PAYMENT,
    AUTHORISE_PAYMENT,
    CONFIRM_ORDER,
    PREPARE_SHIPMENT,
    DISPATCH,
    SHIP_ORDER,
    COMMIT_RESERVATION,
    CAPTURE_PAYMENT,
    DELIVER,
    COMPLETE_ORDER,
    REQUEST_CANCELLATION,
    REFUSE_CANCELLATION,
    CANCEL_SHIPMENT,
    UNDO_PAYMENT,
    RELEASE_RESERVATION,
    REJECT_ORDER,
    CANCEL_ORDER,
];

#[rustfmt::skip]
mod rows {
    use super::*;

    //                                    name                    context    order       each of these events ends it
    pub const PLACE_ORDER:          Step = step("place_order",          Orders,    InSequence, &[OrderPlaced::TYPE]).taken_by(Customer);
    pub const RESERVE_STOCK:        Step = step("reserve_stock",        Inventory, InSequence, &[ReservationMade::TYPE, ReservationRefused::TYPE]).holds(Stock, &["release_reservation"]);
    pub const REQUEST_PAYMENT:      Step = step("request_payment",      Payments,  InSequence, &[PaymentRequested::TYPE, PaymentWaived::TYPE]);
    pub const AUTHORISE_PAYMENT:    Step = step("authorise_payment",    Payments,  InSequence, &[PaymentAuthorised::TYPE, PaymentWaived::TYPE, PaymentDeclined::TYPE, PaymentExpired::TYPE])
        .progress(&[PaymentUnknown::TYPE]).holds(Money, &["undo_payment"]).given_up_at(EXPIRE);
    pub const CONFIRM_ORDER:        Step = step("confirm_order",        Orders,    InSequence, &[OrderConfirmed::TYPE]);
    pub const PREPARE_SHIPMENT:     Step = step("prepare_shipment",     Shipping,  InSequence, &[ShipmentPrepared::TYPE]);
    pub const DISPATCH:             Step = step("dispatch",             Shipping,  InSequence, &[ShipmentDispatched::TYPE]).taken_by(Staff);

    pub const SHIP_ORDER:           Step = step("ship_order",           Orders,    Parallel,   &[OrderShipped::TYPE]);
    pub const COMMIT_RESERVATION:   Step = step("commit_reservation",   Inventory, Parallel,   &[ReservationCommitted::TYPE]);
    pub const CAPTURE_PAYMENT:      Step = step("capture_payment",      Payments,  Parallel,   &[PaymentCaptured::TYPE, PaymentWaived::TYPE]).progress(&[PaymentCaptureRequested::TYPE]);
    pub const DELIVER:              Step = step("deliver",              Shipping,  Parallel,   &[ShipmentDelivered::TYPE]).taken_by(Staff);
    pub const COMPLETE_ORDER:       Step = step("complete_order",       Orders,    Parallel,   &[OrderDelivered::TYPE]);

    pub const REQUEST_CANCELLATION: Step = step("request_cancellation", Orders,    IfNeeded,   &[OrderCancellationRequested::TYPE]).taken_by(Customer);
    pub const REFUSE_CANCELLATION:  Step = step("refuse_cancellation",  Orders,    IfNeeded,   &[OrderCancellationRefused::TYPE]);
    pub const CANCEL_SHIPMENT:      Step = step("cancel_shipment",      Shipping,  IfNeeded,   &[ShipmentCancelled::TYPE]);
    pub const UNDO_PAYMENT:         Step = step("undo_payment",         Payments,  IfNeeded,   &[PaymentVoided::TYPE, PaymentRefunded::TYPE, PaymentDeclined::TYPE])
        .progress(&[PaymentVoidRequested::TYPE, PaymentRefundRequested::TYPE]);
    pub const RELEASE_RESERVATION:  Step = step("release_reservation",  Inventory, IfNeeded,   &[ReservationReleased::TYPE, ReservationRefused::TYPE]);
    pub const REJECT_ORDER:         Step = step("reject_order",         Orders,    IfNeeded,   &[OrderRejected::TYPE]);
    pub const CANCEL_ORDER:         Step = step("cancel_order",         Orders,    IfNeeded,   &[OrderCancelled::TYPE]);
}
pub use rows::*;

/// The reactions: the trigger, the context that decides, its command, and every event that may come of it.
#[rustfmt::skip]
pub static REACTIONS: &[Reaction] = &[
    // the way forward
    on(Event(OrderPlaced::TYPE),                Inventory, "Reserve",          RESERVED),
    on(Event(ReservationMade::TYPE),            Payments,  "RequestPayment",   &[PaymentRequested::TYPE, PaymentWaived::TYPE]).sets_deadline(EXPIRE),
    on(Event(PaymentRequested::TYPE),           Payments,  "RecordAnswer",     AUTHORISED).by_outside_call(),
    on(Event(PaymentUnknown::TYPE),             Payments,  "RecordAnswer",     RESOLVED).by_outside_call(),
    on(Event(PaymentAuthorised::TYPE),          Orders,    "ConfirmOrder",     &[OrderConfirmed::TYPE]),
    on(Event(PaymentWaived::TYPE),              Orders,    "ConfirmOrder",     &[OrderConfirmed::TYPE]),
    on(Event(OrderConfirmed::TYPE),             Shipping,  "PrepareShipment",  &[ShipmentPrepared::TYPE]),
    on(Event(ShipmentDispatched::TYPE),         Orders,    "ShipOrder",        &[OrderShipped::TYPE, OrderCancellationRefused::TYPE]),
    on(Event(ShipmentDispatched::TYPE),         Inventory, "Commit",           &[ReservationCommitted::TYPE, StockShipped::TYPE]),
    on(Event(ShipmentDispatched::TYPE),         Payments,  "CapturePayment",   &[PaymentCaptureRequested::TYPE]),
    on(Event(PaymentCaptureRequested::TYPE),    Payments,  "RecordAnswer",     &[PaymentCaptured::TYPE]).by_outside_call(),
    on(Event(ShipmentDelivered::TYPE),          Orders,    "DeliverOrder",     &[OrderDelivered::TYPE]),
    // the ways back
    on(Event(ReservationRefused::TYPE),         Orders,    "RejectOrder",      CLOSED),
    on(Deadline(EXPIRE),                        Payments,  "ExpirePayment",    &[PaymentExpired::TYPE, PaymentVoidRequested::TYPE]),
    on(Event(OrderCancellationRequested::TYPE), Payments,  "CancelPayment",    UNPAID),
    on(Event(OrderCancellationRequested::TYPE), Shipping,  "CancelShipment",   &[ShipmentCancelled::TYPE]),
    on(Event(ShipmentCancelled::TYPE),          Payments,  "CancelPayment",    UNPAID),
    on(Event(PaymentVoidRequested::TYPE),       Payments,  "RecordAnswer",     VOIDED).by_outside_call(),
    on(Event(PaymentRefundRequested::TYPE),     Payments,  "RecordAnswer",     &[PaymentRefunded::TYPE]).by_outside_call(),
    on(Event(PaymentDeclined::TYPE),            Inventory, "Release",          RELEASED),
    on(Event(PaymentExpired::TYPE),             Inventory, "Release",          RELEASED),
    on(Event(PaymentVoided::TYPE),              Inventory, "Release",          RELEASED),
    on(Event(PaymentRefunded::TYPE),            Inventory, "Release",          RELEASED),
    on(Event(ReservationReleased::TYPE),        Orders,    "CompensationDone", CLOSED),
];

const RESERVED: &[&str] = &[ReservationMade::TYPE, StockReserved::TYPE, ReservationRefused::TYPE];
const AUTHORISED: &[&str] =
    &[PaymentAuthorised::TYPE, PaymentCaptured::TYPE, PaymentDeclined::TYPE, PaymentUnknown::TYPE];
const RESOLVED: &[&str] = &[PaymentAuthorised::TYPE, PaymentCaptured::TYPE, PaymentDeclined::TYPE];
const CLOSED: &[&str] = &[OrderRejected::TYPE, OrderCancelled::TYPE];
const UNPAID: &[&str] = &[PaymentVoided::TYPE, PaymentVoidRequested::TYPE, PaymentRefundRequested::TYPE];
const VOIDED: &[&str] = &[PaymentVoided::TYPE, PaymentCaptured::TYPE, PaymentRefundRequested::TYPE];
const RELEASED: &[&str] = &[ReservationReleased::TYPE, StockReleased::TYPE];

/// The events that no context reacts to, and why not.
#[rustfmt::skip]
pub static FINAL_EVENTS: &[(&str, WhyFinal)] = &[
    (OrderRejected::TYPE,            End),
    (OrderCancelled::TYPE,           End),
    (OrderDelivered::TYPE,           End),
    (ReservationCommitted::TYPE,     End),
    (PaymentCaptured::TYPE,          End),
    (ShipmentPrepared::TYPE,         WaitsForPerson("the warehouse dispatches, or the customer cancels")),
    (OrderShipped::TYPE,             WaitsForPerson("the carrier delivers")),
    (OrderCancellationRefused::TYPE, AppendedWith(OrderShipped::TYPE)),
    (StockReserved::TYPE,            AppendedWith(ReservationMade::TYPE)),
    (StockReleased::TYPE,            AppendedWith(ReservationReleased::TYPE)),
    (StockShipped::TYPE,             AppendedWith(ReservationCommitted::TYPE)),
    (SkuRegistered::TYPE,            Unrelated),
    (StockReceived::TYPE,            Unrelated),
    (StockAdjusted::TYPE,            Unrelated),
];

/// The events that a customer, the warehouse or the carrier causes, through the API.
pub static ENTRY_EVENTS: &[&str] =
    &[OrderPlaced::TYPE, OrderCancellationRequested::TYPE, ShipmentDispatched::TYPE, ShipmentDelivered::TYPE];

/// Each of these events proves that the goods have left, so that the order can no longer be cancelled.
pub static GOODS_LEFT: &[&str] = &[
    ShipmentDispatched::TYPE,
    ShipmentDelivered::TYPE,
    OrderCancellationRefused::TYPE,
    OrderShipped::TYPE,
    OrderDelivered::TYPE,
    ReservationCommitted::TYPE,
];
