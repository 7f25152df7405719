//! `stock`: the stock invariant at every version of every SKU; reservations and stock items agree.
//!
//! Stock items and reservations are sorted by different keys, so they are compared by checksums: each quantity that a stock
//! item says was reserved, released or shipped for an order adds a number made of order, SKU, quantity and kind, and so does
//! each item of a reservation. Memory holds no map over all SKUs or orders.

use std::hash::{DefaultHasher, Hash, Hasher};

use events::{Context, Event, OrderId, ReservationEvent, SkuQuantity, StockEvent};
use verify_log::log::{self, VersionCheck};
use verify_log::{Consumer, Error, Line, Log, Property, ReadModels, Report, Snapshot, Violation, compare};

use crate::check::read_model_stock::TABLE;
use crate::fold::stock::Pieces;
use crate::{LoggedEvent, Streams};

pub static PROPERTY: Property = Property::new(
    "stock",
    "received = available + reserved + shipped, none below 0, at every version of every SKU; the quantities of the reservations \
     are those of the stock items",
);

/// The category of the streams of stock items, whose key is the SKU.
pub const CATEGORY: &str = "stock";

/// What was done with a quantity for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Reserved,
    Released,
    Shipped,
}

/// Two checksums are equal when the same was added to both, in whatever order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checksum {
    entries: u64,
    low: u64,
    high: u64,
}

impl Checksum {
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
    pub fn add_reservation(&mut self, logged: &LoggedEvent) {
        let Ok(Event::Reservation(event)) = &logged.fact else { return };
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

/// Checks the stock items and the table `stock`. Returns what the stock items say about reservations.
///
/// # Errors
/// [`Error`] when a database fails.
pub async fn check_stock(
    log: &Log,
    read_models: &ReadModels,
    report: &mut Report,
) -> Result<Checksum, Error> {
    let mut streams = Streams::of_category(log, CATEGORY).await?;
    let mut rows = TABLE.open(&read_models.snapshot).await?;
    let (consumer, mut sum) = (read_models.of(TABLE.consumer), Checksum::default());
    let mut versions = VersionCheck::default();
    while let Some(sku) = [streams.peek(), rows.peek()].into_iter().flatten().min().map(str::to_owned) {
        let mut item = Item::default();
        while streams.peek() == Some(&sku) {
            if let Some(logged) = streams.pop().await? {
                versions.check(&logged, report.line(&log::PROPERTY));
                item.check(&logged, &sku, &consumer, &mut sum, report.line(&PROPERTY));
            }
        }
        let row = rows.take(&sku).await?;
        let wanted = item.applied.map(|(version, position)| item.shown.row(&sku, version, position));
        compare(report.line(TABLE.property), &TABLE, &sku, row.first(), wanted.as_ref());
        report.line(&PROPERTY).count("skus", u64::from(item.versions > 0));
        report.line(&PROPERTY).count("versions", item.versions);
    }
    Ok(sum)
}

/// One SKU, event by event.
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
    fn check(
        &mut self,
        LoggedEvent { event, fact }: &LoggedEvent,
        sku: &str,
        consumer: &Consumer,
        sum: &mut Checksum,
        line: &mut Line,
    ) {
        let Ok(Event::StockItem(stock)) = fact else { return };
        self.versions += 1;
        self.pieces.fold(stock);
        sum.add_stock(stock);
        if let Some(pieces) = self.pieces.broken() {
            let violation = event.violation("the stock invariant is broken").at("sku", sku).given(pieces);
            line.add_violation(violation.wanted("received = available + reserved + shipped, none below 0"));
        }
        if consumer.has_handled(event.context, event.partition, &event.stream, event.position) {
            self.shown.fold(stock);
            self.applied = Some((event.version, event.position));
        }
    }
}

/// Stock items and reservations must agree. Only where they do not, the first difference is searched for.
///
/// # Errors
/// [`Error`] when the database fails.
pub async fn check_reservations(
    log: &Snapshot,
    items: Checksum,
    reservations: Checksum,
    line: &mut Line,
) -> Result<(), Error> {
    line.count("pieces of reservations", reservations.entries);
    // A reservation that is released twice adds the same to both checksums.
    if let Some(row) = log.query(FIRST_ENDED_TWICE, &[]).await?.first() {
        let (stream, position, first): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let violation = Violation::new("a reservation that ended twice").in_context(Context::Inventory);
        line.add_violation(
            violation.at("stream", stream).at("position", position).at("first position", first),
        );
    }
    if items == reservations {
        return Ok(());
    }
    let violation =
        Violation::new("reservations and stock items do not agree").in_context(Context::Inventory);
    let rows = log.query(FIRST_DISAGREEMENT, &[]).await?;
    line.add_violation(match rows.first() {
        None => violation.given(format!("{reservations:?}")).wanted(format!("{items:?}")),
        Some(row) => {
            let (order, sku, kind): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            let pieces = |index| row.get::<_, Option<String>>(index).unwrap_or("nothing".to_owned());
            let violation = violation.at("order", order).at("sku", sku).at("kind", kind);
            violation.given(format!("item: {}", pieces(3))).wanted(format!("reservation: {}", pieces(4)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{ORDER_ID, logged};

    fn check(fixtures: &[&str]) -> (Checksum, Line) {
        let (mut item, mut sum, mut line) = (Item::default(), Checksum::default(), Line::default());
        for (version, fixture) in (1..).zip(fixtures) {
            let event = logged(Context::Inventory, version, &format!("{fixture}.v1"));
            item.check(&event, "85123A", &Consumer::default(), &mut sum, &mut line);
        }
        (sum, line)
    }

    #[test]
    fn a_version_with_a_number_below_0_breaks_the_invariant() {
        assert_eq!(check(&["SkuRegistered", "StockReceived", "StockReserved", "StockShipped"]).1.first, None);
        let violation = check(&["SkuRegistered", "StockReserved"]).1.first.expect("a violation").to_string();
        assert!(violation.starts_with("the stock invariant is broken at context inventory"), "{violation}");
        assert!(violation.contains("available -6"), "{violation}");
    }

    #[test]
    fn checksums_do_not_depend_on_the_order_but_on_the_quantity() {
        let (order_id, mut a, mut b) =
            (ORDER_ID.parse::<OrderId>().expect("an id"), Checksum::default(), Checksum::default());
        for (sku, pieces) in [("cup", 2), ("pot", 1)] {
            a.add(Kind::Reserved, order_id, sku, pieces);
        }
        for (sku, pieces) in [("pot", 1), ("cup", 2)] {
            b.add(Kind::Reserved, order_id, sku, pieces);
        }
        assert_eq!(a, b);
        a.add(Kind::Released, order_id, "cup", 2);
        b.add(Kind::Released, order_id, "cup", 1);
        assert_ne!(a, b);
    }

    #[test]
    fn a_reservation_adds_what_its_stock_items_add() {
        let mut reservation = Checksum::default();
        reservation.add_reservation(&logged(Context::Inventory, 1, "ReservationMade.v1"));
        let (item, _) = check(&["StockReserved"]);
        assert_eq!(
            (reservation.entries, item.entries),
            (2, 1),
            "the fixture has two items, one of them this SKU's"
        );
    }
}
