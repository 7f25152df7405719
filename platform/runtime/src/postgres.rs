//! Connections to Postgres, and the schema and role of an owner, which its migrations need.
//!
//! Never: a wait without a limit, a session-level SET on a pooled connection, a password in an error or a statement.

use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use postgres_openssl::{MakeTlsConnector, TlsStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Connection, Socket};

use crate::Secret;

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A request that waits longer than this for a connection is answered 503.
const POOL_WAIT_MAX: Duration = Duration::from_secs(5);
const POOL_RECYCLE_MAX: Duration = Duration::from_secs(2);
/// How long sent data may stay unacknowledged before the connection is closed.
const TCP_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// When Postgres ends an idle transaction, so that a stopped process does not hold its locks.
const IDLE_IN_TRANSACTION_MAX: &str = "60s";

/// Two migrations at once change the same rows of the server's shared catalogue; one of them must retry.
const PREPARE_RETRIES_MAX: usize = 20;
const PREPARE_RETRY_DELAY: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("{url} is not a database URL ({reason}); allowed: postgres://user:password@host:port/database")]
    InvalidUrl { url: Secret, reason: String },
    #[error("TLS for {url} cannot be set up")]
    Tls { url: Secret, source: openssl::error::ErrorStack },
    #[error("no connection to {url}")]
    Connect { url: Secret, source: tokio_postgres::Error },
    #[error("the pool for {url} cannot be built")]
    Pool { url: Secret, source: deadpool_postgres::BuildError },
    #[error("{given:?} cannot own a schema; allowed: lower-case letters a to z, digits and _")]
    InvalidOwner { given: String },
    #[error("schema and role of {owner} cannot be prepared")]
    Prepare { owner: String, source: tokio_postgres::Error },
}

/// A pool of at most `connections_max` connections, which are opened on demand. Every wait has a limit.
///
/// # Errors
/// When the URL or its TLS parameters are invalid. No connection is opened yet.
pub fn pool(url: &Secret, connections_max: usize) -> Result<Pool, PostgresError> {
    let (config, tls) = parse(url)?;
    let manager =
        Manager::from_config(config, tls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Pool::builder(manager)
        .max_size(connections_max)
        .wait_timeout(Some(POOL_WAIT_MAX))
        .create_timeout(Some(CONNECT_MAX))
        .recycle_timeout(Some(POOL_RECYCLE_MAX))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|source| PostgresError::Pool { url: url.clone(), source })
}

/// A single connection, driven by a task that ends with it.
///
/// # Errors
/// When the URL is invalid or the server does not answer.
pub async fn connect(url: &Secret) -> Result<Client, PostgresError> {
    let Opened { client, connection } = open(url).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(%error, "connection to postgres lost");
        }
    });
    Ok(client)
}

/// A connection that its caller must drive.
pub(crate) struct Opened {
    pub client: Client,
    pub connection: Connection<Socket, TlsStream<Socket>>,
}

pub(crate) async fn open(url: &Secret) -> Result<Opened, PostgresError> {
    let (config, tls) = parse(url)?;
    let (client, connection) =
        config.connect(tls).await.map_err(|source| PostgresError::Connect { url: url.clone(), source })?;
    Ok(Opened { client, connection })
}

/// The role of the schema `owner`.
pub fn owner_role(owner: &str) -> String {
    format!("tradewind_{owner}")
}

/// `base` with its user replaced by the role of `owner`. The password is kept.
pub fn owner_url(base: &Secret, owner: &str) -> Secret {
    let role = owner_role(owner);
    let text = base.expose();
    let Some((scheme, after_scheme)) = text.split_once("://") else {
        // The last `user=` takes precedence.
        return Secret::from(format!("{text} user={role}"));
    };
    let (user_info, rest) = after_scheme.rsplit_once('@').unwrap_or(("", after_scheme));
    let password = user_info.split_once(':').map(|(_, password)| format!(":{password}")).unwrap_or_default();
    Secret::from(format!("{scheme}://{role}{password}@{rest}"))
}

