//! The metadata of what is decided because of an event.

use event_log::{Envelope, Metadata, PositionToken};
use runtime::trace::TraceContext;

/// The metadata of what `actor` decides because of `trigger`: the trigger's correlation id and trace, the trigger as
/// the cause, and a dependency on the trigger and on everything that the trigger depends on.
pub fn caused_by<E>(trigger: &Envelope<E>, actor: &str) -> Metadata {
    let parent = trigger.metadata.traceparent.as_ref().and_then(|given| given.parse::<TraceContext>().ok());
    let mut depends_on = trigger.metadata.depends_on.clone();
    depends_on.raise(PositionToken { context: trigger.context, position: trigger.position });
    Metadata {
        correlation_id: trigger.metadata.correlation_id,
        causation_id: Some(trigger.event_id),
        depends_on,
        actor: actor.to_owned(),
        traceparent: parent.map(|parent| parent.child().to_string()),
        idempotency_key: None,
    }
}

#[cfg(test)]
mod tests {
    use event_log::{ContextName, Positions, StreamId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_effect_names_its_cause_and_depends_on_all_that_its_cause_depends_on() {
        let trigger = Envelope {
            context: ContextName::new("garden"),
            position: 7,
            stream: StreamId::new("leaf", 1),
            version: 1,
            event_id: Uuid::from_u128(2),
            metadata: Metadata {
                correlation_id: Uuid::from_u128(1),
                causation_id: None,
                depends_on: "kitchen:3".parse::<Positions>().expect("positions"),
                actor: "http".to_owned(),
                traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
                idempotency_key: Some("a key".to_owned()),
            },
            recorded_at: chrono::DateTime::UNIX_EPOCH,
            event: (),
        };
        let effect = caused_by(&trigger, "saga:kitchen");
        assert_eq!(effect.correlation_id, trigger.metadata.correlation_id);
        assert_eq!(effect.causation_id, Some(trigger.event_id));
        assert_eq!(effect.depends_on.to_string(), "garden:7,kitchen:3");
        assert_eq!((effect.actor.as_str(), effect.idempotency_key), ("saga:kitchen", None));
        let (given, traced) = (trigger.metadata.traceparent, effect.traceparent);
        assert_eq!(traced.as_ref().map(|text| &text[..36]), given.as_ref().map(|text| &text[..36]));
        assert_ne!(traced, given, "the effect is a span of its own");
    }
}
