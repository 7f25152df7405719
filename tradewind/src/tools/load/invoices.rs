//! Reads the file: lines become invoices, and each invoice is one order. An invoice number that begins with C is a
//! cancellation. Lines of an invoice with the same code and price are summed; the same code at two prices stays two
//! lines. Values that make an invalid order are kept unchanged. Prices are decimals, never floats.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, NaiveDateTime, Utc};
use flate2::read::MultiGzDecoder;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;

const CANCELLATION: char = 'C';
const GUEST: &str = "guest";

/// The content of the file.
#[derive(Debug)]
pub struct Invoices {
    /// Without the cancellations, in the order of the file.
    pub invoices: Vec<Invoice>,
    pub cancellations: usize,
    /// The number of lines, without the heading.
    pub lines: usize,
}

#[derive(Debug, PartialEq)]
pub struct Invoice {
    pub number: String,
    pub customer_id: String,
    pub placed_at: DateTime<Utc>,
    pub country: String,
    pub lines: Vec<Line>,
}

#[derive(Debug, PartialEq)]
pub struct Line {
    pub sku: String,
    pub quantity: i64,
    /// In pence. The order is invalid if it is below 0 or not a whole number.
    pub unit_price_minor: Decimal,
}

impl Invoice {
    /// Whether the server is expected to accept it.
    pub fn is_valid(&self) -> bool {
        self.lines.len() <= events::MAX_ORDER_LINES && self.lines.iter().all(Line::is_valid)
    }
}

impl Line {
    fn is_valid(&self) -> bool {
        let whole_pence = self.unit_price_minor.scale() == 0 && self.unit_price_minor.to_i64().is_some();
        self.sku.parse::<events::Sku>().is_ok()
            && events::Quantity::try_from(self.quantity).is_ok()
            && whole_pence
            && !self.unit_price_minor.is_sign_negative()
    }
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "InvoiceNo")]
    invoice: String,
    #[serde(rename = "StockCode")]
    sku: String,
    #[serde(rename = "Quantity")]
    quantity: String,
    #[serde(rename = "InvoiceDate")]
    date: String,
    #[serde(rename = "UnitPrice")]
    unit_price: String,
    #[serde(rename = "CustomerID")]
    customer: String,
    #[serde(rename = "Country")]
    country: String,
}

/// Reads the file, up to the first `orders_max` orders.
///
/// # Errors
/// When it cannot be read or a line is invalid; the message names the line.
pub fn read(path: &Path, orders_max: Option<usize>) -> anyhow::Result<Invoices> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    parse(MultiGzDecoder::new(file), orders_max).with_context(|| format!("reading {}", path.display()))
}

fn parse(csv: impl Read, orders_max: Option<usize>) -> anyhow::Result<Invoices> {
    let mut reader = csv::Reader::from_reader(csv);
    let mut book = Book::default();
    let mut lines = 0;
    for record in reader.deserialize::<Record>() {
        let record = record?;
        lines += 1;
        book.enter(record).with_context(|| format!("record {lines} after the heading"))?;
    }
    ensure!(lines > 0, "the file has no lines");
    Ok(book.close(lines, orders_max))
}

/// The invoices while the file is read: the lines of one need not be adjacent.
#[derive(Default)]
struct Book {
    index: HashMap<String, usize>,
    entries: Vec<BookEntry>,
}

struct BookEntry {
    invoice: Invoice,
    /// The index of the line of each code and price.
    places: HashMap<(String, Decimal), usize>,
}

impl Book {
    fn enter(&mut self, record: Record) -> anyhow::Result<()> {
        let quantity: i64 =
            record.quantity.parse().with_context(|| format!("Quantity is {:?}", record.quantity))?;
        let price: Decimal =
            record.unit_price.parse().with_context(|| format!("UnitPrice is {:?}", record.unit_price))?;
        let unit_price_minor =
            price.checked_mul(Decimal::ONE_HUNDRED).context("UnitPrice is too large")?.normalize();
        let place = match self.index.entry(record.invoice.clone()) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                self.entries.push(BookEntry { invoice: begin(&record)?, places: HashMap::new() });
                *place.insert(self.entries.len() - 1)
            }
        };
        let BookEntry { invoice, places } = &mut self.entries[place];
        match places.entry((record.sku.clone(), unit_price_minor)) {
            Entry::Occupied(index) => {
                let line = &mut invoice.lines[*index.get()];
                line.quantity = line.quantity.checked_add(quantity).context("Quantity is too large")?;
            }
            Entry::Vacant(index) => {
                index.insert(invoice.lines.len());
                invoice.lines.push(Line { sku: record.sku, quantity, unit_price_minor });
            }
        }
        Ok(())
    }

    fn close(self, lines: usize, orders_max: Option<usize>) -> Invoices {
        let (cancelled, mut invoices): (Vec<_>, Vec<_>) = self
            .entries
            .into_iter()
            .map(|entry| entry.invoice)
            .partition(|invoice| invoice.number.starts_with(CANCELLATION));
        invoices.truncate(orders_max.unwrap_or(usize::MAX));
        Invoices { invoices, cancellations: cancelled.len(), lines }
    }
}

