//! What a verification is told of the domain whose logs it reads.

use event_log::{ContextName, StreamId};

#[derive(Debug)]
pub struct Domain {
    /// Every context, in the order in which the contexts are checked: of several violations, the first context's is reported.
    pub contexts: &'static [ContextName],
    /// The context whose log holds the stream; none when the stream's category belongs to no context.
    pub context_of: fn(&StreamId) -> Option<ContextName>,
    /// The schema of the read models, with their checkpoints and their progress.
    pub read_model_schema: &'static str,
    /// The consumer that applies all read models: their checkpoints are stored under this name.
    pub read_model_consumer: &'static str,
}

impl Domain {
    /// The context with this name, if it is one of this domain's.
    pub(crate) fn context_named(&self, name: &str) -> Option<ContextName> {
        self.contexts.iter().copied().find(|context| context.as_str() == name)
    }
}

/// A domain for tests. The order of its contexts is not the alphabetical one, and no context holds streams of the category `tea`.
#[cfg(test)]
pub(crate) static TOY: Domain = Domain {
    contexts: &[ContextName::new("roastery"), ContextName::new("cafe"), ContextName::new("bakery")],
    context_of: |stream| (stream.category() == "roast").then(|| TOY.contexts[0]),
    read_model_schema: "shown",
    read_model_consumer: "reader",
};
