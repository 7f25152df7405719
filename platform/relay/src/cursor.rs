//! Moves the cursor over the acknowledged chunks.

use std::time::Duration;

use event_bus::{PublishError, Receipt};
use event_log::Position;
use event_store::EventStore;
use fault::{crash_point, mutant};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::lease::HeldLease;
use crate::pump::PumpError;

/// The pause between two moves of the cursor, each of which is a commit. A relay that takes over reads the end of the
/// topic, so a cursor that lags this much causes no duplicates.
const CURSOR_PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn follow(
    store: &EventStore,
    held: &HeldLease,
    mut cursor: Position,
    mut receipts: mpsc::Receiver<(Position, Receipt)>,
) -> Result<(), PumpError> {
    let mut not_before = Instant::now();
    let mut next = receipts.recv().await;
    while let Some((mut to, receipt)) = next {
        acknowledged(receipt).await?;
        tokio::time::sleep_until(not_before).await;
        next = take_acknowledged(&mut receipts, &mut to, is_acknowledged);
        crash_point!("relay::acknowledged_before_cursor");
        if !store.advance_cursor(held.lease(), cursor, to).await? {
            return Err(PumpError::LeaseLost);
        }
        crash_point!("relay::cursor_moved");
        cursor = to;
        not_before = Instant::now() + CURSOR_PAUSE;
        if next.is_none() {
            next = receipts.recv().await;
        }
    }
    Ok(())
}

/// Moves `to` over all acknowledged chunks, and returns the first one that is not acknowledged. It waits for none:
/// under constant load there is always another, and the cursor would never move.
fn take_acknowledged<R>(
    receipts: &mut mpsc::Receiver<(Position, R)>,
    to: &mut Position,
    is_acknowledged: impl Fn(&R) -> bool,
) -> Option<(Position, R)> {
    while let Ok((last, receipt)) = receipts.try_recv() {
        if !is_acknowledged(&receipt) {
            return Some((last, receipt));
        }
        *to = last;
    }
    None
}

fn is_acknowledged(receipt: &Receipt) -> bool {
    mutant!("relay::cursor_before_acknowledgement") || receipt.is_acknowledged()
}

pub(crate) async fn acknowledged(receipt: Receipt) -> Result<(), PublishError> {
    if mutant!("relay::cursor_before_acknowledgement") {
        return Ok(());
    }
    receipt.acknowledged().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_follows_the_acknowledged_chunks_and_waits_for_no_other() {
        let (to_acknowledge, mut receipts) = mpsc::channel(4);
        for receipt in [(2, true), (5, true), (7, false), (9, true)] {
            to_acknowledge.try_send(receipt).expect("there is room");
        }
        let mut to = 1;
        assert_eq!(take_acknowledged(&mut receipts, &mut to, |acknowledged| *acknowledged), Some((7, false)));
        assert_eq!(to, 5);
        assert_eq!(take_acknowledged(&mut receipts, &mut to, |acknowledged| *acknowledged), None);
        assert_eq!(to, 9);
    }
}
