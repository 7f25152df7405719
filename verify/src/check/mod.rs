//! What is verified: one file for each property, with its name, its sentence and its check.
//!
//! `generic/` holds for the logs, topics and checkpoints of any domain, `shop/` for this one.
//! Never: a rule that is taken from the code that it checks. Read next: `generic/mod.rs`, `shop/mod.rs`.

pub mod generic;
pub mod shop;

use crate::report::Property;

/// Every property, in the order of the report.
pub static PROPERTIES: [&Property; 16] = [
    &generic::log::PROPERTY,
    &generic::topics::PROPERTY,
    &generic::foreign_records::PROPERTY,
    &generic::checkpoints::PROPERTY,
    &generic::progress::PROPERTY,
    &shop::read_model_orders::PROPERTY,
    &shop::read_model_order_events::PROPERTY,
    &shop::read_model_processes::PROPERTY,
    &shop::read_model_stock::PROPERTY,
    &shop::read_model_payments::PROPERTY,
    &shop::read_model_sales::PROPERTY,
    &generic::parked::PROPERTY,
    &shop::stock::PROPERTY,
    &shop::money::PROPERTY,
    &shop::processes::PROPERTY,
    &generic::answers::PROPERTY,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_sentence_of_every_property() {
        let page = include_str!("../../../docs/reliability.md");
        for Property { name, sentence } in PROPERTIES {
            let row = format!("| `{name}` | {sentence} |\n");
            assert!(page.contains(&row), "docs/reliability.md lacks the row\n{row}");
        }
    }

    #[test]
    fn no_two_properties_have_one_name() {
        let mut names = PROPERTIES.map(|property| property.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
