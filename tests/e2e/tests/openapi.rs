//! The three OpenAPI documents as strangers read them: a validator, and clients that are generated from them.
//!
//! Both tools come from PyPI (`scripts/openapi-tools.txt`); `scripts/setup` installs them. Read next: `generated_clients.py`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use e2e::{Platform, WAIT_MAX, skipped};
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/generated_clients.py");

/// What a document is called here, and the endpoint that serves it.
const DOCUMENTS: [(&str, &str); 3] =
    [("commands", "command_url"), ("queries", "query_url"), ("provider", "payment_provider_url")];

/// The tools of `scripts/openapi-tools.txt`.
struct Tools {
    programs: PathBuf,
}

impl Tools {
    /// None, once it is said that `test` is skipped, where `scripts/setup` could not install them.
    fn of(test: &str) -> Option<Self> {
        let state = Path::new(ROOT).join(".tradewind");
        let wanted = std::fs::read_to_string(Path::new(ROOT).join("scripts/openapi-tools.txt"))
            .expect("the list of the tools is in the repository");
        // scripts/setup writes it last, so that a folder without it is not whole.
        let installed = std::fs::read_to_string(state.join("openapi-venv/made-of.txt"));
        if installed.is_ok_and(|installed| installed == wanted) {
            return Some(Self { programs: state.join("openapi-venv/bin") });
        }
        let why = match std::fs::read_to_string(state.join("openapi-venv.error")) {
            Ok(reason) => {
                format!("scripts/setup could not install scripts/openapi-tools.txt: {}", reason.trim())
            }
            Err(_) => "scripts/openapi-tools.txt is not installed: run scripts/setup".to_owned(),
        };
        skipped(test, &why);
        None
    }

    /// Runs a program of theirs and returns whether it succeeded, and what it said.
    async fn run(&self, program: &str, args: &[&str]) -> (bool, String) {
        let path = std::env::var("PATH").expect("there is a PATH");
        let output = Command::new(self.programs.join(program))
            .args(args)
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(WAIT_MAX, output).await;
        let output = output
            .unwrap_or_else(|_| panic!("{program} {args:?} does not end"))
            .expect("scripts/setup installed it");
        let said =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.success(), said)
    }

    async fn validate(&self, document: &Path) -> (bool, String) {
        self.run("python", &["-m", "openapi_spec_validator", text(document)]).await
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the temporary folder's name is UTF-8")
}

async fn document(platform: &Platform, endpoint: &str) -> Value {
    let answer =
        reqwest::get(format!("{}/openapi.json", platform.endpoint(endpoint))).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200, "{endpoint}");
    answer.json().await.expect("a document is JSON")
}

fn write(folder: &Path, name: &str, document: &Value) -> PathBuf {
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, document.to_string()).expect("the platform's folder can be written");
    file
}

#[tokio::test]
async fn each_openapi_document_is_valid_by_openapi_spec_validator() {
    let Some(tools) = Tools::of("each_openapi_document_is_valid_by_openapi_spec_validator") else { return };
    let platform = Platform::start("openapi_valid", &[]).await;
    for (name, endpoint) in DOCUMENTS {
        let mut document = document(&platform, endpoint).await;
        let version = document["openapi"].as_str().unwrap_or_default();
        assert!(version.starts_with("3.1."), "{name}: {version}");
        let (is_valid, said) = tools.validate(&write(platform.state_dir(), name, &document)).await;
        assert!(is_valid, "{name}: {said}");

        // The validator finds what is wrong, where something is.
        let operation = document["paths"]
            .as_object_mut()
            .and_then(|paths| paths.values_mut().next()?.as_object_mut()?.values_mut().next())
            .expect("a document describes an operation");
        operation["responses"] = json!({"200": {}});
        let (is_valid, said) = tools.validate(&write(platform.state_dir(), name, &document)).await;
        assert!(!is_valid && said.contains("description"), "{name}: {said}");
    }
}

#[tokio::test]
async fn clients_generated_from_the_openapi_documents_place_an_order_and_read_it_and_its_payment() {
    let test = "clients_generated_from_the_openapi_documents_place_an_order_and_read_it_and_its_payment";
    let Some(tools) = Tools::of(test) else { return };
    let mut platform = Platform::start("openapi_clients", &[]).await;
    let clients = platform.state_dir().join("clients");
    std::fs::create_dir(&clients).expect("the platform's folder can be written");
    for (name, endpoint) in DOCUMENTS {
        let document = write(&clients, name, &document(&platform, endpoint).await);
        let package = clients.join(name);
        let (document, package) = (text(&document), text(&package));
        // A warning is something that no client was generated for.
        let options =
            ["generate", "--meta", "none", "--fail-on-warning", "--path", document, "--output-path", package];
        let (is_made, said) = tools.run("openapi-python-client", &options).await;
        assert!(is_made, "{name}: {said}");
    }

    let order_id = Uuid::now_v7().to_string();
    let urls = DOCUMENTS.map(|(_, endpoint)| platform.endpoint(endpoint));
    let [commands, queries, provider] = urls.each_ref().map(String::as_str);
    let (is_done, said) =
        tools.run("python", &[CLIENTS, text(&clients), commands, queries, provider, &order_id]).await;
    assert!(is_done, "{said}");
    let seen: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));

    assert_eq!(seen["received"]["sku"], "TEAPOT");
    assert_eq!(seen["placed"]["order_id"], json!(order_id));
    assert_eq!(seen["correlation_id"], json!(order_id));
    assert_eq!(seen["placed_again"]["code"], "order_already_exists");
    let order = &seen["order"];
    assert_eq!(order["order_id"], json!(order_id));
    assert_eq!(order["status"], "confirmed");
    assert_eq!(order["total_minor"], 3500);
    assert_eq!(order["lines"], json!([{"sku": "TEAPOT", "quantity": 2, "unit_price_minor": 1750}]));
    assert_eq!(
        order["shipping_address"],
        json!({"name": "alice", "street": "1 Harbour Road", "city": "Bristol"})
    );
    assert_eq!(seen["order_without_waiting"], *order);
    assert_eq!(seen["listed"], json!([order_id]));
    assert_eq!(seen["stock"]["received"], 10);
    let payment = &seen["payment"];
    assert_eq!((&payment["payment_id"], &payment["state"]), (&json!(order_id), &json!("authorised")));
    assert_eq!((&payment["amount_minor"], &payment["currency"]), (&json!(3500), &json!("GBP")));
    assert_eq!(payment["customer_id"], "alice");
    assert_eq!(
        (&seen["authorised"]["state"], &seen["authorised"]["amount_minor"]),
        (&json!("authorised"), &json!(5))
    );
    assert_eq!(seen["no_such_payment"]["code"], "no_such_payment");
    assert_eq!(platform.stop().await, 0);
}
