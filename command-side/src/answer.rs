//! From a parsed command to its answer: repeated, decided, or refused. Every route ends here.
//!
//! Every answer is claimed for its `Idempotency-Key` in the append that makes it true. An answer that writes nothing (a
//! refusal, a command that was fulfilled before) goes through the append too: only there is it certain that the
//! state it was decided on was the last one.
//! Never: an answer from a cached state that nobody checked, or "failed" where the outcome is not known.
//! Read next: `domain/src/orders.rs` (what is decided), `platform/event-store/src/append.rs` (how it becomes a fact).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::Aggregate;
use event_store::{
    Answer, AppendError, EventStore, IdempotencyClaim, StoredAnswer, retry_conflicts, retry_overtaken,
};
use events::{PositionToken, StreamId, Version};
use fault::crash_point;
use runtime::Problem;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::failure;
use crate::refusal::Refusal;
use crate::request::{CommandRequest, IdempotencyKey};
use crate::told::Told;

/// How often a command is decided, once it has its turn, when other processes keep writing to its stream.
const ATTEMPTS_MAX: u32 = 20;

/// Commands of this process that met on a stream take turns on it, so that each is decided about twice, not once for
/// each of the others. Streams that share a turn by chance only wait a little longer.
static TURNS: [Mutex<()>; 64] = [const { Mutex::const_new(()) }; 64];

/// A command and the stream it goes to.
#[derive(Debug)]
pub struct Intent<A: Aggregate> {
    pub stream: StreamId,
    pub command: A::Command,
    pub accepted: Accepted,
}

/// The form of the answer when the command is accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub status: StatusCode,
    /// What the body calls the id: `order_id`.
    pub subject: &'static str,
    pub id: String,
    /// What stands before the id in `Location`, where the command makes something new.
    pub location: Option<&'static str>,
}

/// Carries out what was asked for, or says why it was not asked well. `command` names it in the metrics.
pub async fn carry_out<A>(
    command: &'static str,
    store: &EventStore,
    request: &CommandRequest,
    intent: Result<Intent<A>, Problem>,
) -> Response
where
    A: Aggregate<Refusal: Refusal>,
{
    let started = Instant::now();
    let told = match intent {
        Ok(intent) => settle(store, request, &intent).await,
        Err(problem) => Err(problem),
    };
    let (outcome, code) = match &told {
        Ok(told) => (told.outcome(), told.code()),
        Err(problem) if problem.status().is_server_error() => ("failed", problem.code()),
        Err(problem) => ("refused", problem.code()),
    };
    let code = code.to_owned();
    metrics::counter!("tradewind_commands_total", "command" => command, "outcome" => outcome, "code" => code)
        .increment(1);
    metrics::histogram!("tradewind_command_duration_seconds", "command" => command).record(started.elapsed());
    told.into_response()
}

/// What a decision is made on; the append checks it either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Loaded,
    /// The command makes something new, so its stream will be empty. Where it is not, the append says so.
    PresumedNew,
}

impl<A: Aggregate> Intent<A> {
    fn first_sight(&self, request: &CommandRequest) -> Sight {
        match (self.accepted.location, &request.if_match) {
            (Some(_), None) => Sight::PresumedNew,
            (Some(_), Some(_)) | (None, _) => Sight::Loaded,
        }
    }
}

/// How one attempt ended that did not end in a conflict.
enum Settled {
    Told(Told),
    /// `If-Match` asked for another version than this one.
    Elsewhere(Version),
}

async fn settle<A>(store: &EventStore, request: &CommandRequest, intent: &Intent<A>) -> Result<Told, Problem>
where
    A: Aggregate<Refusal: Refusal>,
{
    // Whether the key was answered before is judged with the append, under the log's lock: nobody asks beforehand.
    let first = retry_overtaken(|| attempt(store, request, intent, intent.first_sight(request)));
    let settled = match first.await {
        Err(error) if error.is_conflict() => {
            let _turn = turn(&intent.stream).lock().await;
            retry_conflicts(ATTEMPTS_MAX, || attempt(store, request, intent, Sight::Loaded)).await
        }
        settled => settled,
    };
    match settled {
        Ok(Settled::Told(told)) => Ok(told),
        // The same request may have come a moment before and moved the version itself.
        Ok(Settled::Elsewhere(current)) => match repeated(store, request, intent).await? {
            Some(told) => Ok(told),
            None => Err(failure::elsewhere(&intent.stream, current)),
        },
        Err(AppendError::AlreadyAnswered(stored)) => Ok(told_again(store, intent, stored)),
        Err(error) => Err(failure::of_append(&error)),
    }
}

