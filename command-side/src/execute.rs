//! Executes a command and returns its response: executed, refused, or repeated. Every route ends here.
//!
//! The response is stored under its `Idempotency-Key` in the append of the command's events. A response that writes
//! nothing (a refusal, a command that was fulfilled before) also goes through the append: only there is it certain that
//! the decision was made on the latest version of the stream.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::Decide;
use event_store::{
    Answer, AppendError, EventStore, IdempotencyClaim, StoredAnswer, retry_conflicts, retry_stale,
};
use events::{PositionToken, StreamId, Version};
use fault::crash_point;
use runtime::Problem;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::app::App;
use crate::error_responses;
use crate::refusal::Refusal;
use crate::request::{CommandRequest, IdempotencyKey};
use crate::response::CommandResponse;

/// The attempts of a command that holds its stream's lock, while other processes keep writing to the stream.
const ATTEMPTS_MAX: u32 = 20;

/// Commands of this process that conflicted on a stream are decided one after another, so that each is decided about
/// twice and not once for each of the others. Streams that share a lock by chance only wait a little longer.
static STREAM_LOCKS: [Mutex<()>; 64] = [const { Mutex::const_new(()) }; 64];

/// A command that was read from a request.
#[derive(Debug)]
pub struct PreparedCommand<D: Decide> {
    pub command: D::Command,
    pub accepted: Accepted,
}

/// The form of the response when the command is accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub status: StatusCode,
    /// The name of the id in the body: `order_id`.
    pub subject: &'static str,
    pub id: String,
    /// The path before the id in `Location`, if the command creates something.
    pub location: Option<&'static str>,
}

/// Executes the command, or returns what is wrong with the request. `name` names the command in the metrics.
pub async fn execute<D>(
    name: &'static str,
    app: &App,
    request: &CommandRequest,
    prepared: Result<PreparedCommand<D>, Problem>,
) -> Response
where
    D: Decide<Refusal: Refusal>,
{
    let started = Instant::now();
    let response = match prepared {
        Ok(prepared) => execute_prepared(app.store_of::<D>(), request, &prepared).await,
        Err(problem) => Err(problem),
    };
    let (outcome, code) = match &response {
        Ok(response) => (response.outcome(), response.code()),
        Err(problem) if problem.status().is_server_error() => ("failed", problem.code()),
        Err(problem) => ("refused", problem.code()),
    };
    let code = code.to_owned();
    metrics::counter!("tradewind_commands_total", "command" => name, "outcome" => outcome, "code" => code)
        .increment(1);
    metrics::histogram!("tradewind_command_duration_seconds", "command" => name).record(started.elapsed());
    response.into_response()
}

/// The state that a decision is made on. The append checks it either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadMode {
    Loaded,
    /// The command creates something, so its stream should be empty. If it is not, the append conflicts.
    AssumedEmpty,
}

impl<D: Decide> PreparedCommand<D> {
    fn stream(&self) -> StreamId {
        D::own_stream(&self.command)
    }

    fn first_load_mode(&self, request: &CommandRequest) -> LoadMode {
        match (self.accepted.location, &request.if_match) {
            (Some(_), None) => LoadMode::AssumedEmpty,
            (Some(_), Some(_)) | (None, _) => LoadMode::Loaded,
        }
    }
}

/// The outcome of an attempt without a conflict.
enum Attempted {
    Response(CommandResponse),
    /// `If-Match` named another version than this one.
    VersionMismatch(Version),
}

async fn execute_prepared<D>(
    store: &EventStore,
    request: &CommandRequest,
    prepared: &PreparedCommand<D>,
) -> Result<CommandResponse, Problem>
where
    D: Decide<Refusal: Refusal>,
{
    // The append finds under the log's lock whether the key was used before: no query is needed beforehand.
    let first = retry_stale(|| attempt(store, request, prepared, prepared.first_load_mode(request)));
    let attempted = match first.await {
        Err(error) if error.is_conflict() => {
            let _lock = stream_lock(&prepared.stream()).lock().await;
            retry_conflicts(ATTEMPTS_MAX, || attempt(store, request, prepared, LoadMode::Loaded)).await
        }
        attempted => attempted,
    };
    match attempted {
        Ok(Attempted::Response(response)) => Ok(response),
        // The same request may have arrived shortly before and changed the version itself.
        Ok(Attempted::VersionMismatch(current)) => match stored_response(store, request, prepared).await? {
            Some(response) => Ok(response),
            None => Err(error_responses::version_mismatch(&prepared.stream(), current)),
        },
        Err(AppendError::AlreadyAnswered(stored)) => Ok(replayed(store, prepared, stored)),
        Err(error) => Err(error_responses::of_append(&error)),
    }
}

