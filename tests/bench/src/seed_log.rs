//! Seeds a long log of orders: four events for each order, with the events of other orders between them. One INSERT
//! writes the events, without the function `append` but with the positions and versions that it would have given.
//!
//! Never: a log that holds other events, or that another process writes to.

use events::Context;
use query_side::CONSUMER;

use crate::database::Database;
use crate::environment::Environment;

/// The events of so many orders are interleaved: an order's next event is this many positions later.
const ORDERS_INTERLEAVED: u64 = 10_000;
const EVENTS_PER_ORDER: u64 = 4;
/// Each places an order in turn, one order a second.
const CUSTOMERS: u64 = 5_000;

/// The position, order, version and order id of each event from $1 to $2.
const ROWS: &str = "
    SELECT p AS position, o.number, o.version,
           ('018f2f3a-7c1e-7000-8000-' || lpad(to_hex(o.number), 12, '0')) AS order_id
      FROM generate_series($1::bigint, $2::bigint) p,
   LATERAL (SELECT (p - 1) / (4 * $3::bigint) * $3 + (p - 1) % $3 AS number,
                   ((p - 1) % (4 * $3) / $3 + 1)::integer AS version) o";

const PAYLOADS: [&str; 4] = [
    r#"{"order_id":"ORDER","customer_id":"customer-CUSTOMER","currency":"GBP","lines":[{"sku":"WHITE-HANGING-HEART-T-LIGHT-HOLDER","quantity":2,"unit_price_minor":1295},{"sku":"CREAM-CUPID-HEARTS-COAT-HANGER","quantity":2,"unit_price_minor":1295}],"total_minor":5180,"shipping_address":"Mrs A. Customer, 12 Long Lane, Upper Somewhere, United Kingdom","placed_at":"MOMENT"}"#,
    r#"{"order_id":"ORDER","customer_id":"customer-CUSTOMER","total":{"amount_minor":5180,"currency":"GBP"},"items":[{"sku":"WHITE-HANGING-HEART-T-LIGHT-HOLDER","quantity":2},{"sku":"CREAM-CUPID-HEARTS-COAT-HANGER","quantity":2}],"shipping_address":"Mrs A. Customer, 12 Long Lane, Upper Somewhere, United Kingdom","placed_at":"MOMENT"}"#,
    r#"{"order_id":"ORDER","carrier":"Royal Mail","tracking":"RM-0123456789"}"#,
    r#"{"order_id":"ORDER"}"#,
];

/// A log of orders with `events` events, and the read models' checkpoints at its head. Seeded once in a run.
///
/// # Errors
/// When the server refuses.
pub async fn seeded_log(environment: &mut Environment, events: u64) -> anyhow::Result<Database> {
    if let Some(seeded) = environment.logs.get(&events) {
        return Ok(seeded.clone());
    }
    let database = Database::fresh(&format!("log_{events}")).await?;
    seed(&database, events).await?;
    environment.logs.insert(events, database.clone());
    Ok(database)
}

async fn seed(database: &Database, events: u64) -> anyhow::Result<()> {
    let admin = database.admin().await?;
    let insert = format!(
        "INSERT INTO orders.events (position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at)
         SELECT r.position, 'order-' || r.order_id, r.version,
                ('018f2f3b-0000-7000-8000-' || lpad(to_hex(r.position), 12, '0'))::uuid,
                (ARRAY['OrderPlaced', 'OrderConfirmed', 'OrderShipped', 'OrderDelivered'])[r.version], 1,
                replace(replace(replace(($4::text[])[r.version], 'ORDER', r.order_id), 'CUSTOMER', (r.number % {CUSTOMERS})::text),
                        'MOMENT', to_char(timestamp '2010-12-01' + r.number * interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))::json,
                ('{{\"correlation_id\":\"' || r.order_id || '\",\"actor\":\"bench\"}}')::json,
                clock_timestamp()
           FROM ({ROWS}) r ORDER BY r.position"
    );
    let payloads: Vec<&str> = PAYLOADS.to_vec();
    let mixed = ORDERS_INTERLEAVED.min(events.div_ceil(EVENTS_PER_ORDER)).max(1);
    let mut done = 0;
    while done < events {
        let next = (done + mixed * EVENTS_PER_ORDER).min(events);
        let (first, last) = (i64::try_from(done)? + 1, i64::try_from(next)?);
        admin.execute(&insert, &[&first, &last, &i64::try_from(mixed)?, &payloads]).await?;
        done = next;
    }
    // The disk writes of the seeding end before anything is measured.
    admin.batch_execute("VACUUM (ANALYZE) orders.events").await?;
    admin.batch_execute("CHECKPOINT").await?;
    set_checkpoints_to_head(database).await
}

/// Sets the read models' checkpoints to the head: a replay rebuilds up to there.
///
/// # Errors
/// When the server refuses.
pub async fn set_checkpoints_to_head(database: &Database) -> anyhow::Result<()> {
    let admin = database.admin().await?;
    admin
        .execute(
            "INSERT INTO readmodel.checkpoints (consumer, topic, partition, next_offset, last_position)
             SELECT $1, $2, p, h.head, h.head FROM generate_series(0, 11) p,
                    (SELECT coalesce(max(position), 0) AS head FROM orders.events) h
             ON CONFLICT (consumer, topic, partition) DO UPDATE SET last_position = excluded.last_position",
            &[&CONSUMER, &Context::Orders.topic()],
        )
        .await?;
    Ok(())
}
