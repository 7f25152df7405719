//! Strategies for any command: numbers small enough to collide, or extreme.

use domain::inventory::stock_item::STOCK_PIECES_MAX;
use domain::{OrderCommand, PaymentCommand, ReservationCommand, ShipmentCommand, StockCommand};
use events::Sku;
use events::SkuQuantity;
use events::inventory::ReleaseCause;
use events::orders::OrderLine;
use proptest::prelude::*;

use super::reservation::{commit, release, reserve};
use super::{ID, address, item, line, nth_order, orders, payments, pieces, pounds, sku, stock_item};

pub fn any_stock_command() -> impl Strategy<Value = StockCommand> {
    let count = prop_oneof![8 => 1..20_i64, 1 => Just(1_000_000_000)];
    let extreme = prop::sample::select(vec![i64::MIN, i64::MAX, STOCK_PIECES_MAX, -STOCK_PIECES_MAX]);
    let delta = prop_oneof![8 => -20..20_i64, 1 => extreme];
    (count, delta, 0..6).prop_map(|(count, delta, kind)| match kind {
        0 => StockCommand::RegisterSku { sku: sku("cup") },
        1 => stock_item::receive(count),
        2 => stock_item::adjust(delta),
        3 => stock_item::reserve(count),
        4 => stock_item::release(count),
        _ => stock_item::ship(count),
    })
}

#[derive(Debug, Clone)]
pub enum Step {
    Stock(Sku, StockCommand),
    Reservation(ReservationCommand),
}

const SKUS: [&str; 3] = ["cup", "teapot", "plate"];

pub fn any_warehouse_step() -> impl Strategy<Value = Step> {
    let stock =
        (0..SKUS.len(), 1..30_i64, -10..10_i64, any::<bool>()).prop_map(|(index, count, delta, adjust)| {
            let sku = sku(SKUS[index]);
            let quantity = pieces(count);
            let receive = StockCommand::ReceiveStock { sku: sku.clone(), quantity, reference: None };
            let adjusted =
                StockCommand::AdjustStock { sku: sku.clone(), delta, reason: "counted".to_owned() };
            Step::Stock(sku, if adjust { adjusted } else { receive })
        });
    let reservation = (1..8_u128, any_items(), 0..3).prop_map(|(n, items, kind)| {
        let id = nth_order(n);
        Step::Reservation(match kind {
            0 => reserve(id, items),
            1 => release(id, ReleaseCause::PaymentExpired),
            _ => commit(id),
        })
    });
    prop_oneof![1 => stock, 3 => reservation]
}

fn any_items() -> impl Strategy<Value = Vec<SkuQuantity>> {
    let indexes = prop::sample::subsequence(vec![0, 1, 2], 1..=3);
    (indexes, 1..10_i64).prop_map(|(indexes, count)| {
        indexes.into_iter().map(|index: usize| item(SKUS[index], count)).collect()
    })
}

pub fn any_order_command() -> impl Strategy<Value = OrderCommand> {
    let price = prop_oneof![4 => 0..5000_i64, 1 => any::<i64>(), 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let count = prop_oneof![4 => 1..50_i64, 1 => Just(1_000_000_000)];
    let lines = prop::collection::vec((count, price), 0..4).prop_map(|lines| {
        lines.into_iter().map(|(count, price)| line("cup", count, price)).collect::<Vec<OrderLine>>()
    });
    (lines, prop::sample::select(orders::every_cause().to_vec()), 0..9).prop_map(|(lines, cause, kind)| {
        match kind {
            0 => orders::place(lines),
            1 | 2 => orders::place(vec![line("cup", 6, 300)]),
            3 => orders::cancel(),
            4 => OrderCommand::ConfirmOrder { order_id: ID },
            5 => orders::reject(),
            6 => orders::released(cause),
            7 => orders::ship(),
            _ => OrderCommand::DeliverOrder { order_id: ID },
        }
    })
}

pub fn any_payment_command() -> impl Strategy<Value = PaymentCommand> {
    let answer = prop::sample::select(payments::every_answer().to_vec());
    (answer, 0..8).prop_map(|(answer, kind)| match kind {
        0 | 1 => payments::request(pounds(1800)),
        2 => payments::expire(),
        3 => payments::cancel(),
        4 => payments::capture(),
        _ => payments::provider_says(answer),
    })
}

pub fn any_shipment_command() -> impl Strategy<Value = ShipmentCommand> {
    (0..4).prop_map(|kind| match kind {
        0 => ShipmentCommand::PrepareShipment {
            shipment_id: ID,
            items: vec![item("cup", 6)],
            shipping_address: address(),
        },
        1 => ShipmentCommand::DispatchShipment {
            shipment_id: ID,
            carrier: "owl".to_owned(),
            tracking: "T-1".to_owned(),
        },
        2 => ShipmentCommand::DeliverShipment { shipment_id: ID },
        _ => ShipmentCommand::CancelShipment { shipment_id: ID },
    })
}
