//! Where the next page of a list begins: opaque to clients, checked when it comes back.
//!
//! A cursor holds the sort key of the last entry shown, so a page is an index range however far into the list it is, and entries
//! that come meanwhile neither repeat nor vanish.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A longer cursor is refused.
const CURSOR_CHARS_MAX: usize = 512;

/// The sort key of a list's entries.
pub trait SortKey: Serialize + DeserializeOwned {
    /// The list's name, written into the cursor: one of another list is refused.
    const LIST: &'static str;
}

/// The key of the last entry of the page before.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String", bound = "K: SortKey")]
pub struct Cursor<K>(pub K);

impl<K: SortKey> Cursor<K> {
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(&(K::LIST, &self.0)).expect("a sort key is plain data");
        URL_SAFE_NO_PAD.encode(json)
    }
}

impl<K: SortKey> TryFrom<String> for Cursor<K> {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let decode = || {
            let json = URL_SAFE_NO_PAD.decode(text.get(..text.len().min(CURSOR_CHARS_MAX + 1))?).ok()?;
            let (list, key): (String, K) = serde_json::from_slice(&json).ok()?;
            (list == K::LIST && text.len() <= CURSOR_CHARS_MAX).then_some(Self(key))
        };
        decode()
            .ok_or_else(|| "is not a cursor of this list, expected next_cursor of the page before".to_owned())
    }
}

/// A point in time that Postgres can hold: in the years 1 to 9999, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Moment(pub DateTime<Utc>);

impl Moment {
    const MICROS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
}

impl TryFrom<i64> for Moment {
    type Error = &'static str;
    fn try_from(micros: i64) -> Result<Self, &'static str> {
        Self::MICROS
            .contains(&micros)
            .then(|| DateTime::from_timestamp_micros(micros).map(Self))
            .flatten()
            .ok_or("must lie in the years 1 to 9999")
    }
}

impl From<Moment> for i64 {
    fn from(moment: Moment) -> i64 {
        moment.0.timestamp_micros()
    }
}

/// Splits off the entry beyond the page, which was read only to know that there is one.
///
/// `entries` are up to `limit + 1`; the cursor is that of the last entry that stays.
pub fn page<T, K: SortKey>(
    mut entries: Vec<T>,
    limit: usize,
    key: impl FnOnce(&T) -> K,
) -> (Vec<T>, Option<String>) {
    if entries.len() <= limit {
        return (entries, None);
    }
    entries.truncate(limit);
    let next = entries.last().map(|last| Cursor(key(last)).encode());
    (entries, next)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::{Cursor, Moment, SortKey, page};

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    struct Key {
        at: Moment,
        id: String,
    }

    impl SortKey for Key {
        const LIST: &'static str = "things";
    }

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Other(u8);

    impl SortKey for Other {
        const LIST: &'static str = "others";
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_went(micros in Moment::MICROS, id in "\\PC{0,40}") {
            let cursor = Cursor(Key { at: Moment::try_from(micros).expect("in range"), id });
            prop_assert_eq!(Cursor::try_from(cursor.encode()), Ok(cursor));
        }

        #[test]
        fn no_text_makes_the_decoder_panic(text in "\\PC{0,600}") {
            prop_assert!(Cursor::<Key>::try_from(text).is_err());
        }

        /// As an attacker changes one: what is accepted is a cursor like any other, and fits into a query.
        #[test]
        fn a_cursor_that_was_changed_is_refused_or_is_one(
            micros in Moment::MICROS,
            id in "\\PC{0,40}",
            at in any::<prop::sample::Index>(),
            cut in 0..4_usize,
            put in "[A-Za-z0-9_=\\-]{0,4}",
        ) {
            let mut text = Cursor(Key { at: Moment::try_from(micros).expect("in range"), id }).encode();
            let at = at.index(text.len());
            text.replace_range(at..(at + cut).min(text.len()), &put);
            if let Ok(cursor) = Cursor::<Key>::try_from(text) {
                prop_assert!(Moment::MICROS.contains(&i64::from(cursor.0.at)));
                prop_assert_eq!(Cursor::try_from(cursor.encode()), Ok(cursor));
            }
        }

        /// The same behind the base64, which most changes of the text do not get through.
        #[test]
        fn a_cursor_of_any_json_is_refused_or_is_one(
            micros in prop_oneof![any::<i64>(), Moment::MICROS],
            list in "(things|others|\\PC{0,9})",
            id in any::<String>(),
        ) {
            let forged = serde_json::json!([list, {"at": micros, "id": id}]).to_string();
            match Cursor::<Key>::try_from(URL_SAFE_NO_PAD.encode(forged)) {
                Ok(cursor) => {
                    prop_assert_eq!((list.as_str(), i64::from(cursor.0.at), cursor.0.id), ("things", micros, id));
                }
                Err(_) => prop_assert!(list != "things" || !Moment::MICROS.contains(&micros)),
            }
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        assert!(Cursor::<Key>::try_from(Cursor(Other(1)).encode()).is_err());
    }

    #[test]
    fn a_cursor_into_a_year_that_postgres_does_not_know_is_refused() {
        let forged = URL_SAFE_NO_PAD.encode(format!(r#"["things",{{"at":{},"id":"x"}}]"#, i64::MIN));
        assert!(Cursor::<Key>::try_from(forged).is_err());
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        assert_eq!(page(vec![1, 2], 2, |last| Other(*last)), (vec![1, 2], None));
        assert_eq!(
            page(vec![1, 2, 3], 2, |last| Other(*last)),
            (vec![1, 2], Some(Cursor(Other(2)).encode()))
        );
    }
}
