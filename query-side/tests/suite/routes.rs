//! Every route, with what it answers and what it refuses.

use events::inventory::StockReserved;
use serde_json::{Value, json};

use crate::given::Happening::*;
use crate::given::{HAPPY, Logs, order_id, pieces, received, registered, sku};
use crate::service::{Service, service};

/// Follows the cursors of a list; the values of `field` page by page.
async fn pages(service: &Service, path: &str, field: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut next = path.to_owned();
    loop {
        let page = service.get(&next).await;
        let items = page["items"].as_array().expect("a page has items");
        pages.push(items.iter().map(|item| item[field].clone()).collect());
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("{path}&cursor={cursor}"),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn an_order_is_shown_as_it_stands() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), &[Placed, Confirmed, Shipped])).await;
    let order = service.get(&format!("/v1/orders/{}", order_id(1))).await;
    let expected = json!({
        "order_id": order_id(1).to_string(), "customer_id": "alice", "status": "shipped", "currency": "GBP",
        "lines": [{"sku": "TEAPOT", "quantity": 5, "unit_price_minor": 500}], "total_minor": 2500,
        "shipping_address": "1 High Street", "placed_at": order["placed_at"], "rejection": null,
        "cancellation": null, "shipment": {"carrier": "Royal Mail", "tracking": "RM1"},
        "version": 3, "position": 3,
    });
    assert_eq!(order, expected);
}

#[tokio::test]
async fn orders_are_listed_by_customer_and_status_page_by_page() {
    let (service, mut logs) = (service().await, Logs::default());
    for number in 0..5 {
        let steps: &[_] = if number < 3 { &[Placed, Confirmed] } else { &[Placed] };
        service.project(&logs.story(order_id(number), steps)).await;
    }
    let all = pages(&service, "/v1/orders?limit=2", "order_id").await;
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    let latest_first: Vec<Value> = (0..5).rev().map(|number| json!(order_id(number).to_string())).collect();
    assert_eq!(all.concat(), latest_first);
    let confirmed = pages(&service, "/v1/orders?customer_id=alice&status=confirmed&limit=3", "status").await;
    assert_eq!(confirmed, [["confirmed"; 3].map(|status| json!(status)).to_vec()]);
    assert_eq!(pages(&service, "/v1/orders?customer_id=nobody", "order_id").await, [Vec::<Value>::new()]);
    let summary = &service.get("/v1/orders?limit=1").await["items"][0];
    assert_eq!((&summary["line_count"], &summary["total_minor"]), (&json!(1), &json!(2500)));
}

#[tokio::test]
async fn the_events_of_an_order_are_listed_across_contexts_in_the_order_of_time() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), HAPPY)).await;
    let path = format!("/v1/orders/{}/events?limit=4", order_id(1));
    let types = pages(&service, &path, "event_type").await;
    assert_eq!(types.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 4, 1]);
    let expected: Vec<Value> = HAPPY.iter().map(|step| json!(step.event(order_id(1)).event_type())).collect();
    assert_eq!(types.concat(), expected);
    let first = &service.get(&path).await["items"][0];
    assert_eq!((&first["context"], &first["data"]["total_minor"]), (&json!("orders"), &json!(2500)));
}

#[tokio::test]
async fn a_process_tells_what_is_done_what_it_waits_for_and_what_is_to_come() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), &HAPPY[..6])).await;
    let process = service.get(&format!("/v1/orders/{}/process", order_id(1))).await;
    assert_eq!((&process["state"], &process["outcome"]), (&json!("waiting"), &json!(null)));
    let done: Vec<_> = process["done"].as_array().expect("a list").iter().map(|step| &step["step"]).collect();
    let expected = [
        "place_order",
        "reserve_stock",
        "request_payment",
        "authorise_payment",
        "confirm_order",
        "prepare_shipment",
    ];
    assert_eq!(done, expected);
    let waiting = &process["waiting_for"];
    assert_eq!((&waiting["step"], &waiting["by"]), (&json!("dispatch"), &json!("person")));
    assert_eq!(waiting["for_events"], json!(["ShipmentDispatched"]));
    assert_eq!(process["to_come"].as_array().map(Vec::len), Some(5));
    assert_eq!(process["compensation"], json!(null));
}

#[tokio::test]
async fn a_process_that_is_undone_says_why_and_how_far_it_is() {
    let (service, mut logs) = (service().await, Logs::default());
    let steps = [Placed, Reserved, Requested, CancellationRequested, VoidRequested, Voided];
    service.project(&logs.story(order_id(1), &steps)).await;
    let process = service.get(&format!("/v1/orders/{}/process", order_id(1))).await;
    // Nothing has happened for long: the events of these tests are in the past.
    assert_eq!(process["state"], "stuck");
    let expected = json!({
        "cause": "order_cancelled", "reason": "changed my mind", "undone": ["undo_payment"],
        "still_to_undo": ["release_reservation", "cancel_order"],
    });
    assert_eq!(process["compensation"], expected);
}

