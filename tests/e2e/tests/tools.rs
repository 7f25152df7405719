//! The tools on a running platform: load, replay, events, relay status.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::{Platform, Shop, skipped};
use serde_json::Value;

const RETAIL: &str = "../../../shared/data/online-retail/2010-12_2011-06.csv.gz";

/// Two orders of one customer, a guest's, a cancellation, and four that are no orders.
const SMALL: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1001,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
1001,85123A,HEART,2,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
1001,85123A,HEART,1,2010-12-01 08:26:00,2.10,17850.0,United Kingdom
1002,BANK CHARGES,,1,2010-12-01 09:00:00,0,17850.0,United Kingdom
1003,gift_0001_40,VOUCHER,1,2010-12-02 10:00:00,34.00,,United Kingdom
C1004,85123A,HEART,-6,2010-12-02 10:00:00,2.55,17850.0,United Kingdom
1005,22139,,-5,2010-12-02 10:00:00,0,,United Kingdom
1006,22139,,5,2010-12-02 10:00:00,0.125,,United Kingdom
1007,B,Adjust bad debt,1,2010-12-02 10:00:00,-11062.06,,United Kingdom
";

async fn load(platform: &Platform, file: &Path, more: &[&str]) -> Value {
    let summary = platform.state_dir().join("summary.json");
    let mut args = vec!["load", file.to_str().expect("a path in UTF-8"), "--summary-json"];
    args.push(summary.to_str().expect("a path in UTF-8"));
    let (command_url, query_url) = (platform.endpoint("command_url"), platform.endpoint("query_url"));
    args.extend(["--command-url", &command_url, "--query-url", &query_url]);
    args.extend(more);
    let (code, output) = platform.tradewind(&args).await;
    assert_eq!(code, 0, "{output}");
    serde_json::from_str(&std::fs::read_to_string(summary).expect("the summary is written"))
        .expect("it is JSON")
}

fn gzipped(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    let file = std::fs::File::create(&path).expect("the state folder can be written");
    let mut gzip = Command::new("gzip").stdin(Stdio::piped()).stdout(file).spawn().expect("there is gzip");
    gzip.stdin.take().expect("it was piped").write_all(text.as_bytes()).expect("gzip reads");
    assert!(gzip.wait().expect("gzip ends").success());
    path
}

async fn has_loaded_the_small_file(shop: &Shop) {
    shop.sees_daily_sales(&[("2010-12-01", 2, 8 * 255 + 210), ("2010-12-02", 1, 3400)]).await;
    shop.sees_stock("85123A", 9, 0, 9, 0).await;
    shop.sees_stock("BANK%20CHARGES", 1, 0, 1, 0).await;
}

#[tokio::test]
async fn a_file_of_orders_is_loaded_once_however_often_it_is_loaded_and_the_tools_agree_on_it() {
    let platform = Platform::start("tools", &[]).await;
    let shop = platform.shop();
    let file = gzipped(platform.state_dir(), "orders.csv.gz", SMALL);

    let summary = load(&platform, &file, &[]).await;
    assert_eq!(summary["accepted"], 3, "{summary:#}");
    assert_eq!(summary["settled"]["confirmed"], 3, "{summary:#}");
    assert_eq!(summary["cancellations_skipped"], 1, "{summary:#}");
    let refused: i64 =
        summary["refused"].as_object().expect("by reason").values().filter_map(Value::as_i64).sum();
    assert_eq!(refused, 3, "{summary:#}");
    has_loaded_the_small_file(&shop).await;

    load(&platform, &file, &[]).await;
    has_loaded_the_small_file(&shop).await;

    let (code, output) = platform.tradewind(&["replay", "--all"]).await;
    assert_eq!(code, 0, "{output}");
    has_loaded_the_small_file(&shop).await;

    let (code, output) = platform.tradewind(&["events", "show", "stock-85123A"]).await;
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("StockReceived") && output.contains("StockReserved"), "{output}");

    let (code, output) = platform.tradewind(&["relay", "status"]).await;
    assert_eq!(code, 0, "{output}");
    for context in events::Context::ALL {
        assert!(output.contains(context.name()), "{output}");
    }
}

#[tokio::test]
async fn five_hundred_real_invoices_settle_and_shortages_are_rejected_not_oversold() {
    let Ok(retail) = Path::new(RETAIL).canonicalize() else {
        let test = "five_hundred_real_invoices_settle_and_shortages_are_rejected_not_oversold";
        skipped(test, &format!("{RETAIL} is not there"));
        return;
    };
    let platform = Platform::start("retail", &[]).await;
    let shop = platform.shop();
    let summary = load(&platform, &retail, &["--limit-orders", "500", "--stock-cover", "0.8"]).await;
    let settled = &summary["settled"];
    let confirmed = settled["confirmed"].as_i64().unwrap_or(0);
    let rejected = settled["rejected"].as_i64().unwrap_or(0);
    assert_eq!(Some(confirmed + rejected), summary["accepted"].as_i64(), "{summary:#}");
    assert!(confirmed > 0 && rejected > 0, "{summary:#}");

    let mut path = "/v1/stock?limit=200".to_owned();
    loop {
        let page = shop.get(&path).await.accepted();
        for item in page["items"].as_array().expect("a page has items") {
            let number = |name: &str| item[name].as_i64().expect("a number of pieces");
            assert_eq!(
                number("received"),
                number("available") + number("reserved") + number("shipped"),
                "{item}"
            );
            assert!(number("available") >= 0 && number("reserved") >= 0, "{item}");
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/stock?limit=200&cursor={cursor}"),
            None => break,
        }
    }
}
