//! An idle platform with a long history: the four logs, the topics, the idempotency keys, the provider's ledger, the
//! checkpoints and the read models of orders that were placed, paid for, shipped and delivered. One INSERT for each log
//! writes the events, without the function `append` but with the positions and versions that it would have given; the
//! relay publishes them, and a replay builds the read models.
//!
//! Never: a database that another process writes to.

use std::time::{Duration, Instant};

use anyhow::ensure;
use events::{Context, TOPIC_PARTITIONS, partition_of};
use futures::TryStreamExt as _;
use query_side::{CONSUMER, READ_MODEL};
use tokio_postgres::Client;

use crate::database::Database;
use crate::role::{Role, binary};

use crate::tail::topic_prefix;
use crate::tool;

/// A database, and the topics that belong to it.
pub struct History {
    pub database: Database,
    pub topic_prefix: String,
    pub events: u64,
}

/// In all four logs.
const EVENTS_PER_ORDER: u64 = 17;
const SKUS: u64 = 500;
/// The events of so many orders are interleaved.
const ORDERS_INTERLEAVED: u64 = 1_000;
const PUBLISH_MAX: Duration = Duration::from_secs(280);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Step of the order, stream, type, payload.
type Step = (u32, &'static str, &'static str, &'static str);

const ORDERS: &[Step] = &[
    (
        1,
        "order-ORDER",
        "OrderPlaced",
        r#"{"order_id":"ORDER","customer_id":"customer-17850","currency":"GBP","lines":[{"sku":"SKU_A","quantity":1,"unit_price_minor":1295},{"sku":"SKU_B","quantity":2,"unit_price_minor":1295}],"total_minor":3885,"shipping_address":"Mrs A. Customer, 12 Long Lane, Upper Somewhere, United Kingdom","placed_at":"2010-12-01T08:26:00Z"}"#,
    ),
    (
        5,
        "order-ORDER",
        "OrderConfirmed",
        r#"{"order_id":"ORDER","customer_id":"customer-17850","total":{"amount_minor":3885,"currency":"GBP"},"items":[{"sku":"SKU_A","quantity":1},{"sku":"SKU_B","quantity":2}],"shipping_address":"Mrs A. Customer, 12 Long Lane, Upper Somewhere, United Kingdom","placed_at":"2010-12-01T08:26:00Z"}"#,
    ),
    (
        8,
        "order-ORDER",
        "OrderShipped",
        r#"{"order_id":"ORDER","carrier":"Royal Mail","tracking":"RM-0123456789"}"#,
    ),
    (12, "order-ORDER", "OrderDelivered", r#"{"order_id":"ORDER"}"#),
];
const INVENTORY: &[Step] = &[
    (2, "stock-SKU_A", "StockReserved", r#"{"sku":"SKU_A","order_id":"ORDER","quantity":1}"#),
    (2, "stock-SKU_B", "StockReserved", r#"{"sku":"SKU_B","order_id":"ORDER","quantity":2}"#),
    (
        2,
        "reservation-ORDER",
        "ReservationMade",
        r#"{"order_id":"ORDER","items":[{"sku":"SKU_A","quantity":1},{"sku":"SKU_B","quantity":2}],"customer_id":"customer-17850","amount_due":{"amount_minor":3885,"currency":"GBP"}}"#,
    ),
    (8, "stock-SKU_A", "StockShipped", r#"{"sku":"SKU_A","order_id":"ORDER","quantity":1}"#),
    (8, "stock-SKU_B", "StockShipped", r#"{"sku":"SKU_B","order_id":"ORDER","quantity":2}"#),
    (
        8,
        "reservation-ORDER",
        "ReservationCommitted",
        r#"{"order_id":"ORDER","items":[{"sku":"SKU_A","quantity":1},{"sku":"SKU_B","quantity":2}]}"#,
    ),
];
const PAYMENTS: &[Step] = &[
    (
        3,
        "payment-ORDER",
        "PaymentRequested",
        r#"{"order_id":"ORDER","customer_id":"customer-17850","amount":{"amount_minor":3885,"currency":"GBP"},"expires_at":"2010-12-01T08:41:00Z"}"#,
    ),
    (4, "payment-ORDER", "PaymentAuthorised", r#"{"order_id":"ORDER","provider_reference":"auth-ORDER"}"#),
    (
        9,
        "payment-ORDER",
        "PaymentCaptureRequested",
        r#"{"order_id":"ORDER","amount":{"amount_minor":3885,"currency":"GBP"}}"#,
    ),
    (
        10,
        "payment-ORDER",
        "PaymentCaptured",
        r#"{"order_id":"ORDER","amount":{"amount_minor":3885,"currency":"GBP"}}"#,
    ),
];
const SHIPPING: &[Step] = &[
    (
        6,
        "shipment-ORDER",
        "ShipmentPrepared",
        r#"{"order_id":"ORDER","items":[{"sku":"SKU_A","quantity":1},{"sku":"SKU_B","quantity":2}],"shipping_address":"Mrs A. Customer, 12 Long Lane, Upper Somewhere, United Kingdom"}"#,
    ),
    (
        7,
        "shipment-ORDER",
        "ShipmentDispatched",
        r#"{"order_id":"ORDER","carrier":"Royal Mail","tracking":"RM-0123456789"}"#,
    ),
    (11, "shipment-ORDER", "ShipmentDelivered", r#"{"order_id":"ORDER"}"#),
];

/// $1 to $4: the steps; $5: orders; $6: SKUs; $7: orders interleaved; $8: the fourth group of each event's id; $9: whether
/// stock of the SKUs is received first.
const INSERT_EVENTS: &str = r#"
    WITH facts AS (
        SELECT -1::bigint AS wave, 0 AS step, n, 1::bigint AS part, 'stock-SKU-' || n AS stream, 'StockReceived' AS type,
               '{"sku":"SKU-' || n || '","quantity":1000000000}' AS payload, md5('sku' || n)::uuid::text AS order_id
          FROM generate_series(0, $6::bigint - 1) n WHERE $9::boolean
        UNION ALL
        SELECT n / $7::bigint, s.step, n, s.part, named.stream, s.type, named.payload, named.order_id
          FROM generate_series(0, $5::bigint - 1) n,
               unnest($1::integer[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY s (step, stream, type, payload, part),
       LATERAL (SELECT ORDER_ID AS order_id, 'SKU-' || n % $6 AS sku_a, 'SKU-' || (n * 7 + 1) % $6 AS sku_b) o,
       LATERAL (SELECT o.order_id, replace(replace(replace(s.stream, 'ORDER', o.order_id), 'SKU_A', o.sku_a), 'SKU_B', o.sku_b) AS stream,
                       replace(replace(replace(s.payload, 'ORDER', o.order_id), 'SKU_A', o.sku_a), 'SKU_B', o.sku_b) AS payload) named
    )
    INSERT INTO CONTEXT.events (position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at)
    SELECT position, stream, row_number() OVER (PARTITION BY stream ORDER BY position),
           ('018f2f3b-0000-7000-' || $8::text || '-' || lpad(to_hex(position), 12, '0'))::uuid, type, 1, payload::json,
           ('{"correlation_id":"' || order_id || '","actor":"bench"'
               || CASE type WHEN 'OrderPlaced' THEN ',"idempotency_key":"' || order_id || '"' ELSE '' END || '}')::json,
           timestamptz '2026-01-01 00:00:00.000001Z' + position * interval '1 millisecond'
      FROM (SELECT row_number() OVER (ORDER BY wave, step, n, part) AS position, * FROM facts) numbered
     ORDER BY position"#;

/// The id of order n: a UUID v7 that grows with n, as the ids of real orders do.
const ORDER_ID: &str =
    "('018f2f3a-' || lpad(to_hex(n / 4096 % 65536), 4, '0') || '-7000-8000-' || lpad(to_hex(n), 12, '0'))";

const IDEMPOTENCY_KEYS_AND_LEDGER: &str = r#"
    INSERT INTO orders.idempotency_keys (key, fingerprint, status, body, first_position, last_position, answered_at)
    SELECT metadata->>'idempotency_key', sha256('bench'), 201,
           ('{"order_id":"' || substr(stream, 7) || '","version":1}')::json, position, position, recorded_at
      FROM orders.events WHERE type = 'OrderPlaced';
    INSERT INTO provider.payments (payment_id, state, customer_id, amount_minor, currency, reference)
    SELECT substr(stream, 9)::uuid, 'captured', 'customer-17850', 3885, 'GBP', 'auth-' || substr(stream, 9)
      FROM payments.events WHERE type = 'PaymentRequested';
    INSERT INTO provider.ledger_entries (payment_id, kind, amount_minor, currency)
    SELECT payment_id, kind, 3885, 'GBP' FROM provider.payments, unnest(ARRAY['authorised', 'captured']) kind;
    VACUUM ANALYZE;"#;

/// Creates a platform with at least `events` events in all logs; none of its roles runs.
///
/// # Errors
/// When PostgreSQL or Kafka refuses.
pub async fn platform_of(events: u64) -> anyhow::Result<History> {
    let orders = events.div_ceil(EVENTS_PER_ORDER);
    let database = Database::fresh(&format!("history_{events}")).await?;
    let prefix = topic_prefix("history");
    let admin = database.admin().await?;
    for (number, steps) in [ORDERS, INVENTORY, PAYMENTS, SHIPPING].into_iter().enumerate() {
        insert_events(&admin, number, steps, orders).await?;
    }
    for statement in IDEMPOTENCY_KEYS_AND_LEDGER.split(";\n") {
        admin.batch_execute(statement).await?;
    }
    publish(&database, &admin, &prefix).await?;
    set_checkpoints_to_ends(&admin, &prefix).await?;
    // The exit code is 1: the rebuilt projections differ from the live ones, which are empty.
    let rebuilt = tool::run(&["replay", "--all"], &database, &prefix).await?;
    ensure!(rebuilt.printed.contains("swapped"), "tradewind replay --all: {}", rebuilt.printed);
    admin.batch_execute("VACUUM ANALYZE").await?;
    Ok(History { database, topic_prefix: prefix, events: orders * EVENTS_PER_ORDER + SKUS })
}

/// `number`: the index of the context in [`Context::ALL`].
async fn insert_events(admin: &Client, number: usize, steps: &[Step], orders: u64) -> anyhow::Result<()> {
    let context = Context::ALL[number];
    let numbers: Vec<i32> = steps.iter().map(|step| i32::try_from(step.0)).collect::<Result<_, _>>()?;
    let streams: Vec<&str> = steps.iter().map(|step| step.1).collect();
    let types: Vec<&str> = steps.iter().map(|step| step.2).collect();
    let payloads: Vec<&str> = steps.iter().map(|step| step.3).collect();
    let sql = INSERT_EVENTS
        .replace("ORDER_ID AS", &format!("{ORDER_ID} AS"))
        .replace("CONTEXT.", &format!("{context}."));
    let group = format!("800{number}");
    let (orders, skus, mixed) =
        (i64::try_from(orders)?, i64::try_from(SKUS)?, i64::try_from(ORDERS_INTERLEAVED)?);
    let receives = context == Context::Inventory;
    admin
        .execute(&sql, &[&numbers, &streams, &types, &payloads, &orders, &skus, &mixed, &group, &receives])
        .await?;
    Ok(())
}

/// Runs the relay until every cursor is at the head of its log.
async fn publish(database: &Database, admin: &Client, prefix: &str) -> anyhow::Result<()> {
    database.tradewind(&["topics"], &[("TOPIC_PREFIX", prefix)]).await?;
    let env = [("DATABASE_URL", database.url.expose()), ("TOPIC_PREFIX", prefix)];
    let relay = Role::start(&binary(), &["relay"], &env, None).await?;
    let behind = Context::ALL.map(|context| {
        format!(
            "(SELECT coalesce(max(position), 0) FROM {context}.events) - (SELECT cursor FROM {context}.relay)"
        )
    });
    let behind = format!("SELECT {}", behind.join(" + "));
    let begun = Instant::now();
    loop {
        let left: i64 = admin.query_one(&behind, &[]).await?.try_get(0)?;
        if left == 0 {
            return relay.stop().await;
        }
        ensure!(begun.elapsed() < PUBLISH_MAX, "{left} events are not published after {PUBLISH_MAX:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Sets every checkpoint, and the progress of the read models, to the end of the logs.
async fn set_checkpoints_to_ends(admin: &Client, prefix: &str) -> anyhow::Result<()> {
    let insert = |owner: &str| {
        format!(
            "INSERT INTO {owner}.checkpoints (consumer, topic, partition, next_offset, last_position) VALUES ($1, $2, $3, $4, $5)"
        )
    };
    for context in Context::ALL {
        let topic = format!("{prefix}{}", context.topic());
        let mut consumers: Vec<(&str, String)> =
            Context::ALL.map(|saga| (saga.name(), format!("sagas.{saga}"))).into();
        if context == Context::Payments {
            consumers.push((context.name(), "sagas.payment-gateway".to_owned()));
        }
        consumers.push((READ_MODEL, CONSUMER.to_owned()));
        let ends = ends(admin, context).await?;
        let head = ends.iter().map(|(_, last)| *last).max().unwrap_or(0);
        let progress = format!(
            "INSERT INTO {READ_MODEL}.progress (context, applied, seen) VALUES ($1, int8multirange(int8range(1, $2::bigint + 1)), $2)"
        );
        admin.execute(&progress, &[&context.name(), &head]).await?;
        for (partition, (next_offset, last_position)) in (0..).zip(ends) {
            for (owner, consumer) in &consumers {
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                    [consumer, &topic, &partition, &next_offset, &last_position];
                admin.execute(&insert(owner), &values).await?;
            }
        }
    }
    Ok(())
}

/// By partition: the number of its records, and the position of the last one.
async fn ends(admin: &Client, context: Context) -> anyhow::Result<[(i64, i64); TOPIC_PARTITIONS as usize]> {
    let streams = format!("SELECT stream, count(*), max(position) FROM {context}.events GROUP BY stream");
    let nothing: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
    let rows = admin.query_raw(&streams, nothing).await?;
    let mut rows = std::pin::pin!(rows);
    let mut ends = [(0, 0); TOPIC_PARTITIONS as usize];
    while let Some(row) = rows.try_next().await? {
        let partition = partition_of(row.try_get(0)?, TOPIC_PARTITIONS);
        let (count, last) = &mut ends[usize::try_from(partition)?];
        *count += row.try_get::<_, i64>(1)?;
        *last = row.try_get::<_, i64>(2)?.max(*last);
    }
    Ok(ends)
}
