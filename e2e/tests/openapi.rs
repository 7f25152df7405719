//! The three OpenAPI documents as strangers read them: by openapi-spec-validator.
//!
//! It comes from PyPI (`scripts/openapi-tools.txt`); `scripts/setup` installs it. Read next: `fuzz.rs`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use e2e::{PATIENCE, Platform, skipped};
use serde_json::{Value, json};
use tokio::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

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
        let output = tokio::time::timeout(PATIENCE, output).await;
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
