//! The stock that the orders need, received before the first order is sent. Invalid orders need none.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use futures::{StreamExt, TryStreamExt};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::json;
use uuid::Uuid;

use super::client::ApiClient;
use super::invoices::Invoice;
use super::orders::{id_of, reason};
use super::progress::Stage;

/// One receipt of pieces of a SKU.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    sku: String,
    quantity: i64,
    key: Uuid,
}

/// The stock that was received.
#[derive(Debug)]
pub struct Received {
    pub skus: usize,
    pub pieces: i64,
}

/// The receipts for the demand of the valid orders times `cover`, rounded up, so that a cover of 1 always suffices.
///
/// # Errors
/// When the demand of a SKU exceeds 63 bits.
pub fn receipts(invoices: &[Invoice], cover: Decimal, run: &str) -> anyhow::Result<Vec<Receipt>> {
    let mut demand = BTreeMap::<&str, Decimal>::new();
    for line in invoices.iter().filter(|invoice| invoice.is_valid()).flat_map(|invoice| &invoice.lines) {
        *demand.entry(&line.sku).or_default() += Decimal::from(line.quantity);
    }
    let mut receipts = Vec::new();
    for (sku, pieces) in demand {
        let mut remaining = pieces
            .checked_mul(cover)
            .and_then(|pieces| pieces.ceil().to_i64())
            .with_context(|| format!("the demand for {sku} is too large"))?;
        for part in 0.. {
            let quantity = remaining.min(events::Quantity::MAX);
            if quantity == 0 {
                break;
            }
            remaining -= quantity;
            let key = id_of(run, "stock", &format!("{sku}\n{part}"));
            receipts.push(Receipt { sku: sku.to_owned(), quantity, key });
        }
    }
    Ok(receipts)
}

/// Sends all receipts.
///
/// # Errors
/// When the server refuses one or does not respond: without the stock the load would be meaningless.
pub async fn receive(
    client: &ApiClient,
    receipts: &[Receipt],
    run: &str,
    concurrency: usize,
    bar: &Stage,
) -> anyhow::Result<Received> {
    futures::stream::iter(receipts)
        .map(|receipt| async {
            receive_one(client, receipt, run)
                .await
                .with_context(|| format!("receiving stock of {}", receipt.sku))?;
            bar.step();
            anyhow::Ok(())
        })
        .buffer_unordered(concurrency)
        .try_collect::<()>()
        .await?;
    let skus: BTreeSet<&str> = receipts.iter().map(|receipt| receipt.sku.as_str()).collect();
    Ok(Received { skus: skus.len(), pieces: receipts.iter().map(|receipt| receipt.quantity).sum() })
}

async fn receive_one(client: &ApiClient, receipt: &Receipt, run: &str) -> anyhow::Result<()> {
    let path = format!("/v1/stock/{}/receive", utf8_percent_encode(&receipt.sku, NON_ALPHANUMERIC));
    let body = json!({"quantity": receipt.quantity, "reference": format!("load {}", run)});
    let response = client.post(&path, receipt.key, body.to_string()).await?;
    if response.status.is_success() {
        return Ok(());
    }
    if response.body["code"] == "idempotency_key_reused" {
        bail!(
            "the run {run:?} received another quantity before: repeat it with the same file, --stock-cover and --limit-orders, \
             or start a new run with --run <name>"
        );
    }
    bail!("{} {}", response.status.as_u16(), reason(&response.body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::load::invoices::Line;

    fn invoice(lines: &[(&str, i64, i64)]) -> Invoice {
        Invoice {
            number: "1".to_owned(),
            customer_id: "guest".to_owned(),
            placed_at: chrono::DateTime::UNIX_EPOCH,
            country: "EIRE".to_owned(),
            lines: lines
                .iter()
                .map(|(sku, quantity, price)| Line {
                    sku: (*sku).to_owned(),
                    quantity: *quantity,
                    unit_price_minor: Decimal::from(*price),
                })
                .collect(),
        }
    }

    fn received(invoices: &[Invoice], cover: &str) -> Vec<(String, i64)> {
        let receipts = receipts(invoices, cover.parse().expect("a decimal"), "first").expect("countable");
        receipts.into_iter().map(|receipt| (receipt.sku, receipt.quantity)).collect()
    }

    #[test]
    fn the_demand_of_all_valid_orders_is_received_per_sku() {
        let invoices = [invoice(&[("a", 2, 100), ("b", 1, 0), ("a", 3, 90)]), invoice(&[("a", 1, 100)])];
        assert_eq!(received(&invoices, "1.0"), [("a".to_owned(), 6), ("b".to_owned(), 1)]);
    }

    #[test]
    fn an_invalid_order_needs_no_stock() {
        let invoices = [invoice(&[("a", 2, 100), ("b", -1, 100)]), invoice(&[("c", 1, -1)])];
        assert_eq!(received(&invoices, "1.0"), []);
    }

    #[test]
    fn a_fraction_of_a_piece_is_rounded_up() {
        assert_eq!(
            received(&[invoice(&[("a", 11, 1), ("b", 1, 1)])], "0.8"),
            [("a".to_owned(), 9), ("b".to_owned(), 1)]
        );
    }

    #[test]
    fn a_cover_of_zero_receives_nothing() {
        assert_eq!(received(&[invoice(&[("a", 11, 1)])], "0"), []);
    }

    #[test]
    fn a_quantity_above_the_limit_of_a_receipt_is_split_into_several_with_different_keys() {
        let invoices = [invoice(&[("a", 1_000_000_000, 1)]), invoice(&[("a", 5, 1)])];
        let receipts = receipts(&invoices, Decimal::ONE, "first").expect("countable");
        let quantities: Vec<_> = receipts.iter().map(|receipt| receipt.quantity).collect();
        assert_eq!(quantities, [1_000_000_000, 5]);
        assert_ne!(receipts[0].key, receipts[1].key);
    }
}