#[tokio::test]
async fn processes_are_listed_by_state_the_one_that_stands_still_longest_first() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), HAPPY)).await;
    service.project(&logs.story(order_id(2), &[Placed])).await;
    service.project(&logs.story(order_id(3), &HAPPY[..6])).await;
    let mut now = logs.story(order_id(4), &[Placed]);
    now[0].recorded_at = chrono::Utc::now();
    service.project(&now).await;
    for (state, number) in [("done", 1), ("stuck", 2), ("waiting", 3), ("running", 4)] {
        let listed = pages(&service, &format!("/v1/processes?state={state}"), "order_id").await;
        assert_eq!(listed, [[json!(order_id(number).to_string())]], "{state}");
    }
    assert_eq!(pages(&service, "/v1/processes?state=compensating", "order_id").await, [Vec::<Value>::new()]);
    let all = pages(&service, "/v1/processes?limit=2", "state").await;
    assert_eq!(all, [[json!("done"), json!("stuck")], [json!("waiting"), json!("running")]]);
}

#[tokio::test]
async fn stock_is_shown_by_sku_and_listed_where_it_is_low() {
    let (service, mut logs) = (service().await, Logs::default());
    for (name, number) in [("A/B ü", 3), ("KETTLE", 10), ("TEAPOT", 20)] {
        let stream = events::inventory::stock_stream(&sku(name));
        let events = [logs.happens(&stream, registered(name)), logs.happens(&stream, received(name, number))];
        service.project(&events).await;
    }
    let reserved = StockReserved { sku: sku("TEAPOT"), order_id: order_id(1), quantity: pieces(15) };
    let stream = events::inventory::stock_stream(&sku("TEAPOT"));
    service.project(&[logs.happens(&stream, events::StockEvent::from(reserved))]).await;
    let teapot = service.get("/v1/stock/TEAPOT").await;
    let expected = json!({
        "sku": "TEAPOT", "received": 20, "adjusted": 0, "available": 5, "reserved": 15, "shipped": 0,
        "version": 3, "position": 7,
    });
    assert_eq!(teapot, expected);
    assert_eq!(service.get("/v1/stock/A%2FB%20%C3%BC").await["available"], 3);
    assert_eq!(pages(&service, "/v1/stock?below=10", "sku").await, [[json!("A/B ü"), json!("TEAPOT")]]);
    assert_eq!(pages(&service, "/v1/stock?limit=2", "sku").await.iter().map(Vec::len).sum::<usize>(), 3);
}

#[tokio::test]
async fn a_payment_is_shown_as_it_stands() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), &[Requested, Authorised])).await;
    let payment = service.get(&format!("/v1/payments/{}", order_id(1))).await;
    let expected = json!({
        "payment_id": order_id(1).to_string(), "order_id": order_id(1).to_string(), "customer_id": "alice",
        "state": "authorised", "currency": "GBP", "amount_minor": 2500, "authorised_minor": 2500,
        "captured_minor": 0, "refunded_minor": 0, "decline_code": null, "provider_reference": "ref-1",
        "expires_at": payment["expires_at"], "version": 2, "position": 2,
    });
    assert_eq!(payment, expected);
}

#[tokio::test]
async fn daily_sales_sum_what_was_confirmed_and_not_cancelled() {
    let (service, mut logs) = (service().await, Logs::default());
    for number in 0..4 {
        let steps: &[_] = match number {
            0 => &[Placed],
            1 => &[Placed, Confirmed, CancellationRequestedAfterConfirmation, Cancelled],
            _ => &[Placed, Confirmed],
        };
        service.project(&logs.story(order_id(number), steps)).await;
    }
    let day = crate::given::at(0).date_naive();
    let expected = json!({"days": [
        {"date": day.to_string(), "currency": "GBP", "orders": 2, "units": 10, "revenue_minor": 5000},
    ]});
    assert_eq!(service.get("/v1/sales/daily").await, expected);
    assert_eq!(service.get(&format!("/v1/sales/daily?from={day}&to={day}")).await, expected);
    assert_eq!(service.get("/v1/sales/daily?to=2020-01-01").await, json!({"days": []}));
}

#[tokio::test]
async fn sums_of_sales_may_be_larger_than_any_order() {
    let service = service().await;
    let client = service.read_model.pool.get().await.expect("a connection");
    client
        .batch_execute(
            "INSERT INTO sales (order_id, placed_on, currency, units, revenue_minor, counted, version, position)
             SELECT n::text, '2026-01-01', 'GBP', 1, 9223372036854775807, true, 1, n FROM generate_series(1, 2) n",
        )
        .await
        .expect("two orders of the largest total");
    let (_, body) = service.status_and_body("/v1/sales/daily").await;
    assert_eq!(body["days"][0]["revenue_minor"].to_string(), "18446744073709551614");
}

