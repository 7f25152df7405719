//! Where the behaviours are kept: in the database, so that they outlive the process.
//!
//! Never: a decision. Read next: `ledger.rs`.

use deadpool_postgres::{Pool, PoolError};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::behaviour::{Behaviour, Copies, DelayMs, Fault, Outcome, Percent, WEBHOOK_COPIES_DEFAULT};
use crate::value::{Customer, DeclineCode};

#[derive(Clone)]
pub struct Behaviours {
    pool: Pool,
    /// For whoever has no rule, while the database has no default.
    configured: Behaviour,
}

/// All that the acquirer was told.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Told {
    pub default: Behaviour,
    #[schema(value_type = Vec<RuleFields>)]
    pub rules: Vec<Rule>,
}

/// What one customer meets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "RuleFields")]
pub struct Rule {
    pub customer_id: Customer,
    #[serde(flatten)]
    pub behaviour: Behaviour,
}

/// serde cannot flatten and refuse unknown fields at once.
#[derive(Deserialize, ToSchema)]
#[schema(as = Rule)]
#[serde(deny_unknown_fields)]
pub struct RuleFields {
    #[schema(value_type = String, min_length = 1, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    customer_id: Customer,
    #[serde(default)]
    outcome: Outcome,
    #[schema(value_type = Option<String>, pattern = "^[a-z0-9_]{1,64}$")]
    decline_code: Option<DeclineCode>,
    #[serde(default)]
    #[schema(value_type = u32, required = false, maximum = 60_000)]
    delay_ms: DelayMs,
    #[serde(default)]
    fault: Fault,
    #[serde(default)]
    capture_at_once: bool,
    #[serde(default)]
    #[schema(value_type = u32, required = false, maximum = 100)]
    decline_rate_percent: Percent,
    #[schema(value_type = Option<u32>, maximum = 10)]
    webhook_copies: Option<Copies>,
    #[serde(default)]
    #[schema(value_type = u32, required = false, maximum = 60_000)]
    webhook_delay_ms: DelayMs,
    #[serde(default)]
    webhook_disorder: bool,
}

impl From<RuleFields> for Rule {
    fn from(fields: RuleFields) -> Self {
        let behaviour = Behaviour {
            outcome: fields.outcome,
            decline_code: fields.decline_code.unwrap_or_else(|| Behaviour::default().decline_code),
            delay_ms: fields.delay_ms,
            fault: fields.fault,
            capture_at_once: fields.capture_at_once,
            decline_rate_percent: fields.decline_rate_percent,
            webhook_copies: fields.webhook_copies.unwrap_or(WEBHOOK_COPIES_DEFAULT),
            webhook_delay_ms: fields.webhook_delay_ms,
            webhook_disorder: fields.webhook_disorder,
        };
        Self { customer_id: fields.customer_id, behaviour }
    }
}

const OF_CUSTOMER: &str = "SELECT * FROM behaviours WHERE customer_id = $1 OR customer_id IS NULL
     ORDER BY customer_id NULLS LAST LIMIT 1";
const OF_PAYMENT: &str = "SELECT * FROM behaviours
     WHERE customer_id = (SELECT customer_id FROM payments WHERE payment_id = $1) OR customer_id IS NULL
     ORDER BY customer_id NULLS LAST LIMIT 1";
const ALL: &str = "SELECT * FROM behaviours ORDER BY customer_id NULLS FIRST";
const ADD: &str =
    "INSERT INTO behaviours (customer_id, outcome, decline_code, delay_ms, fault, capture_at_once,
     decline_rate_percent, webhook_copies, webhook_delay_ms, webhook_disorder)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

impl Behaviours {
    pub fn new(pool: Pool, configured: Behaviour) -> Self {
        Self { pool, configured }
    }

