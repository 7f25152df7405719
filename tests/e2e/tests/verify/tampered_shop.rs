//! Each change by hand to money, processes and stored answers is found and named.

use serde_json::json;

use super::filled::filled;

#[tokio::test]
async fn money_that_is_not_what_the_ledger_says_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let id = filled.delivered;
    let more = "UPDATE provider.ledger_entries SET amount_minor = amount_minor + 1 WHERE kind IN ('authorised', 'captured')";
    copy.execute(&format!("{more} AND payment_id = '{id}'")).await;
    let verdict = copy.verify(&[]).await;
    let violation = verdict.violation("money");
    assert_eq!(violation["at"]["payment"], json!(id), "{violation:#}");
    assert_eq!(violation["given"], json!("held 0, captured less refunded 2501"), "{violation:#}");
    assert_eq!(violation["wanted"], json!("held 0, captured less refunded 2500"), "{violation:#}");
    assert_eq!(verdict.failing(), ["money"]);
}

#[tokio::test]
async fn money_that_the_log_never_requested_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute(
        "INSERT INTO provider.payments (payment_id, state, customer_id, amount_minor, currency, reference)
         VALUES ('00000000-0000-7000-8000-000000000001', 'captured', 'mallory', 5, 'GBP', 'x');
         INSERT INTO provider.ledger_entries (payment_id, kind, amount_minor, currency)
         SELECT '00000000-0000-7000-8000-000000000001', kind, 5, 'GBP' FROM unnest(ARRAY['authorised', 'captured']) kind",
    )
    .await;
    let verdict = copy.verify(&["--only", "money"]).await;
    let violation = verdict.violation("money");
    assert_eq!(violation["at"]["payment"], json!("00000000-0000-7000-8000-000000000001"), "{violation:#}");
}

#[tokio::test]
async fn a_ledger_that_is_away_is_not_checked_and_the_rest_is() {
    let copy = filled().await.copy_database().await;
    copy.execute("DROP SCHEMA provider CASCADE").await;
    let verdict = copy.verify(&[]).await;
    assert_eq!(verdict.code, 2, "{verdict:#?}");
    assert!(verdict.json["properties"]["money"]["not_checked"].is_string(), "{verdict:#?}");
    assert!(verdict.failing().is_empty(), "{verdict:#?}");
    copy.verify(&["--except", "money"]).await.is_clean();
}

#[tokio::test]
async fn an_order_in_two_terminal_states_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let id = filled.rejected;
    copy.execute(&format!(
        "INSERT INTO orders.events
         SELECT (SELECT max(position) + 1 FROM orders.events), stream, version + 1, gen_random_uuid(), 'OrderCancelled', 1,
                '{{\"order_id\":\"{id}\",\"reason\":\"by hand\"}}', metadata, recorded_at
           FROM orders.events WHERE stream = 'order-{id}' ORDER BY version DESC LIMIT 1"
    ))
    .await;
    let verdict = copy.verify(&[]).await;
    let violation = verdict.violation("processes");
    assert_eq!(violation["at"]["order"], json!(id), "{violation:#}");
    assert_eq!(violation["given"], json!("OrderRejected and OrderCancelled"), "{violation:#}");
}

/// The saga's checkpoint has passed an event whose effect, the shipment, is gone.
#[tokio::test]
async fn an_event_that_a_saga_has_passed_without_its_effect_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let id = filled.delivered;
    copy.execute(&format!("DELETE FROM shipping.events WHERE stream = 'shipment-{id}'")).await;
    let verdict = copy.verify(&["--only", "processes"]).await;
    let violation = verdict.violation("processes");
    assert_eq!(
        (&violation["at"]["order"], &violation["at"]["stream"]),
        (&json!(id), &json!(format!("order-{id}")))
    );
    assert!(
        violation["what"]
            .as_str()
            .is_some_and(|what| what.contains("sagas.shipping has handled OrderConfirmed"))
    );
    assert_eq!(violation["at"]["step"], json!("prepare shipment"), "{violation:#}");
}

