//! Orders that all contain the same SKU, with stock for a tenth of them. Baseline: the same orders over as many SKUs as
//! there are pieces, with one piece of each: as many orders are confirmed, and few of them compete for a stream.

use std::time::Instant;

use anyhow::ensure;
use uuid::Uuid;

use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::platform::BenchPlatform;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let (orders, pieces) = (environment.sizes.hot_orders, environment.sizes.hot_stock);
    let platform = environment.platform().await?;
    let run = Uuid::now_v7().simple().to_string();
    let hot = format!("HOT-{run}");
    platform.shop.receive_stock(&hot, i64::try_from(pieces)?).await?;
    let (one, confirmed) = place_and_settle(platform, orders, pieces, |_| vec![hot.clone()]).await?;
    let cool = |number: usize| format!("COOL-{run}-{}", number % pieces);
    for number in 0..pieces {
        platform.shop.receive_stock(&cool(number), 1).await?;
    }
    let (many, _) = place_and_settle(platform, orders, pieces, |number| vec![cool(number)]).await?;
    Ok(vec![
        Row::new(format!("{orders} orders for one SKU, {pieces} pieces"), "orders/s", Spread::one(one))
            .baseline(format!("orders/s over {pieces} SKUs"), many)
            .goal(Goal::AtLeast(0.5)),
        Row::new("confirmed of them, exactly", "orders", Spread::one(confirmed as f64))
            .baseline("pieces", pieces as f64)
            .goal(Goal::AtLeast(1.0)),
    ])
}

/// Orders settled a second, and the number that was confirmed.
async fn place_and_settle(
    platform: &BenchPlatform,
    count: usize,
    pieces: usize,
    skus: impl Fn(usize) -> Vec<String>,
) -> anyhow::Result<(f64, usize)> {
    let begun = Instant::now();
    let orders = platform.place(count, skus).await?;
    let settled = platform.wait_until_settled(&orders).await?;
    let confirmed = settled.iter().filter(|settled| settled.confirmed).count();
    ensure!(confirmed == pieces, "{confirmed} orders were confirmed, with stock for {pieces}");
    let last = settled.iter().map(|settled| settled.at).max().unwrap_or(begun);
    Ok((count as f64 / last.duration_since(begun).as_secs_f64(), confirmed))
}
