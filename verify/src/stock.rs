//! SKU by SKU: the law of stock at every version, the table `stock`, and the reservations against the stock items.
//!
//! Stock items and reservations are sorted by different keys, so they are held against each other by sums: each piece
//! that an item says was reserved, released or shipped for an order adds a number made of order, SKU, pieces and kind, and
//! so does each item of a reservation. Never: a map over all SKUs or all orders. Read next: `fold/stock.rs`.

use std::hash::{DefaultHasher, Hash, Hasher};

use events::{Context, Event, OrderId, ReservationEvent, SkuQuantity, StockEvent};

use crate::Error;
use crate::compare::hold;
use crate::database::Snapshot;
use crate::fold::stock::{Pieces, TABLE};
use crate::orders::open_table;
use crate::reach::{Consumer, Reach};
use crate::report::{Offence, Property, Report};
use crate::streams::{Streams, Told};

/// What was done with pieces for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Reserved,
    Released,
    Shipped,
}

/// Two sums that are equal when the same was added to both, in whatever order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    entries: u64,
    low: u64,
    high: u64,
}

impl Sum {
    fn add(&mut self, kind: Kind, order_id: OrderId, sku: &str, pieces: i64) {
        let number = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            (salt, kind, order_id, sku, pieces).hash(&mut hasher);
            hasher.finish()
        };
        self.entries += 1;
        self.low = self.low.wrapping_add(number(1));
        self.high = self.high.wrapping_add(number(2));
    }

    /// What a reservation says about its items.
    pub fn add_reservation(&mut self, told: &Told) {
        let Some(Event::Reservation(event)) = &told.fact else { return };
        let (kind, order_id, items): (_, _, &[SkuQuantity]) = match event {
            ReservationEvent::ReservationMade(event) => (Kind::Reserved, event.order_id, &event.items),
            ReservationEvent::ReservationReleased(event) => (Kind::Released, event.order_id, &event.items),
            ReservationEvent::ReservationCommitted(event) => (Kind::Shipped, event.order_id, &event.items),
            ReservationEvent::ReservationRefused(_) => return,
        };
        for item in items {
            self.add(kind, order_id, item.sku.as_str(), item.quantity.get());
        }
    }

    fn add_stock(&mut self, event: &StockEvent) {
        match event {
            StockEvent::StockReserved(event) => {
                self.add(Kind::Reserved, event.order_id, event.sku.as_str(), event.quantity.get());
            }
            StockEvent::StockReleased(event) => {
                self.add(Kind::Released, event.order_id, event.sku.as_str(), event.quantity.get());
            }
            StockEvent::StockShipped(event) => {
                self.add(Kind::Shipped, event.order_id, event.sku.as_str(), event.quantity.get());
            }
            StockEvent::SkuRegistered(_) | StockEvent::StockReceived(_) | StockEvent::StockAdjusted(_) => {}
        }
    }
}

/// Holds everything about stock but the reservations; returns what the stock items say about these.
///
/// # Errors
/// [`Error`] when a database fails.
pub async fn hold_stock(
    log: &Snapshot,
    read_model: &Snapshot,
    reach: &Reach,
    report: &mut Report,
) -> Result<Sum, Error> {
    let mut streams = Streams::open(log, Context::Inventory, "stock").await?;
    let mut rows = open_table(read_model, TABLE).await?;
    let (consumer, mut sum) = (reach.of_projection(TABLE.consumer), Sum::default());
    while let Some(sku) = [streams.peek(), rows.peek()].into_iter().flatten().min().map(str::to_owned) {
        let mut item = Item::default();
        while streams.peek() == Some(&sku) {
            if let Some(told) = streams.pop(report).await? {
                item.hear(&told, &sku, &consumer, &mut sum, report);
            }
        }
        let row = rows.take(&sku).await?;
        let wanted = item.applied.map(|(version, position)| item.shown.row(&sku, version, position));
        hold(report.line(TABLE.property), TABLE, &sku, row.first(), wanted.as_ref());
        report.line(Property::Stock).count("skus", u64::from(item.versions > 0));
        report.line(Property::Stock).count("versions", item.versions);
    }
    Ok(sum)
}