fn stream_lock(stream: &StreamId) -> &'static Mutex<()> {
    let mut hash = DefaultHasher::new();
    stream.hash(&mut hash);
    &STREAM_LOCKS[(hash.finish() % STREAM_LOCKS.len() as u64) as usize]
}

/// The response that is stored under the request's key.
async fn stored_response<D: Decide>(
    store: &EventStore,
    request: &CommandRequest,
    prepared: &PreparedCommand<D>,
) -> Result<Option<CommandResponse>, Problem> {
    let Some(IdempotencyKey { key, fingerprint }) = &request.key else { return Ok(None) };
    match store.answer(key).await.map_err(|error| error_responses::of_store(&error))? {
        Some(stored) if stored.fingerprint != *fingerprint => Err(error_responses::key_reused(key)),
        Some(stored) => Ok(Some(replayed(store, prepared, stored))),
        None => Ok(None),
    }
}

fn replayed<D: Decide>(
    store: &EventStore,
    prepared: &PreparedCommand<D>,
    stored: StoredAnswer,
) -> CommandResponse {
    let position = PositionToken { context: store.context(), position: stored.last_position };
    CommandResponse::new(stored.answer, position, &prepared.accepted).replayed()
}

async fn attempt<D>(
    store: &EventStore,
    request: &CommandRequest,
    prepared: &PreparedCommand<D>,
    mode: LoadMode,
) -> Result<Attempted, AppendError>
where
    D: Decide<Refusal: Refusal>,
{
    let stream = prepared.stream();
    let mut work = store.unit_of_work_ahead();
    match mode {
        LoadMode::AssumedEmpty => work.assume_empty::<D>(&stream),
        LoadMode::Loaded => {
            work.load::<D>(&stream).await?;
        }
    }
    let current = work.version(&stream);
    if request.if_match.is_some_and(|asked| !asked.allows(current)) {
        work.commit().await?;
        return Ok(Attempted::VersionMismatch(current));
    }
    let decided = work.decide::<D>(&stream, &prepared.command, &request.metadata).await?;
    let answer = match decided.map_err(|refusal| refusal.problem()) {
        Ok(decided) if decided.events == 0 => {
            work.await_dependencies().await?;
            unchanged(store, prepared, decided.version).await?
        }
        Ok(decided) => accepted(prepared, decided.version),
        Err(problem) => refused(&problem),
    };
    if let Some(IdempotencyKey { key, fingerprint }) = request.key.clone() {
        work.claim(IdempotencyClaim { key, fingerprint, answer: answer.clone() });
    }
    let committed = work.commit().await?;
    crash_point!("command_side::appended_before_answer");
    let position = PositionToken { context: store.context(), position: committed.appended.last_position };
    Ok(Attempted::Response(CommandResponse::new(answer, position, &prepared.accepted)))
}

fn accepted<D: Decide>(prepared: &PreparedCommand<D>, version: Version) -> Answer {
    let Accepted { status, subject, id, .. } = &prepared.accepted;
    Answer { status: status.as_u16(), body: json!({ *subject: id, "version": version }) }
}

/// Nothing is appended, so the response names the last event of the stream.
async fn unchanged<D: Decide>(
    store: &EventStore,
    prepared: &PreparedCommand<D>,
    version: Version,
) -> Result<Answer, AppendError> {
    let last = store.read_stream(&prepared.stream(), version.saturating_sub(1), 1).await?;
    let position = match last.first() {
        Some(event) => event.position,
        None => store.head().await?,
    };
    let mut answer = accepted(prepared, version);
    let token = PositionToken { context: store.context(), position };
    answer.body["position"] = Value::String(token.to_string());
    Ok(answer)
}

fn refused(problem: &Problem) -> Answer {
    let body = serde_json::to_value(problem).expect("a problem is plain data");
    Answer { status: problem.status().as_u16(), body }
}
