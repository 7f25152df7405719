//! Stores the configured behaviours in the database, so that they outlive the process.

use deadpool_postgres::{Pool, PoolError};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::behaviour::{Behaviour, Copies, DelayMs, Fault, Outcome, Percent, WEBHOOK_COPIES_DEFAULT};
use crate::value::{Customer, DeclineCode};

#[derive(Clone)]
pub struct BehaviourStore {
    pool: Pool,
    /// For customers without a rule, while the database has no default.
    configured: Behaviour,
}

/// The default and the rules of single customers.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BehaviourSettings {
    pub default: Behaviour,
    #[schema(value_type = Vec<RuleFields>)]
    pub rules: Vec<Rule>,
}

/// The behaviour for one customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "RuleFields")]
pub struct Rule {
    pub customer_id: Customer,
    #[serde(flatten)]
    pub behaviour: Behaviour,
}

/// The fields of a [`Rule`]: serde cannot flatten a struct and refuse unknown fields at once.
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

impl BehaviourStore {
    pub fn new(pool: Pool, configured: Behaviour) -> Self {
        Self { pool, configured }
    }

    /// # Errors
    /// When the database does not answer. The same holds for the other methods.
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

    pub async fn settings(&self) -> Result<BehaviourSettings, PoolError> {
        let rows = self.pool.get().await?.query(ALL, &[]).await?;
        let mut settings = BehaviourSettings { default: self.configured.clone(), rules: Vec::new() };
        for row in &rows {
            match row.get::<_, Option<String>>("customer_id") {
                None => settings.default = behaviour(row),
                Some(customer) => {
                    let customer_id = customer.try_into().expect("only valid customer ids are stored");
                    settings.rules.push(Rule { customer_id, behaviour: behaviour(row) });
                }
            }
        }
        Ok(settings)
    }

    /// Replaces the default and all rules.
    pub async fn replace(&self, settings: &BehaviourSettings) -> Result<(), PoolError> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await?;
        // The lock serialises concurrent replacements. Readers do not wait for it.
        transaction
            .batch_execute("LOCK TABLE behaviours IN SHARE ROW EXCLUSIVE MODE; DELETE FROM behaviours")
            .await?;
        let add = transaction.prepare(ADD).await?;
        let rules = settings.rules.iter().map(|rule| (Some(rule.customer_id.as_str()), &rule.behaviour));
        for (customer, behaviour) in rules.chain([(None, &settings.default)]) {
            let number = |bounded: u32| i32::try_from(bounded).expect("every number of a behaviour fits");
            let delay_ms = number(behaviour.delay_ms.get());
            let rate = number(behaviour.decline_rate_percent.get());
            let webhook_copies = number(behaviour.webhook_copies.get());
            let webhook_delay_ms = number(behaviour.webhook_delay_ms.get());
            let (outcome, fault): (&str, &str) = (behaviour.outcome.into(), behaviour.fault.into());
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
    let stored = "the table's constraints allow only what these types allow";
    let number = |column: &str| u32::try_from(row.get::<_, i32>(column)).expect(stored);
    Behaviour {
        outcome: row.get::<_, &str>("outcome").parse().expect(stored),
        decline_code: row.get::<_, String>("decline_code").try_into().expect(stored),
        delay_ms: number("delay_ms").try_into().expect(stored),
        fault: row.get::<_, &str>("fault").parse().expect(stored),
        capture_at_once: row.get("capture_at_once"),
        decline_rate_percent: number("decline_rate_percent").try_into().expect(stored),
        webhook_copies: number("webhook_copies").try_into().expect(stored),
        webhook_delay_ms: number("webhook_delay_ms").try_into().expect(stored),
        webhook_disorder: row.get("webhook_disorder"),
    }
}