/// One SKU on the way through its events.
#[derive(Default)]
struct Item {
    /// By every event so far.
    pieces: Pieces,
    /// By the events that the table's consumer has applied, and the last of these.
    shown: Pieces,
    applied: Option<(i32, i64)>,
    versions: u64,
}

impl Item {
    fn hear(&mut self, told: &Told, sku: &str, consumer: &Consumer, sum: &mut Sum, report: &mut Report) {
        let Some(Event::StockItem(event)) = &told.fact else { return };
        self.versions += 1;
        self.pieces.fold(event);
        sum.add_stock(event);
        if let Some(pieces) = self.pieces.unlawful() {
            let offence = told.event.accuse(Context::Inventory, Offence::new("the law of stock is broken"));
            let law = "received = available + reserved + shipped, none below 0";
            report.line(Property::Stock).offend(offence.at("sku", sku).given(pieces).wanted(law));
        }
        let (stream, position) = (&told.event.stream, told.event.position);
        if consumer.has_handled(Context::Inventory, told.partition, stream, position) {
            self.shown.fold(event);
            self.applied = Some((told.event.version, position));
        }
    }
}

/// Stock items and reservations must tell the same; where they do not, the first that differs is looked for.
///
/// # Errors
/// [`Error`] when the database fails.
pub async fn hold_reservations(
    log: &Snapshot,
    items: Sum,
    reservations: Sum,
    report: &mut Report,
) -> Result<(), Error> {
    let line = report.line(Property::Stock);
    line.count("pieces of reservations", reservations.entries);
    // Both sums have a second release in them, and agree.
    if let Some(row) = log.query(FIRST_ENDED_TWICE, &[]).await?.first() {
        let (stream, position, first): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let offence = Offence::new("a reservation that ended twice").in_context(Context::Inventory);
        line.offend(offence.at("stream", stream).at("position", position).at("first position", first));
    }
    if items == reservations {
        return Ok(());
    }
    let offence = Offence::new("reservations and stock items do not agree").in_context(Context::Inventory);
    let rows = log.query(FIRST_DISAGREEMENT, &[]).await?;
    line.offend(match rows.first() {
        None => offence.given(format!("{reservations:?}")).wanted(format!("{items:?}")),
        Some(row) => {
            let (order, sku, kind): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            let pieces = |index| row.get::<_, Option<String>>(index).unwrap_or("nothing".to_owned());
            let offence = offence.at("order", order).at("sku", sku).at("kind", kind);
            offence.given(format!("item: {}", pieces(3))).wanted(format!("reservation: {}", pieces(4)))
        }
    });
    Ok(())
}

const FIRST_ENDED_TWICE: &str = "
    SELECT stream, max(position), min(position) FROM inventory.events
     WHERE type IN ('ReservationReleased', 'ReservationCommitted')
     GROUP BY stream HAVING count(*) > 1 ORDER BY 2 LIMIT 1";

const FIRST_DISAGREEMENT: &str = "
    WITH items AS (
        SELECT payload->>'order_id' AS order_id, payload->>'sku' AS sku, substr(type, 6) AS kind,
               string_agg(payload->>'quantity', '+' ORDER BY position) AS pieces
          FROM inventory.events WHERE type IN ('StockReserved', 'StockReleased', 'StockShipped') GROUP BY 1, 2, 3
    ), reservations AS (
        SELECT e.payload->>'order_id' AS order_id, i->>'sku' AS sku,
               CASE e.type WHEN 'ReservationMade' THEN 'Reserved' WHEN 'ReservationReleased' THEN 'Released'
                           ELSE 'Shipped' END AS kind,
               string_agg(i->>'quantity', '+' ORDER BY e.position) AS pieces
          FROM inventory.events e, json_array_elements(e.payload->'items') i
         WHERE e.type IN ('ReservationMade', 'ReservationReleased', 'ReservationCommitted') GROUP BY 1, 2, 3
    )
    SELECT order_id, sku, kind, items.pieces, reservations.pieces
      FROM items FULL JOIN reservations USING (order_id, sku, kind)
     WHERE items.pieces IS DISTINCT FROM reservations.pieces ORDER BY 1, 2, 3 LIMIT 1";
