//! The registry of contexts: one declaration, from which all code that needs every context is generated.

/// Declares the contexts with their aggregates' events.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # event_log::event_enum! { pub enum CupEvent { CupFilled = 1, } }
/// # #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
/// # pub struct CupFilled {}
/// # event_log::event_enum! { pub enum LeafEvent { LeafPicked = 1, } }
/// # #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
/// # pub struct LeafPicked {}
/// event_log::contexts! {
///     Kitchen = "kitchen" { Cup("cup"): CupEvent },
///     Garden = "garden" { Leaf("leaf"): LeafEvent },
/// }
///
/// assert_eq!(Context::ALL.map(Context::topic), ["kitchen.events", "garden.events"]);
/// assert_eq!(Context::of_category("leaf"), Some(Context::Garden));
/// assert_eq!(Event::from(LeafEvent::from(LeafPicked {})).context(), Context::Garden);
/// ```
///
/// It expands to
/// - `enum Context` with `ALL`, `NAMES`, `name`, `topic`, `from_topic`, `of_category`, `of_stream`, `Display`, `FromStr`, `Serialize`, `Deserialize` and
///   the conversions from and to [`ContextName`](crate::ContextName);
/// - `enum Event` with one variant per aggregate (`Event::Cup(CupEvent)`), `context`, `event_type`, `schema_version`, `payload`, `decode` and
///   `catalogue`; `From` each family, `TryFrom<Event>` and `TryFrom<&Event>` to each family;
///   [`EventSet`](crate::EventSet) is implemented for it;
/// - `type Envelope`, an [`Envelope`](crate::Envelope) of such an event.
#[macro_export]
macro_rules! contexts {
    ($($(#[$doc:meta])* $context:ident = $name:literal { $($family:ident($category:literal): $events:ident),+ $(,)? }),+ $(,)?) => {
        /// A bounded context: it owns one schema, one role, one log and one topic.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Context {
            $($(#[$doc])* $context,)+
        }

        impl Context {
            /// Every context, in the order of the registry.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$context),+];

            /// The names of all contexts, in the same order.
            pub const NAMES: [$crate::ContextName; [$($name),+].len()] = [$($crate::ContextName::new($name)),+];

            /// The name in lower case: the Postgres schema, the first part of the topic and of a position token.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$context => $name,)+
                }
            }

            /// The name of the topic, without a prefix.
            pub const fn topic(self) -> &'static str {
                match self {
                    $(Self::$context => concat!($name, ".events"),)+
                }
            }

            pub fn from_topic(topic: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|context| context.topic() == topic)
            }

            /// The context that holds streams of this category.
            pub fn of_category(category: &str) -> Option<Self> {
                match category {
                    $($($category => Some(Self::$context),)+)+
                    _ => None,
                }
            }

            /// The context whose log holds the stream.
            pub fn of_stream(stream: &$crate::StreamId) -> Option<Self> {
                Self::of_category(stream.category())
            }
        }

        impl ::std::fmt::Display for Context {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl ::std::str::FromStr for Context {
            type Err = $crate::UnknownContext;
            fn from_str(text: &str) -> Result<Self, $crate::UnknownContext> {
                match text {
                    $($name => Ok(Self::$context),)+
                    _ => Err($crate::UnknownContext::new(text, Self::ALL.map(Self::name))),
                }
            }
        }

        impl From<Context> for $crate::ContextName {
            fn from(context: Context) -> Self {
                Context::NAMES[context as usize]
            }
        }

        impl TryFrom<$crate::ContextName> for Context {
            type Error = $crate::UnknownContext;
            fn try_from(name: $crate::ContextName) -> Result<Self, $crate::UnknownContext> {
                name.as_str().parse()
            }
        }

        impl PartialEq<Context> for $crate::ContextName {
            fn eq(&self, context: &Context) -> bool {
                *self == $crate::ContextName::from(*context)
            }
        }

        impl $crate::private::Serialize for Context {
            fn serialize<S: $crate::private::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> $crate::private::Deserialize<'de> for Context {
            fn deserialize<D: $crate::private::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <String as $crate::private::Deserialize>::deserialize(deserializer)?;
                name.parse().map_err($crate::private::custom)
            }
        }

        /// Any event of any context.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $($($family($events),)+)+
        }

        impl Event {
            pub fn context(&self) -> Context {
                match self {
                    $($(Self::$family(_) => Context::$context,)+)+
                }
            }

            /// The struct's name: `CupFilled`.
            pub fn event_type(&self) -> &'static str {
                match self {
                    $($(Self::$family(event) => event.event_type(),)+)+
                }
            }

            pub fn schema_version(&self) -> u16 {
                match self {
                    $($(Self::$family(event) => event.schema_version(),)+)+
                }
            }

            /// The JSON of the event's fields.
            pub fn payload(&self) -> Box<$crate::private::RawValue> {
                match self {
                    $($(Self::$family(event) => event.payload(),)+)+
                }
            }

            /// # Errors
            /// [`CodecError`](event_log::CodecError) when the type or version is not known or the payload does not fit it: park the
            /// record.
            pub fn decode(
                context: Context,
                event_type: &str,
                version: u16,
                payload: &str,
            ) -> Result<Self, $crate::CodecError> {
                let unknown = || $crate::CodecError::UnknownType {
                    context: context.into(),
                    event_type: event_type.to_owned(),
                };
                match context {
                    $(Context::$context => {
                        $(if let Some(event) = $events::decode(event_type, version, payload) {
                            return event.map(Self::$family);
                        })+
                        Err(unknown())
                    })+
                }
            }

            /// Every event type: (context, type, current schema version).
            pub fn catalogue() -> Vec<(Context, &'static str, u16)> {
                let mut all = Vec::new();
                $($(all.extend($events::TYPES.iter().map(|&(name, version)| (Context::$context, name, version)));)+)+
                all
            }
        }

        impl $crate::EventData for Event {
            fn event_type(&self) -> &'static str {
                Event::event_type(self)
            }

            fn schema_version(&self) -> u16 {
                Event::schema_version(self)
            }

            fn payload(&self) -> Box<$crate::private::RawValue> {
                Event::payload(self)
            }
        }

        impl $crate::EventSet for Event {
            fn decode(
                context: $crate::ContextName,
                event_type: &str,
                version: u16,
                payload: &str,
            ) -> Result<Self, $crate::CodecError> {
                match Context::try_from(context) {
                    Ok(context) => Event::decode(context, event_type, version, payload),
                    Err(_) => Err($crate::CodecError::UnknownType { context, event_type: event_type.to_owned() }),
                }
            }
        }

        $($(
            impl From<$events> for Event {
                fn from(event: $events) -> Self {
                    Self::$family(event)
                }
            }

            impl TryFrom<Event> for $events {
                type Error = Event;
                fn try_from(event: Event) -> Result<Self, Event> {
                    #[allow(unreachable_patterns, reason = "a registry may have one family alone")]
                    match event {
                        Event::$family(event) => Ok(event),
                        other => Err(other),
                    }
                }
            }

            impl<'a> TryFrom<&'a Event> for &'a $events {
                type Error = &'a Event;
                fn try_from(event: &'a Event) -> Result<Self, &'a Event> {
                    #[allow(unreachable_patterns, reason = "a registry may have one family alone")]
                    match event {
                        Event::$family(event) => Ok(event),
                        other => Err(other),
                    }
                }
            }
        )+)+

        /// A decoded event with its position and its cause.
        pub type Envelope = $crate::Envelope<Event>;
    };
}