/// The password in a URL, for [`prepare_owner`].
///
/// # Errors
/// When the URL is invalid, or the password is not UTF-8.
pub fn password_of(url: &Secret) -> Result<Option<Secret>, PostgresError> {
    let (config, _) = parse(url)?;
    let Some(password) = config.get_password() else { return Ok(None) };
    match std::str::from_utf8(password) {
        Ok(password) => Ok(Some(Secret::from(password))),
        Err(_) => Err(invalid(url, "the password is not UTF-8")),
    }
}

/// Creates the schema `owner` and the role `tradewind_<owner>` where they are missing. The role may log in to this
/// database, has the schema as its search path, and the rights that the schema's migrations grant. Idempotent, except that
/// it sets the password.
///
/// # Errors
/// When `owner` is not a plain name, or the admin lacks the rights.
pub async fn prepare_owner(
    admin: &Client,
    owner: &str,
    password: Option<&Secret>,
) -> Result<(), PostgresError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !owner.bytes().all(plain) || !owner.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err(PostgresError::InvalidOwner { given: owner.to_owned() });
    }
    let statements = owner_statements(owner, password);
    let delays = ConstantBuilder::default()
        .with_delay(PREPARE_RETRY_DELAY)
        .with_jitter()
        .with_max_times(PREPARE_RETRIES_MAX);
    (async || admin.batch_execute(&statements).await)
        .retry(delays)
        .when(is_race)
        .await
        .map_err(|source| PostgresError::Prepare { owner: owner.to_owned(), source })
}

fn owner_statements(owner: &str, password: Option<&Secret>) -> String {
    let role = owner_role(owner);
    let password = password.map_or_else(String::new, |password| {
        // The verifier is base64, digits and `$:=`: nothing in it needs quoting.
        let verifier = postgres_protocol::password::scram_sha_256(password.expose().as_bytes());
        format!("ALTER ROLE {role} PASSWORD '{verifier}';")
    });
    format!(
        "DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         {password}
         CREATE SCHEMA IF NOT EXISTS {owner};
         GRANT USAGE ON SCHEMA {owner} TO {role};
         DO $$ BEGIN
           EXECUTE format('GRANT CONNECT ON DATABASE %I TO {role}', current_database());
           EXECUTE format('ALTER ROLE {role} IN DATABASE %I SET search_path = {owner}', current_database());
           EXECUTE format('ALTER ROLE {role} IN DATABASE %I SET idle_in_transaction_session_timeout = ''{IDLE_IN_TRANSACTION_MAX}''', current_database());
           -- The statements are short look-ups by an index. A plan that was cached while a table was small must not scan it
           -- when it has grown. The remaining scans (of a table of one row) then cost so much that the planner would
           -- compile them to machine code, which takes 150 ms of processor time.
           EXECUTE format('ALTER ROLE {role} IN DATABASE %I SET enable_seqscan = off', current_database());
           EXECUTE format('ALTER ROLE {role} IN DATABASE %I SET jit = off', current_database());
         END $$;"
    )
}

/// Another session changed the same catalogue row. Postgres reports `tuple concurrently updated` as an internal error.
fn is_race(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        [
            &SqlState::INTERNAL_ERROR,
            &SqlState::UNIQUE_VIOLATION,
            &SqlState::DUPLICATE_SCHEMA,
            &SqlState::T_R_DEADLOCK_DETECTED,
        ]
        .contains(&code)
    })
}

/// What libpq's `sslmode` verifies beyond encryption.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verify {
    Nothing,
    Certificate,
    CertificateAndHost,
}

