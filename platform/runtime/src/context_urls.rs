//! How to reach the database of each context.

use std::str::FromStr;

use clap::Args;

use crate::Secret;
use crate::postgres::owner_url;

/// The databases of the contexts; the options of every role and tool that reads a log include it.
#[derive(Args, Clone, Debug)]
pub struct ContextUrls {
    /// The database; each context is reached as its own role in it, tradewind_<context>
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Secret,

    /// The database of one context, where it is another one; may be given several times, in the variable separated by spaces
    #[arg(
        long = "context-database-url",
        env = "CONTEXT_DATABASE_URLS",
        value_delimiter = ' ',
        hide_env_values = true,
        value_name = "CONTEXT=URL"
    )]
    own: Vec<ContextUrl>,
}

/// `orders=postgres://…`
#[derive(Clone, Debug)]
pub struct ContextUrl {
    pub context: String,
    pub url: Secret,
}

impl FromStr for ContextUrl {
    type Err = &'static str;

    /// The error never shows the text: it may hold a password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((context, url))
                if !context.is_empty() && context.bytes().all(|byte| byte.is_ascii_lowercase()) =>
            {
                Ok(Self { context: context.to_owned(), url: Secret::from(url.to_owned()) })
            }
            _ => Err("must be CONTEXT=URL, such as orders=postgres://db.example.org/shop"),
        }
    }
}

/// A database was named for a context that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--context-database-url names {given:?}; allowed are {allowed}")]
pub struct UnknownContextUrl {
    pub given: String,
    pub allowed: String,
}

impl ContextUrls {
    /// All contexts in one database.
    pub fn one(database_url: Secret) -> Self {
        Self { database_url, own: Vec::new() }
    }

    /// Adds the database of one context.
    #[must_use]
    pub fn with(mut self, context: &str, url: Secret) -> Self {
        self.own.push(ContextUrl { context: context.to_owned(), url });
        self
    }

    /// The database that the other URLs are derived from.
    pub fn base(&self) -> &Secret {
        &self.database_url
    }

    /// The URL of the context's database, with the context's role.
    pub fn of(&self, context: &str) -> Secret {
        let own = self.own.iter().rfind(|own| own.context == context);
        own.map(|own| own.url.clone())
            .or_else(|| old_variable(context))
            .unwrap_or_else(|| owner_url(&self.database_url, context))
    }

    /// Checks that every context that has a database of its own exists.
    ///
    /// # Errors
    /// [`UnknownContextUrl`].
    pub fn check<'a>(&self, contexts: impl IntoIterator<Item = &'a str>) -> Result<(), UnknownContextUrl> {
        let contexts: Vec<&str> = contexts.into_iter().collect();
        match self.own.iter().find(|own| !contexts.contains(&own.context.as_str())) {
            None => Ok(()),
            Some(own) => Err(UnknownContextUrl { given: own.context.clone(), allowed: contexts.join(", ") }),
        }
    }
}

/// Until the next release, `ORDERS_DATABASE_URL` is read where `CONTEXT_DATABASE_URLS` does not name the context.
fn old_variable(context: &str) -> Option<Secret> {
    let variable = format!("{}_DATABASE_URL", context.to_ascii_uppercase());
    let url = std::env::var(&variable).ok().filter(|url| !url.is_empty())?;
    tracing::warn!(variable, "renamed: give CONTEXT_DATABASE_URLS=\"{context}=<url> …\"");
    Some(Secret::from(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(own: &[&str]) -> ContextUrls {
        let base = ContextUrls::one(Secret::from("postgres://owner:pw@db/shop".to_owned()));
        own.iter()
            .map(|text| text.parse::<ContextUrl>().expect("CONTEXT=URL"))
            .fold(base, |urls, own| urls.with(&own.context, own.url))
    }

    #[test]
    fn a_context_is_reached_as_its_own_role_in_the_one_database_unless_it_has_another() {
        let urls = urls(&["inventory=postgres://keeper@far/stock?options=a,b"]);
        assert_eq!(urls.of("orders").expose(), "postgres://tradewind_orders:pw@db/shop");
        assert_eq!(urls.of("inventory").expose(), "postgres://keeper@far/stock?options=a,b");
    }

    #[test]
    fn a_database_of_no_context_is_refused_with_those_that_there_are() {
        let error =
            urls(&["stock=postgres://far/stock"]).check(["orders", "inventory"]).expect_err("no context");
        assert_eq!(
            error.to_string(),
            "--context-database-url names \"stock\"; allowed are orders, inventory"
        );
        assert_eq!(urls(&["orders=x"]).check(["orders"]), Ok(()));
    }

    #[test]
    fn what_is_not_a_context_with_its_url_is_refused_without_showing_it() {
        for text in ["postgres://u:secret@h/d", "=postgres://u:secret@h/d", "Orders=secret", "secret"] {
            let error = text.parse::<ContextUrl>().expect_err(text);
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
