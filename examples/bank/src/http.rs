//! Commands in, balances out.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use event_log::{Decide, Metadata, State as _, StreamId};
use event_store::Stores;
use projections::http::{ReadModels, Target, WaitQuery};
use runtime::Problem;
use runtime::http::Path;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::domain::{Account, AccountCommand, Transfer, TransferCommand};
use crate::events::{Context, Order};
use crate::read_models::Balances;

#[derive(Deserialize)]
struct PayIn {
    pence: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub fn router(stores: Stores, models: ReadModels) -> Router {
    let pay_in = async |State(stores), Path(account): Path<String>, Json(body): Json<PayIn>| {
        execute::<Account>(&stores, Context::Accounts, AccountCommand::PayIn { account, pence: body.pence })
            .await
    };
    let transfer = async |State(stores), Json(order): Json<Order>| {
        execute::<Transfer>(&stores, Context::Transfers, TransferCommand::Request(order)).await
    };
    let commands = Router::new()
        .route("/accounts/{account}", post(pay_in))
        .route("/transfers", post(transfer))
        .route("/transfers/{transfer}", get(status));
    commands
        .with_state(stores)
        .merge(Router::new().route("/accounts/{account}", get(balance)).with_state(models))
}

async fn execute<D: Decide>(
    stores: &Stores,
    context: Context,
    command: D::Command,
) -> Result<Response, Problem> {
    let executed = stores.of(context).execute::<D>(&command, &Metadata::by("http", Uuid::now_v7())).await;
    match executed.map_err(|_| Problem::internal())? {
        Ok(done) => {
            Ok(Json(json!({"position": format!("{context}:{}", done.appended.last_position)}))
                .into_response())
        }
        Err(refusal) => {
            Err(Problem::new(StatusCode::CONFLICT, "refused", "Refused").detail(refusal.to_string()))
        }
    }
}

async fn balance(
    State(models): State<ReadModels>,
    Path(account): Path<String>,
    WaitQuery { query: Nothing {}, wait }: WaitQuery<Nothing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let target =
        Target { kind: "account", key: &account, streams: &[StreamId::new(Account::CATEGORY, &account)] };
    models.show::<Balances>(&headers, &wait, &target, None).await
}

/// From the log: no read model shows transfers.
async fn status(State(stores): State<Stores>, Path(transfer): Path<Uuid>) -> Result<Response, Problem> {
    let (store, stream) = (stores.of(Context::Transfers), StreamId::new(Transfer::CATEGORY, transfer));
    let loaded = store.load::<Transfer>(&stream).await.map_err(|_| Problem::internal())?;
    Ok(Json(json!({"status": <&str>::from(&*loaded.state)})).into_response())
}