/// tokio-postgres supports `disable`, `prefer` and `require`. This adds `verify-ca`, `verify-full` and `sslrootcert`.
fn parse(url: &Secret) -> Result<(Config, MakeTlsConnector), PostgresError> {
    let (place, query) = url.expose().split_once('?').unwrap_or((url.expose(), ""));
    let (mut verify, mut root) = (Verify::Nothing, None);
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", "verify-ca")) => verify = Verify::Certificate,
            Some(("sslmode", "verify-full")) => verify = Verify::CertificateAndHost,
            Some(("sslrootcert", path)) => {
                root = Some(percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned());
                continue;
            }
            _ => {
                kept.push(pair);
                continue;
            }
        }
        kept.push("sslmode=require");
    }
    let bare = if kept.is_empty() { place.to_owned() } else { format!("{place}?{}", kept.join("&")) };
    let mut config: Config = bare.parse().map_err(|error: tokio_postgres::Error| {
        invalid(
            url,
            &std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string),
        )
    })?;
    config
        .connect_timeout(CONNECT_MAX)
        .tcp_user_timeout(TCP_UNACKNOWLEDGED_MAX)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL);
    if config.get_application_name().is_none() {
        config.application_name("tradewind");
    }
    // As in libpq, `sslrootcert` implies that the certificate is verified.
    if root.is_some() && verify == Verify::Nothing {
        verify = Verify::Certificate;
    }
    let tls = connector(verify, root.as_deref())
        .map_err(|source| PostgresError::Tls { url: url.clone(), source })?;
    Ok((config, tls))
}

fn connector(verify: Verify, root: Option<&str>) -> Result<MakeTlsConnector, openssl::error::ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    if let Some(root) = root {
        builder.set_ca_file(root)?;
    }
    if verify == Verify::Nothing {
        builder.set_verify(SslVerifyMode::NONE);
    }
    let mut tls = MakeTlsConnector::new(builder.build());
    if verify != Verify::CertificateAndHost {
        tls.set_callback(|connection, _host| {
            connection.set_verify_hostname(false);
            Ok(())
        });
    }
    Ok(tls)
}

fn invalid(url: &Secret, reason: &str) -> PostgresError {
    PostgresError::InvalidUrl { url: url.clone(), reason: url.redact(reason) }
}

#[cfg(test)]
mod tests {
    use super::{owner_url, parse, password_of};
    use crate::Secret;

    #[track_caller]
    fn owned(base: &str, expected: &str) {
        assert_eq!(owner_url(&Secret::from(base), "orders").expose(), expected);
    }

    #[test]
    fn the_url_of_an_owner_has_its_role_and_the_same_password() {
        owned("postgres://admin:pw@db:5432/shop", "postgres://tradewind_orders:pw@db:5432/shop");
        owned(
            "postgres://admin@db/shop?sslmode=require",
            "postgres://tradewind_orders@db/shop?sslmode=require",
        );
        owned("postgres://db/shop", "postgres://tradewind_orders@db/shop");
        owned("host=db user=admin password=pw", "host=db user=admin password=pw user=tradewind_orders");
    }

    #[test]
    fn the_ssl_modes_of_libpq_are_supported() {
        for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
            let url = Secret::from(format!("postgres://u@db/shop?sslmode={mode}&application_name=x"));
            let (config, _) = parse(&url).unwrap_or_else(|error| panic!("{mode}: {error}"));
            assert_eq!(config.get_application_name(), Some("x"));
        }
    }

    #[test]
    fn an_invalid_url_is_refused_without_its_password() {
        let error = password_of(&Secret::from("postgres://u:hunter2@db:port/shop"))
            .expect_err("port is not a number");
        assert!(error.to_string().contains("postgres://u:***@db:port/shop"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn the_password_of_a_url_is_percent_decoded() {
        let password = password_of(&Secret::from("postgres://u:p%40ss@db/shop")).expect("a good url");
        assert_eq!(password, Some(Secret::from("p@ss")));
        assert_eq!(password_of(&Secret::from("postgres://u@db/shop")).expect("a good url"), None);
    }
}