#[tokio::test]
async fn a_client_that_has_the_version_is_not_sent_it_again() {
    let (service, mut logs) = (service().await, Logs::default());
    service.project(&logs.story(order_id(1), &[Placed])).await;
    let order = format!("/v1/orders/{}", order_id(1));
    let paths = [order.as_str(), &format!("{order}/events"), "/v1/orders", "/v1/sales/daily"];
    for path in paths {
        let tag = service.request(path, &[]).await.headers()["etag"].to_str().expect("ASCII").to_owned();
        let again = service.request(path, &[("if-none-match", &tag)]).await;
        assert_eq!(again.status(), 304, "{path}");
        assert!(again.bytes().await.expect("no body").is_empty(), "{path}");
    }
    assert_eq!(service.request(&order, &[]).await.headers()["etag"], "\"1\"");
    service.project(&logs.story(order_id(1), &[Confirmed])).await;
    let changed = service.request(&order, &[("if-none-match", "\"1\"")]).await;
    assert_eq!(
        (changed.status().as_u16(), &changed.headers()["etag"]),
        (200, &"\"2\"".parse().expect("ASCII"))
    );
}

#[tokio::test]
async fn what_is_not_there_is_404_with_its_name() {
    let service = service().await;
    let id = order_id(404);
    for (path, code) in [
        (format!("/v1/orders/{id}"), "order_not_found"),
        (format!("/v1/orders/{id}/events"), "order_not_found"),
        (format!("/v1/orders/{id}/process"), "order_not_found"),
        (format!("/v1/payments/{id}"), "payment_not_found"),
        ("/v1/stock/NOTHING".to_owned(), "sku_not_found"),
        ("/v1/nothing".to_owned(), "no_such_route"),
    ] {
        let (status, problem) = service.status_and_body(&path).await;
        assert_eq!((status, &problem["code"]), (404, &json!(code)), "{path}: {problem}");
    }
}

/// Path and the field that the problem must name; `allowed` must be there too.
const BAD: &[(&str, &str)] = &[
    ("/v1/orders/42", "order_id"),
    ("/v1/orders/%00", "order_id"),
    ("/v1/orders/42/events", "order_id"),
    ("/v1/orders/42/process", "order_id"),
    ("/v1/payments/42", "payment_id"),
    ("/v1/stock/%00", "sku"),
    ("/v1/orders?status=lost", "status"),
    ("/v1/orders?status=", "status"),
    ("/v1/orders?limit=0", "limit"),
    ("/v1/orders?limit=501", "limit"),
    ("/v1/orders?limit=ten", "limit"),
    ("/v1/orders?cursor=x", "cursor"),
    ("/v1/processes?state=bored", "state"),
    ("/v1/stock?below=-1", "below"),
    ("/v1/stock?below=99999999999999999999", "below"),
    ("/v1/sales/daily?from=yesterday", "from"),
    ("/v1/sales/daily?from=2026-01-02&to=2026-01-01", "to"),
    ("/v1/orders/01900000-0000-7000-8000-000000000001?after=orders", "after"),
    ("/v1/orders/01900000-0000-7000-8000-000000000001?after=", "after"),
    ("/v1/orders?after=orders:1,tea:2", "after"),
    ("/v1/stock?timeout_ms=5", "timeout_ms"),
    ("/v1/orders/01900000-0000-7000-8000-000000000001/process?wait=forever", "wait"),
    ("/v1/orders/01900000-0000-7000-8000-000000000001?wait=forever", "wait"),
    ("/v1/orders/01900000-0000-7000-8000-000000000001?timeout_ms=5", "timeout_ms"),
    ("/v1/orders/01900000-0000-7000-8000-000000000001?wait=settled&timeout_ms=60001", "timeout_ms"),
];

#[tokio::test]
async fn a_bad_parameter_is_a_problem_that_names_it_and_what_is_allowed() {
    let service = service().await;
    for (path, field) in BAD {
        let (status, problem) = service.status_and_body(path).await;
        let error = &problem["errors"][0];
        assert_eq!((status, &error["field"]), (400, &json!(field)), "{path}: {problem}");
        assert!(error["allowed"].is_string(), "{path}: {problem}");
    }
}

#[tokio::test]
async fn an_unknown_or_repeated_parameter_is_refused() {
    let service = service().await;
    for path in [
        "/v1/orders?colour=red",
        "/v1/stock?limit=1&limit=2",
        "/v1/sales/daily?day=1",
        "/v1/orders?customer_id=",
    ] {
        let (status, problem) = service.status_and_body(path).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_query")), "{path}: {problem}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_503_and_no_secret() {
    let service = service().await;
    service.read_model.pool.close();
    let response = service.request("/v1/orders", &[]).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let problem: Value = response.json().await.expect("JSON");
    assert_eq!(problem["code"], "read_models_unavailable");
}
