//! Every order wants the same SKU, of which there is a tenth of what is wanted.
//!
//! Beside it the same orders over as many SKUs as there are pieces, one of each: the same orders are confirmed, and
//! nobody meets anybody. Read next: `sagas/src/reactor.rs`.

use std::time::Instant;

use anyhow::ensure;
use uuid::Uuid;

use crate::figures::{Goal, Row, Spread};
use crate::floor::Floor;
use crate::stage::Stage;

pub async fn rows(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    let (orders, pieces) = (stage.sizes.hot_orders, stage.sizes.hot_stock);
    let floor = stage.floor().await?;
    let run = Uuid::now_v7().simple().to_string();
    let hot = format!("HOT-{run}");
    floor.shop.receive_stock(&hot, i64::try_from(pieces)?).await?;
    let (one, confirmed) = selling(floor, orders, pieces, |_| vec![hot.clone()]).await?;
    let cool = |number: usize| format!("COOL-{run}-{}", number % pieces);
    for number in 0..pieces {
        floor.shop.receive_stock(&cool(number), 1).await?;
    }
    let (many, _) = selling(floor, orders, pieces, |number| vec![cool(number)]).await?;
    Ok(vec![
        Row::new(format!("{orders} orders for one SKU, {pieces} pieces"), "orders/s", Spread::one(one))
            .beside(format!("orders/s over {pieces} SKUs"), many)
            .goal(Goal::AtLeast(0.5)),
        Row::new("confirmed of them, exactly", "orders", Spread::one(confirmed as f64))
            .beside("pieces", pieces as f64)
            .goal(Goal::AtLeast(1.0)),
    ])
}

/// Orders a second, and how many of them were confirmed.
async fn selling(
    floor: &Floor,
    count: usize,
    pieces: usize,
    skus: impl Fn(usize) -> Vec<String>,
) -> anyhow::Result<(f64, usize)> {
    let begun = Instant::now();
    let orders = floor.place(count, skus).await?;
    let settled = floor.all_settled(&orders).await?;
    let confirmed = settled.iter().filter(|settled| settled.confirmed).count();
    ensure!(confirmed == pieces, "{confirmed} orders were confirmed, with stock for {pieces}");
    let last = settled.iter().map(|settled| settled.at).max().unwrap_or(begun);
    Ok((count as f64 / last.duration_since(begun).as_secs_f64(), confirmed))
}
