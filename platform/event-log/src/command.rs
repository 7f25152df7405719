//! Commands of any aggregate, for code that executes them without knowing their type.

use std::fmt::Debug;

use crate::{Decide, StreamId};

/// Any command of any aggregate: the enum that [`aggregates!`](crate::aggregates) makes.
pub trait CommandSet: Clone + Debug + Send + Sync + 'static {
    /// The stream that the command is decided on.
    fn stream(&self) -> StreamId;

    /// The variant's name: `PlaceOrder`.
    fn name(&self) -> &'static str;

    /// Calls the visitor with the aggregate's type.
    fn dispatch<'c, V: CommandVisitor<'c>>(&'c self, visitor: V) -> V::Output;
}

/// What a caller does with a command, generic over the command's aggregate.
pub trait CommandVisitor<'c> {
    type Output;

    fn visit<D: Decide<Command: Sync>>(self, command: &'c D::Command) -> Self::Output;
}

/// Declares the aggregates with their commands. A command's name is its `&'static str` (`strum::IntoStaticStr`).
///
/// ```
/// # use event_log::{Aggregate, State, StreamId};
/// # use serde::{Deserialize, Serialize};
/// # event_log::event_enum! { pub enum CupEvent { CupFilled = 1, } }
/// # #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
/// # pub struct CupFilled {}
/// # #[derive(Debug, Clone, Default)]
/// # pub struct Cup {}
/// #[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr)]
/// pub enum CupCommand {
///     FillCup,
/// }
/// # impl State for Cup {
/// #     type Event = CupEvent;
/// #     const CATEGORY: &'static str = "cup";
/// #     fn evolve(self, _: &CupEvent) -> Self { self }
/// # }
/// # #[derive(Debug, thiserror::Error)]
/// # #[error("no")]
/// # pub struct CupRefusal;
/// # impl Aggregate for Cup {
/// #     type Command = CupCommand;
/// #     type Refusal = CupRefusal;
/// #     fn stream(_: &CupCommand) -> StreamId { StreamId::new("cup", 1) }
/// #     fn decide(&self, _: &CupCommand) -> Result<Vec<CupEvent>, CupRefusal> { Ok(vec![CupFilled {}.into()]) }
/// # }
///
/// event_log::aggregates! { Cup: CupCommand }
///
/// use event_log::CommandSet;
/// assert_eq!(AnyCommand::from(CupCommand::FillCup).name(), "FillCup");
/// ```
#[macro_export]
macro_rules! aggregates {
    ($($aggregate:ident: $command:ident),+ $(,)?) => {
        /// A command of any aggregate.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum AnyCommand {
            $($aggregate($command),)+
        }

        impl $crate::CommandSet for AnyCommand {
            fn stream(&self) -> $crate::StreamId {
                match self {
                    $(Self::$aggregate(command) => <$aggregate as $crate::Decide>::own_stream(command),)+
                }
            }

            fn name(&self) -> &'static str {
                match self {
                    $(Self::$aggregate(command) => command.into(),)+
                }
            }

            fn dispatch<'c, V: $crate::CommandVisitor<'c>>(&'c self, visitor: V) -> V::Output {
                match self {
                    $(Self::$aggregate(command) => visitor.visit::<$aggregate>(command),)+
                }
            }
        }

        $(impl From<$command> for AnyCommand {
            fn from(command: $command) -> Self {
                Self::$aggregate(command)
            }
        })+
    };
}