#[tokio::test]
async fn a_saga_whose_checkpoint_was_moved_forward_is_found_by_the_record_before_it() {
    let copy = filled().await.copy_database().await;
    let moved = "UPDATE shipping.checkpoints SET last_position = last_position + 1
                  WHERE partition = (SELECT min(partition) FROM shipping.checkpoints)";
    copy.execute(moved).await;
    let verdict = copy.verify(&[]).await;
    assert_eq!(verdict.violation("checkpoints")["at"]["consumer"], json!("sagas.shipping"), "{verdict:#?}");
}

#[tokio::test]
async fn a_deadline_that_is_long_past_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let id = filled.delivered;
    copy.execute(&format!(
        "INSERT INTO payments.deadlines VALUES ('provider:{id}', 'payment-{id}', now() - interval '1 hour', '{{}}')"
    ))
    .await;
    let verdict = copy.verify(&["--only", "processes"]).await;
    assert_eq!(verdict.violation("processes")["at"]["order"], json!(id), "{verdict:#?}");
    copy.verify(&["--only", "processes", "--grace-seconds", "7200"]).await.is_clean();
}

/// The capture was requested and its outcome is gone: the gateway has passed the request, and no deadline repeats it.
#[tokio::test]
async fn an_open_request_to_the_provider_without_a_deadline_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let stream = format!("payment-{}", filled.delivered);
    copy.execute(&format!(
        "DELETE FROM payments.events WHERE stream = '{stream}' AND type = 'PaymentCaptured'"
    ))
    .await;
    let verdict = copy.verify(&["--only", "processes"]).await;
    let violation = verdict.violation("processes");
    assert_eq!(
        (&violation["at"]["order"], &violation["at"]["stream"]),
        (&json!(filled.delivered), &json!(stream)),
        "{violation:#}"
    );
    let what = "no request to the provider is scheduled: PaymentCaptureRequested is open, without a deadline";
    assert_eq!(violation["what"], json!(what), "{violation:#}");
    copy.execute(&format!(
        "INSERT INTO payments.deadlines VALUES ('provider:{}', '{stream}', now() + interval '1 hour', '{{}}')",
        filled.delivered
    ))
    .await;
    copy.verify(&["--only", "processes"]).await.is_clean();
}

#[tokio::test]
async fn an_answer_that_does_not_agree_with_its_event_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    // The filled platform has no idempotency keys: one is stored here as an append would have done it.
    let store = "WITH placed AS (
            UPDATE orders.events SET metadata = (metadata::jsonb || '{\"idempotency_key\": \"k1\"}')::json
             WHERE stream = 'order-{id}' AND version = 1 RETURNING position, recorded_at)
        INSERT INTO orders.idempotency_keys
        SELECT 'k1', sha256('x'), 201, '{\"order_id\": \"{id}\", \"version\": 1}', position, position, recorded_at FROM placed";
    copy.execute(&store.replace("{id}", &filled.delivered.to_string())).await;
    copy.verify(&["--only", "answers"]).await.is_clean();
    copy.execute("UPDATE orders.idempotency_keys SET body = (body::jsonb || '{\"version\": 2}')::json").await;
    let verdict = copy.verify(&["--only", "answers"]).await;
    let violation = verdict.violation("answers");
    assert_eq!(
        (&violation["at"]["key"], &violation["at"]["context"]),
        (&json!("k1"), &json!("orders")),
        "{violation:#}"
    );
    copy.execute("UPDATE orders.events SET metadata = (metadata::jsonb || '{\"idempotency_key\": \"k1\"}')::json WHERE position = 9").await;
    copy.execute("UPDATE orders.idempotency_keys SET body = (body::jsonb || '{\"version\": 1}')::json").await;
    let verdict = copy.verify(&["--only", "answers"]).await;
    assert_eq!(verdict.violation("answers")["at"]["position"], json!("9"), "{verdict:#?}");
}