    /// # Errors
    /// When the database does not answer. So for all of these.
    pub async fn of_customer(&self, customer: &Customer) -> Result<Behaviour, PoolError> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(OF_CUSTOMER).await?;
        let row = client.query_opt(&statement, &[&customer.as_str()]).await?;
        Ok(row.as_ref().map_or_else(|| self.configured.clone(), behaviour))
    }

    pub async fn of_payment(&self, payment_id: Uuid) -> Result<Behaviour, PoolError> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(OF_PAYMENT).await?;
        let row = client.query_opt(&statement, &[&payment_id]).await?;
        Ok(row.as_ref().map_or_else(|| self.configured.clone(), behaviour))
    }

    pub async fn told(&self) -> Result<Told, PoolError> {
        let rows = self.pool.get().await?.query(ALL, &[]).await?;
        let mut told = Told { default: self.configured.clone(), rules: Vec::new() };
        for row in &rows {
            match row.get::<_, Option<String>>("customer_id") {
                None => told.default = behaviour(row),
                Some(customer) => {
                    let customer_id = customer.try_into().expect("only customers were stored");
                    told.rules.push(Rule { customer_id, behaviour: behaviour(row) });
                }
            }
        }
        Ok(told)
    }

    /// Replaces all that was told before.
    pub async fn tell(&self, told: &Told) -> Result<(), PoolError> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await?;
        // Two at once: the second waits and then replaces the whole of the first's. Readers do not wait.
        transaction
            .batch_execute("LOCK TABLE behaviours IN SHARE ROW EXCLUSIVE MODE; DELETE FROM behaviours")
            .await?;
        let add = transaction.prepare(ADD).await?;
        let rules = told.rules.iter().map(|rule| (Some(rule.customer_id.as_str()), &rule.behaviour));
        for (customer, behaviour) in rules.chain([(None, &told.default)]) {
            let number =
                |bounded: u32| i32::try_from(bounded).expect("every number of a behaviour is bounded");
            let delay_ms = number(behaviour.delay_ms.get());
            let rate = number(behaviour.decline_rate_percent.get());
            let webhook_copies = number(behaviour.webhook_copies.get());
            let webhook_delay_ms = number(behaviour.webhook_delay_ms.get());
            let (outcome, fault) = (outcome_name(behaviour.outcome), fault_name(behaviour.fault));
            let decline_code = behaviour.decline_code.as_str();
            transaction
                .execute(
                    &add,
                    &[
                        &customer,
                        &outcome,
                        &decline_code,
                        &delay_ms,
                        &fault,
                        &behaviour.capture_at_once,
                        &rate,
                        &webhook_copies,
                        &webhook_delay_ms,
                        &behaviour.webhook_disorder,
                    ],
                )
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

fn behaviour(row: &Row) -> Behaviour {
    let stored = "the table's constraints hold what these types hold";
    let number = |column: &str| u32::try_from(row.get::<_, i32>(column)).expect(stored);
    Behaviour {
        outcome: if row.get::<_, &str>("outcome") == outcome_name(Outcome::Decline) {
            Outcome::Decline
        } else {
            Outcome::Approve
        },
        decline_code: row.get::<_, String>("decline_code").try_into().expect(stored),
        delay_ms: number("delay_ms").try_into().expect(stored),
        fault: FAULTS
            .into_iter()
            .find(|fault| fault_name(*fault) == row.get::<_, &str>("fault"))
            .expect(stored),
        capture_at_once: row.get("capture_at_once"),
        decline_rate_percent: number("decline_rate_percent").try_into().expect(stored),
        webhook_copies: number("webhook_copies").try_into().expect(stored),
        webhook_delay_ms: number("webhook_delay_ms").try_into().expect(stored),
        webhook_disorder: row.get("webhook_disorder"),
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Approve => "approve",
        Outcome::Decline => "decline",
    }
}

const FAULTS: [Fault; 4] =
    [Fault::None, Fault::TimeOutBeforeAcceptance, Fault::TimeOutAfterAcceptance, Fault::Unavailable];

fn fault_name(fault: Fault) -> &'static str {
    match fault {
        Fault::None => "none",
        Fault::TimeOutBeforeAcceptance => "time_out_before_acceptance",
        Fault::TimeOutAfterAcceptance => "time_out_after_acceptance",
        Fault::Unavailable => "unavailable",
    }
}