fn turn(stream: &StreamId) -> &'static Mutex<()> {
    let mut hash = DefaultHasher::new();
    stream.hash(&mut hash);
    &TURNS[(hash.finish() % TURNS.len() as u64) as usize]
}

/// The answer that the request's key got before.
async fn repeated<A: Aggregate>(
    store: &EventStore,
    request: &CommandRequest,
    intent: &Intent<A>,
) -> Result<Option<Told>, Problem> {
    let Some(IdempotencyKey { key, fingerprint }) = &request.key else { return Ok(None) };
    match store.answer(key).await.map_err(|error| failure::of_store(&error))? {
        Some(stored) if stored.fingerprint != *fingerprint => Err(failure::key_reused(key)),
        Some(stored) => Ok(Some(told_again(store, intent, stored))),
        None => Ok(None),
    }
}

fn told_again<A: Aggregate>(store: &EventStore, intent: &Intent<A>, stored: StoredAnswer) -> Told {
    let position = PositionToken { context: store.context(), position: stored.last_position };
    Told::new(stored.answer, position, &intent.accepted).replayed()
}

async fn attempt<A>(
    store: &EventStore,
    request: &CommandRequest,
    intent: &Intent<A>,
    sight: Sight,
) -> Result<Settled, AppendError>
where
    A: Aggregate<Refusal: Refusal>,
{
    let mut work = store.unit_of_work_ahead();
    match sight {
        Sight::PresumedNew => work.presume_new::<A>(&intent.stream),
        Sight::Loaded => {
            work.load::<A>(&intent.stream).await?;
        }
    }
    let current = work.version(&intent.stream);
    if request.if_match.is_some_and(|asked| !asked.allows(current)) {
        work.commit().await?;
        return Ok(Settled::Elsewhere(current));
    }
    let decided = work.decide::<A>(&intent.stream, &intent.command, &request.metadata).await?;
    let answer = match decided.map_err(|refusal| refusal.problem()) {
        Ok(decided) if decided.events == 0 => {
            work.founded().await?;
            unchanged(store, intent, decided.version).await?
        }
        Ok(decided) => accepted(intent, decided.version),
        Err(problem) => refused(&problem),
    };
    if let Some(IdempotencyKey { key, fingerprint }) = request.key.clone() {
        work.claim(IdempotencyClaim { key, fingerprint, answer: answer.clone() });
    }
    let committed = work.commit().await?;
    crash_point!("command_side::appended_before_answer");
    let position = PositionToken { context: store.context(), position: committed.appended.last_position };
    Ok(Settled::Told(Told::new(answer, position, &intent.accepted)))
}

fn accepted<A: Aggregate>(intent: &Intent<A>, version: Version) -> Answer {
    let Accepted { status, subject, id, .. } = &intent.accepted;
    Answer { status: status.as_u16(), body: json!({ *subject: id, "version": version }) }
}

/// Nothing is appended, so the answer names the last event there is.
async fn unchanged<A: Aggregate>(
    store: &EventStore,
    intent: &Intent<A>,
    version: Version,
) -> Result<Answer, AppendError> {
    let last = store.read_stream(&intent.stream, version.saturating_sub(1), 1).await?;
    let position = match last.first() {
        Some(event) => event.position,
        None => store.head().await?,
    };
    let mut answer = accepted(intent, version);
    let token = PositionToken { context: store.context(), position };
    answer.body["position"] = Value::String(token.to_string());
    Ok(answer)
}

fn refused(problem: &Problem) -> Answer {
    let body = serde_json::to_value(problem).expect("a problem is plain data");
    Answer { status: problem.status().as_u16(), body }
}
