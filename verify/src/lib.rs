//! Verify: proves that the logs, the topics, the checkpoints, the read models, the stock and the money agree, on a
//! running system or a stopped one, and names the first record that does not.
//!
//! `platform/verify-log` checks what holds for any domain; this crate adds what holds for the shop. `check/` lists it, one file for
//! each property. `read/` reads what belongs to an order, and the provider's ledger; `fold/` folds the logs a second time.
//! `read_models.rs` brings them together: logs, read models and ledger, by key.
//!
//! Only the types of the events are shared with what is checked: SQL, folds and order process are this crate's own. Never: a
//! write, a lock, a consumer group; a map over all streams; the code of a projection, the relay or a saga.
//! Read next: `check/mod.rs`, `read_models.rs`.

mod check;
mod fold;
mod read;
mod read_models;

use chrono::TimeDelta;
use events::{Context, ContextName, Event};
use verify_log::{Domain, OwnChecks, Snapshots};

pub use check::PROPERTIES;
pub use read::ledger::PROVIDER;
pub use verify_log::{Connect, Connections, Error, Line, Property, Report, Violation};

use check::{CATEGORIES, money, second_folds};
use read_models::check_read_models;

/// The owner of the read models.
pub const READ_MODEL: &str = "readmodel";

static DOMAIN: Domain = Domain {
    contexts: &Context::NAMES,
    context_of: |stream| Context::of_stream(stream).map(ContextName::from),
    read_model_schema: READ_MODEL,
    read_model_consumer: "query-side",
};

type LoggedEvent = verify_log::LoggedEvent<Event>;
type Streams = verify_log::Streams<Event>;

/// What is to be checked.
pub struct Scope {
    pub wants: Box<dyn Fn(&Property) -> bool + Send + Sync>,
    /// How long after its deadline a process may still be on its way.
    pub grace: TimeDelta,
}

/// Checks once what the scope wants. Only the provider's ledger may be away: then the report says that the money was not checked.
///
/// # Errors
/// [`Error`] when something else could not be checked.
pub async fn run(connections: &Connections, scope: &Scope) -> Result<Report, Error> {
    let own = ShopChecks { wants_money: (scope.wants)(&money::PROPERTY), grace: scope.grace };
    let report = verify_log::run_with::<Event, _>(connections, &DOMAIN, &scope.wants, own).await?;
    let wanted = PROPERTIES.into_iter().filter(|property| (scope.wants)(property));
    Ok(report.select(wanted).with_second_folds(second_folds()))
}

/// The properties of the shop.
struct ShopChecks {
    /// Whether the ledger is to be read.
    wants_money: bool,
    grace: TimeDelta,
}

impl OwnChecks for ShopChecks {
    const CATEGORIES: &'static [&'static str] = &CATEGORIES;

    fn check(
        self,
        connections: Connections,
        snapshots: Snapshots,
    ) -> impl Future<Output = Result<Report, Error>> + Send + 'static {
        check_read_models(connections, snapshots, self.wants_money, self.grace)
    }
}
