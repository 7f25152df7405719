//! Databases of a test's own, empty or migrated. A migrated one is a copy of a template that the first test makes.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use events::Context;
use runtime::Secret;
use runtime::postgres::prepare_owner;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::{engine, unique};

/// How long a database may stay in use before its copy is given up.
const COPY_MAX: Duration = Duration::from_secs(60);
/// Every session that makes a template holds this advisory lock of the database of `DATABASE_URL`.
const TEMPLATES_LOCK: i64 = 0x7465_6d70;

/// A database of one test's own. It goes with the private cluster when the run ends.
pub struct TestDatabase {
    /// As the owner of the database, who may do everything.
    pub url: String,
}

/// Creates an empty database whose name starts with `name`.
///
/// # Panics
/// When `DATABASE_URL` is not set or no server answers there.
pub async fn fresh_database(name: &str) -> TestDatabase {
    let admin = admin().await;
    let database = unique_database(name);
    create(&admin, &database, "template1").await;
    TestDatabase { url: url_of(&database) }
}

/// Creates a database with the log of one context.
///
/// # Panics
/// As [`fresh_database`], or when the migrations do not apply.
pub async fn context(name: &str, context: Context) -> TestDatabase {
    contexts(name, &[context]).await
}

/// Creates a database with the logs of these contexts.
///
/// # Panics
/// As [`fresh_database`], or when the migrations do not apply.
pub async fn contexts(name: &str, contexts: &[Context]) -> TestDatabase {
    let owners: Vec<&str> = contexts.iter().map(|context| context.name()).collect();
    migrated_database(name, &owners, async |admin| migrate_contexts(admin, contexts).await).await
}

/// Prepares the owners of these contexts and applies their migrations, as `tradewind migrate` does.
///
/// # Panics
/// When the server refuses.
pub async fn migrate_contexts(admin: &mut Client, contexts: &[Context]) {
    for context in contexts {
        prepare_owner(admin, context.name(), None).await.expect("the owner may create schemas and roles");
        event_store::migrate(admin, *context).await.expect("the migrations apply");
    }
}

/// Creates a database with the schemas of `owners`, which `migrate` makes.
///
/// `migrate` runs on the template, which is made once for each list of owners and set of migrations, and again on each
/// copy, where it only repeats what a copy does not hold: the settings of a role in a database.
///
/// # Panics
/// As [`fresh_database`], or when `migrate` does.
pub async fn migrated_database(
    name: &str,
    owners: &[&str],
    migrate: impl AsyncFn(&mut Client),
) -> TestDatabase {
    let admin = admin().await;
    let template = format!("template_{}_{:016x}", owners.len(), hash_of_migrations(owners));
    if !exists(&admin, &template).await {
        make_template(&admin, &template, &migrate).await;
    }
    let database = unique_database(name);
    create(&admin, &database, &template).await;
    let url = url_of(&database);
    migrate(&mut connect(&url).await).await;
    TestDatabase { url }
}

/// One process at a time makes a template. It gets its name when it is whole.
async fn make_template(admin: &Client, template: &str, migrate: &impl AsyncFn(&mut Client)) {
    admin
        .execute("SELECT pg_advisory_lock($1)", &[&TEMPLATES_LOCK])
        .await
        .expect("the lock is given when the other process has made its template");
    if !exists(admin, template).await {
        let draft = unique_database("template_draft");
        create(admin, &draft, "template1").await;
        migrate(&mut connect(&url_of(&draft)).await).await;
        // The server needs a moment to end the session of `migrate`.
        retry_while_in_use(admin, &format!("ALTER DATABASE {draft} RENAME TO {template}")).await;
    }
    admin.execute("SELECT pg_advisory_unlock($1)", &[&TEMPLATES_LOCK]).await.expect("the lock is held");
}

/// Copies the database at `url` into one called `copy`, as a backup; one of that name is removed first. Nobody else may
/// be connected to the original: the copy waits for that.
///
/// # Panics
/// When the server refuses, or somebody stays connected.
pub async fn copy_database(url: &str, copy: &str) -> TestDatabase {
    let (server, original) = url.rsplit_once('/').expect("a database url ends in /<database>");
    let admin = admin().await;
    let drop_copy = format!("DROP DATABASE IF EXISTS {copy} WITH (FORCE)");
    admin.batch_execute(&drop_copy).await.expect("the role of DATABASE_URL may drop databases");
    create(&admin, copy, original).await;
    TestDatabase { url: format!("{server}/{copy}") }
}

async fn create(admin: &Client, database: &str, template: &str) {
    retry_while_in_use(admin, &format!("CREATE DATABASE {database} TEMPLATE {template}")).await;
}

async fn retry_while_in_use(admin: &Client, statement: &str) {
    let started = Instant::now();
    while let Err(error) = admin.batch_execute(statement).await {
        let in_use = error.code() == Some(&SqlState::OBJECT_IN_USE);
        assert!(in_use && started.elapsed() < COPY_MAX, "{statement}: {error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn exists(admin: &Client, database: &str) -> bool {
    let query = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
    admin.query_one(query, &[&database]).await.expect("pg_database is readable").get(0)
}

/// Of the names and contents of all files in `migrations/`, and of the owners.
fn hash_of_migrations(owners: &[&str]) -> u64 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let mut files = Vec::new();
    list(&folder, &mut files);
    files.sort();
    let mut hasher = DefaultHasher::new();
    owners.hash(&mut hasher);
    for file in files {
        file.hash(&mut hasher);
        std::fs::read(&file).expect("a migration can be read").hash(&mut hasher);
    }
    hasher.finish()
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("migrations/ is in the working copy") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}

/// A session in the database of `DATABASE_URL`. It ends when the client is dropped.
pub(crate) async fn admin() -> Client {
    connect(&engine("DATABASE_URL")).await
}

async fn connect(url: &str) -> Client {
    let url = Secret::from(url);
    runtime::postgres::connect(&url).await.expect("DATABASE_URL leads to a running PostgreSQL")
}

fn unique_database(name: &str) -> String {
    unique(name).replace('-', "_")
}

fn url_of(database: &str) -> String {
    let admin_url = engine("DATABASE_URL");
    let (server, _) = admin_url.rsplit_once('/').expect("DATABASE_URL ends in /<database>");
    format!("{server}/{database}")
}
