//! Answers requests from the read models: rows with the positions that they depend on, and requests that wait for either.
//!
//! Read next: [`ReadModels`], then [`WaitQuery`] (how a request sees its own write).

mod cursor;
mod etag;
mod found;
mod params;
mod query;
mod query_error;
mod wait;

pub use cursor::{Cursor, Moment, SortKey, page};
pub use etag::{tagged_by_digest, tagged_by_version};
pub use found::{Found, Target};
pub use params::{Bounded, PAGE_LIMIT_DEFAULT, PageLimit, TimeoutMs, invalid_path, invalid_query, shortened};
pub use query::{ReadModels, Until};
pub(crate) use query_error::QueryError;
pub use wait::{RETRY_AFTER, WaitQuery, WaitRequest};