fn begin(record: &Record) -> anyhow::Result<Invoice> {
    let placed_at = NaiveDateTime::parse_from_str(&record.date, "%Y-%m-%d %H:%M:%S")
        .with_context(|| format!("InvoiceDate is {:?}, expected YYYY-MM-DD HH:MM:SS", record.date))?;
    // The export wrote customer numbers as decimals: 17850.0.
    let customer = record.customer.strip_suffix(".0").unwrap_or(&record.customer);
    Ok(Invoice {
        number: record.invoice.clone(),
        customer_id: if customer.is_empty() { GUEST } else { customer }.to_owned(),
        placed_at: placed_at.and_utc(),
        country: record.country.clone(),
        lines: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn read_text(lines: &str, orders_max: Option<usize>) -> anyhow::Result<Invoices> {
        parse(format!("{HEADING}{lines}").as_bytes(), orders_max)
    }

    fn one_invoice(lines: &str) -> Invoice {
        let mut read = read_text(lines, None).expect("the lines are those of a file");
        assert_eq!(read.invoices.len(), 1);
        read.invoices.remove(0)
    }

    fn line(sku: &str, quantity: i64, unit_price_minor: &str) -> Line {
        let unit_price_minor = unit_price_minor.parse().expect("a decimal");
        Line { sku: sku.to_owned(), quantity, unit_price_minor }
    }

    #[test]
    fn an_invoice_is_one_order_of_its_customer() {
        let invoice = one_invoice("536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n");
        assert_eq!(
            invoice,
            Invoice {
                number: "536365".to_owned(),
                customer_id: "17850".to_owned(),
                placed_at: "2010-12-01T08:26:00Z".parse().expect("a time"),
                country: "United Kingdom".to_owned(),
                lines: vec![line("85123A", 6, "255")],
            }
        );
        assert!(invoice.is_valid());
    }

    #[test]
    fn an_invoice_without_a_customer_belongs_to_a_guest() {
        assert_eq!(one_invoice("1,A,,1,2010-12-01 08:26:00,1,,France\n").customer_id, "guest");
    }

    #[test]
    fn lines_with_the_same_code_and_price_are_summed_and_two_prices_stay_two_lines() {
        let invoice = one_invoice(
            "1,A,,6,2010-12-01 08:26:00,2.50,1.0,UK\n1,A,,1,2010-12-01 08:26:00,2.10,1.0,UK\n\
             1,a,,1,2010-12-01 08:26:00,2.5,1.0,UK\n1,A,,2,2010-12-01 08:27:00,2.5,1.0,UK\n",
        );
        assert_eq!(invoice.lines, [line("A", 8, "250"), line("A", 1, "210"), line("a", 1, "250")]);
    }

    #[test]
    fn lines_of_an_invoice_need_not_be_adjacent() {
        let read = read_text(
            "1,A,,1,2010-12-01 08:26:00,1,,UK\n2,A,,1,2010-12-01 08:26:00,1,,UK\n1,B,,1,2010-12-01 08:26:00,1,,UK\n",
            None,
        );
        let invoices = read.expect("a file").invoices;
        assert_eq!(invoices.iter().map(|invoice| invoice.lines.len()).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn cancellations_are_counted_and_left_out_and_orders_may_be_limited() {
        let lines = "1,A,,1,2010-12-01 08:26:00,1,,UK\nC2,A,,-1,2010-12-01 08:26:00,1,,UK\n3,A,,1,2010-12-01 08:26:00,1,,UK\n";
        let read = read_text(lines, Some(1)).expect("a file");
        assert_eq!((read.invoices.len(), read.cancellations, read.lines), (1, 1, 3));
    }

    #[test]
    fn an_invalid_order_is_kept_unchanged() {
        for (fields, kept) in [
            ("A,,-3,2010-12-01 08:26:00,1", line("A", -3, "100")),
            ("A,,1,2010-12-01 08:26:00,0.125", line("A", 1, "12.5")),
            ("B,,1,2010-12-01 08:26:00,-11062.06", line("B", 1, "-1106206")),
        ] {
            let invoice = one_invoice(&format!("1,{fields},,UK\n"));
            assert!(!invoice.is_valid(), "{fields}");
            assert_eq!(invoice.lines, [kept]);
        }
    }

    #[test]
    fn a_price_of_zero_and_an_odd_code_are_valid() {
        assert!(one_invoice("1,BANK CHARGES,,1,2010-12-01 08:26:00,0,,UK\n").is_valid());
        assert!(one_invoice("1,gift_0001_40,,1,2010-12-01 08:26:00,34.0,,UK\n").is_valid());
    }

    #[test]
    fn an_invalid_line_is_named() {
        for (lines, named) in [
            ("1,A,,one,2010-12-01 08:26:00,1,,UK\n", "Quantity is \"one\""),
            ("1,A,,1,2010-12-01 08:26:00,1 pound,,UK\n", "UnitPrice is \"1 pound\""),
            ("1,A,,1,1.12.2010,1,,UK\n", "InvoiceDate is \"1.12.2010\""),
            ("", "the file has no lines"),
        ] {
            let error = format!("{:#}", read_text(lines, None).expect_err(lines));
            assert!(error.contains(named), "{error}");
        }
    }
}
