//! Money, processes and answers that were tampered with by hand are found, and named.

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
    let offender = verdict.offender("money");
    assert_eq!(offender["at"]["payment"], json!(id), "{offender:#}");
    assert_eq!(offender["given"], json!("held 0, captured less refunded 2501"), "{offender:#}");
    assert_eq!(offender["wanted"], json!("held 0, captured less refunded 2500"), "{offender:#}");
    assert_eq!(verdict.failing(), ["money"]);
}

#[tokio::test]
async fn money_that_the_log_never_asked_for_is_found() {
    let copy = filled().await.copy_database().await;
    copy.execute(
        "INSERT INTO provider.payments (payment_id, state, customer_id, amount_minor, currency, reference)
         VALUES ('00000000-0000-7000-8000-000000000001', 'captured', 'mallory', 5, 'GBP', 'x');
         INSERT INTO provider.ledger_entries (payment_id, kind, amount_minor, currency)
         SELECT '00000000-0000-7000-8000-000000000001', kind, 5, 'GBP' FROM unnest(ARRAY['authorised', 'captured']) kind",
    )
    .await;
    let verdict = copy.verify(&["--only", "money"]).await;
    let offender = verdict.offender("money");
    assert_eq!(offender["at"]["payment"], json!("00000000-0000-7000-8000-000000000001"), "{offender:#}");
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
    let offender = verdict.offender("processes");
    assert_eq!(offender["at"]["order"], json!(id), "{offender:#}");
    assert_eq!(offender["given"], json!("OrderRejected and OrderCancelled"), "{offender:#}");
}

/// The saga's checkpoint passes an event that nothing came of: its reservation, and what the stock items say, is gone.
#[tokio::test]
async fn an_event_that_a_saga_has_passed_without_its_effect_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let id = filled.delivered;
    copy.execute(&format!("DELETE FROM shipping.events WHERE stream = 'shipment-{id}'")).await;
    let verdict = copy.verify(&["--only", "processes"]).await;
    let offender = verdict.offender("processes");
    assert_eq!(
        (&offender["at"]["order"], &offender["at"]["stream"]),
        (&json!(id), &json!(format!("order-{id}")))
    );
    assert!(
        offender["what"]
            .as_str()
            .is_some_and(|what| what.contains("sagas.shipping has handled OrderConfirmed"))
    );
}

#[tokio::test]
async fn a_saga_whose_checkpoint_was_moved_forward_is_found_by_the_record_before_it() {
    let copy = filled().await.copy_database().await;
    let moved = "UPDATE shipping.checkpoints SET last_position = last_position + 1
                  WHERE partition = (SELECT min(partition) FROM shipping.checkpoints)";
    copy.execute(moved).await;
    let verdict = copy.verify(&[]).await;
    assert_eq!(verdict.offender("checkpoints")["at"]["consumer"], json!("sagas.shipping"), "{verdict:#?}");
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
    assert_eq!(verdict.offender("processes")["at"]["order"], json!(id), "{verdict:#?}");
    copy.verify(&["--only", "processes", "--grace-seconds", "7200"]).await.is_clean();
}

/// The capture was asked for, and what came of it is gone: the gateway has passed the question, and no deadline brings it back.
#[tokio::test]
async fn a_question_that_nobody_will_ask_the_provider_is_found() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let stream = format!("payment-{}", filled.delivered);
    copy.execute(&format!(
        "DELETE FROM payments.events WHERE stream = '{stream}' AND type = 'PaymentCaptured'"
    ))
    .await;
    let verdict = copy.verify(&["--only", "processes"]).await;
    let offender = verdict.offender("processes");
    assert_eq!(
        (&offender["at"]["order"], &offender["at"]["stream"]),
        (&json!(filled.delivered), &json!(stream)),
        "{offender:#}"
    );
    let what = "nobody will ask the provider: PaymentCaptureRequested is open, without a deadline";
    assert_eq!(offender["what"], json!(what), "{offender:#}");
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
    // The fill asks without keys: one is claimed here as the append would have done it.
    let claim = "WITH placed AS (
            UPDATE orders.events SET metadata = (metadata::jsonb || '{\"idempotency_key\": \"k1\"}')::json
             WHERE stream = 'order-{id}' AND version = 1 RETURNING position, recorded_at)
        INSERT INTO orders.idempotency_keys
        SELECT 'k1', sha256('x'), 201, '{\"order_id\": \"{id}\", \"version\": 1}', position, position, recorded_at FROM placed";
    copy.execute(&claim.replace("{id}", &filled.delivered.to_string())).await;
    copy.verify(&["--only", "answers"]).await.is_clean();
    copy.execute("UPDATE orders.idempotency_keys SET body = (body::jsonb || '{\"version\": 2}')::json").await;
    let verdict = copy.verify(&["--only", "answers"]).await;
    let offender = verdict.offender("answers");
    assert_eq!(
        (&offender["at"]["key"], &offender["at"]["context"]),
        (&json!("k1"), &json!("orders")),
        "{offender:#}"
    );
    copy.execute("UPDATE orders.events SET metadata = (metadata::jsonb || '{\"idempotency_key\": \"k1\"}')::json WHERE position = 9").await;
    copy.execute("UPDATE orders.idempotency_keys SET body = (body::jsonb || '{\"version\": 1}')::json").await;
    let verdict = copy.verify(&["--only", "answers"]).await;
    assert_eq!(verdict.offender("answers")["at"]["position"], json!("9"), "{verdict:#?}");
}
