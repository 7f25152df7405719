//! Apache Kafka's jars: fetched from Maven Central once, then used offline. A new `pom.xml` fetches them again.

use std::fs::{self, OpenOptions};
use std::path::Path;

use super::ServiceError;
use super::process::{argv, find_program, run_to_end};

/// The versions of the jars; a copy of this file marks the folder as complete.
const POM: &str = include_str!("../../../engines/kafka/pom.xml");
const SERVER_LOGGING: &str = include_str!("../../../engines/kafka/log4j2-server.properties");
const TOOLS_LOGGING: &str = include_str!("../../../engines/kafka/log4j2-tools.properties");
const MARKER: &str = "fetched-pom.xml";
const OLDEST_JAVA: u32 = 17;

/// Whether the folder holds the jars of exactly this `pom.xml`.
pub fn is_fetched(home: &Path) -> bool {
    fs::read_to_string(home.join(MARKER)).is_ok_and(|fetched| fetched == POM)
}

/// Fetches the jars if they are missing, and checks for Java.
///
/// # Errors
/// The inner error says why Kafka cannot run from jars here, in words for the reader; the outer error is a file that cannot be
/// written.
pub async fn ensure(home: &Path) -> Result<Result<(), String>, ServiceError> {
    if let Err(reason) = check_java().await {
        return Ok(Err(reason));
    }
    if !is_fetched(home) {
        if find_program("mvn").is_none() {
            return Ok(Err(
                "`mvn` is not installed (`make setup` as root, or `apt-get install maven`)".to_owned()
            ));
        }
        if let Err(cause) = fetch(home).await? {
            return Ok(Err(cause));
        }
    }
    write_if_changed(&home.join("log4j2-server.properties"), SERVER_LOGGING)?;
    write_if_changed(&home.join("log4j2-tools.properties"), TOOLS_LOGGING)?;
    Ok(Ok(()))
}

async fn check_java() -> Result<(), String> {
    let wanted = format!(
        "Java {OLDEST_JAVA} or later (`make setup` as root, or `apt-get install default-jdk-headless`)"
    );
    let printed = run_to_end("java -version", &argv([&"java", &"-version"]), &[])
        .await
        .map_err(|missing| format!("{wanted}: {missing}"))?;
    // openjdk version "17.0.15" 2025-04-15
    let version =
        printed.split('"').nth(1).and_then(|number| number.split(['.', '-']).next()?.parse::<u32>().ok());
    match version {
        Some(version) if version >= OLDEST_JAVA => Ok(()),
        _ => Err(format!("{wanted}; found: {}", printed.lines().next().unwrap_or_default())),
    }
}

async fn fetch(home: &Path) -> Result<Result<(), String>, ServiceError> {
    fs::create_dir_all(home).map_err(|source| ServiceError::io("create", home, source))?;
    // Two processes may share the folder (`up` and `make test`): the second waits for the first to fetch the jars.
    let lock_path = home.with_extension("lock");
    let lock_error = |source| ServiceError::io("lock", &lock_path, source);
    let lock =
        OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(lock_error)?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
        .await
        .expect("taking a lock does not panic")
        .map_err(lock_error)?;
    if is_fetched(home) {
        return Ok(Ok(()));
    }
    eprintln!("fetching Apache Kafka's jars from Maven Central (once) ...");
    let pom = home.join("pom.xml");
    fs::write(&pom, POM).map_err(|source| ServiceError::io("write", &pom, source))?;
    let libs = home.join("libs");
    if libs.exists() {
        fs::remove_dir_all(&libs).map_err(|source| ServiceError::io("remove", &libs, source))?;
    }
    let mut words = argv([&"mvn", &"-q", &"-B", &"-f", &pom, &"dependency:copy-dependencies"]);
    words.push(format!("-DoutputDirectory={}", libs.display()).into());
    if let Err(cause) = run_to_end("mvn", &words, &[]).await {
        return Ok(Err(cause.to_string()));
    }
    let marker = home.join(MARKER);
    fs::write(&marker, POM).map_err(|source| ServiceError::io("write", &marker, source))?;
    drop(lock);
    Ok(Ok(()))
}

fn write_if_changed(path: &Path, text: &str) -> Result<(), ServiceError> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(|source| ServiceError::io("write", path, source))
}
