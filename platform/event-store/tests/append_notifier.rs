//! The append notifier sends a NOTIFY when the log has grown, and none when it has not.

use std::future::poll_fn;
use std::time::Duration;

use crate::support::{CONTEXT, fresh_log, receipts};
use event_store::{Append, append_channel};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, NoTls};

const WAIT_MAX: Duration = Duration::from_secs(60);

#[tokio::test]
async fn each_growth_of_the_log_is_notified_and_a_conflict_is_not() {
    let log = fresh_log("append_notifier").await;
    let store = log.store().await;
    let (client, mut connection) =
        tokio_postgres::connect(&log.role_url, NoTls).await.expect("the server answers");
    let (forward, mut notified) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = forward.send((notification.channel().to_owned(), notification.payload().to_owned()));
            }
        }
    });
    let channel = append_channel(CONTEXT);
    client.batch_execute(&format!("LISTEN {channel}")).await.expect("every role may listen");

    store.append(Append::default()).await.expect("nothing is appended");
    store.append(receipts(&[("A", 7)])).await.expect_err("A is empty");
    client
        .batch_execute(&format!("NOTIFY {channel}, 'nothing so far'"))
        .await
        .expect("every role may notify");
    store.append(receipts(&[("A", 0)])).await.expect("A is empty");

    for payload in ["nothing so far", ""] {
        let received =
            tokio::time::timeout(WAIT_MAX, notified.recv()).await.expect("the notification arrives");
        assert_eq!(received, Some((channel.clone(), payload.to_owned())));
    }
}
