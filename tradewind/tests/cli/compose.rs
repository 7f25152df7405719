//! docker-compose.yml agrees with the binary's own `--help`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::Deserialize;

use crate::platform::run;

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
}

/// The fields of a service that concern the binary.
#[derive(Deserialize)]
struct Service {
    build: Option<serde_json::Value>,
    image: Option<String>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, serde_json::Value>,
    healthcheck: Option<HealthCheck>,
}

#[derive(Deserialize)]
struct HealthCheck {
    test: Vec<String>,
}

/// Every subcommand reads the variable of the crate `tracing`.
const ALWAYS_READ: &str = "RUST_LOG";
const ROLES: [&str; 5] = ["command-side", "query-side", "sagas", "relay", "payment-provider"];

#[test]
fn every_command_and_variable_of_docker_compose_is_in_the_help() {
    for (name, service) in ours() {
        let [subcommand, options @ ..] = service.command.as_slice() else {
            panic!("{name} has no subcommand");
        };
        let help = help(subcommand);
        for option in options {
            let flag = option.split('=').next().expect("split gives at least one part");
            assert!(
                help.contains(&format!("{flag} ")),
                "{name}: `{subcommand}` has no option {flag}:\n{help}"
            );
        }
        for variable in service.environment.keys().filter(|variable| *variable != ALWAYS_READ) {
            let named = [format!("[env: {variable}="), format!("[env: {variable}]")];
            assert!(
                named.iter().any(|form| help.contains(form)),
                "{name}: `{subcommand}` reads no {variable}:\n{help}"
            );
        }
    }
}

#[test]
fn docker_compose_runs_every_role_with_a_readiness_check() {
    let services = ours();
    for role in ROLES {
        let service = services.get(role).unwrap_or_else(|| panic!("no service {role}"));
        assert_eq!(service.command.first().map(String::as_str), Some(role));
        let test = &service.healthcheck.as_ref().unwrap_or_else(|| panic!("{role} has no health check")).test;
        assert!(
            matches!(&test[..], [cmd, program, health, url]
                if cmd == "CMD" && program == "tradewind" && health == "health" && url.ends_with("/readyz")),
            "{role}: {test:?}"
        );
    }
    for job in ["migrate", "topics"] {
        assert!(services.contains_key(job), "no service {job}");
    }
}

/// The services that run our image.
fn ours() -> BTreeMap<String, Service> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docker-compose.yml");
    let text = fs::read_to_string(path).expect("docker-compose.yml is there");
    let compose: Compose =
        serde_saphyr::from_str(&text).expect("docker-compose.yml is YAML of a known shape");
    let ours = |service: &Service| {
        service.build.is_some()
            || service.image.as_deref().is_some_and(|image| image.starts_with("tradewind"))
    };
    compose.services.into_iter().filter(|(_, service)| ours(service)).collect()
}

fn help(subcommand: &str) -> String {
    let (code, help) = run(Command::new(env!("CARGO_BIN_EXE_tradewind")).args([subcommand, "--help"]));
    assert_eq!(code, Some(0), "{help}");
    help
}
