//! The report of a run: its rows as a Markdown table and as JSON.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum as _;
use serde::Serialize;

use crate::benchmarks::Benchmark;
use crate::database;
use crate::figures::{Goal, Row};

#[derive(Serialize)]
pub struct Report {
    machine: Machine,
    quick: bool,
    benchmarks: Vec<Measured>,
}

#[derive(Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    memory_gib: u64,
    postgres: String,
    fsync: String,
    synchronous_commit: String,
    shared_buffers: String,
    measured_at: String,
}

#[derive(Serialize)]
struct Measured {
    benchmark: String,
    took_seconds: f64,
    rows: Vec<Row>,
}

impl Report {
    /// # Errors
    /// When the database does not answer.
    pub async fn begin(quick: bool) -> anyhow::Result<Self> {
        Ok(Self { machine: machine().await?, quick, benchmarks: Vec::new() })
    }

    pub fn add(&mut self, benchmark: Benchmark, rows: Vec<Row>, took: Duration) {
        let name = name(benchmark);
        eprintln!("bench: {name} measured in {:.0} s", took.as_secs_f64());
        for row in &rows {
            eprintln!("       {}", line(&name, row));
        }
        self.benchmarks.push(Measured { benchmark: name, took_seconds: took.as_secs_f64(), rows });
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("a report is plain data")?;
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
    }

    pub fn markdown(&self) -> String {
        let Machine { processor, cores, memory_gib, postgres, fsync, synchronous_commit, .. } = &self.machine;
        let mut text = format!(
            "{cores} cores of {processor}, {memory_gib} GiB, PostgreSQL {postgres} (fsync {fsync}, synchronous_commit {synchronous_commit}), {}\n\n",
            self.machine.measured_at
        );
        if self.quick {
            text.push_str("Quick run: it shows that each benchmark works, not how fast anything is.\n\n");
        }
        text.push_str(
            "| benchmark | figure | measured (min–max) | baseline, same run | ratio | goal | holds |\n",
        );
        text.push_str("|---|---|---|---|---|---|---|\n");
        for measured in &self.benchmarks {
            for row in &measured.rows {
                writeln!(text, "{}", line(&measured.benchmark, row)).expect("a String takes any text");
            }
        }
        text
    }
}

fn name(benchmark: Benchmark) -> String {
    benchmark.to_possible_value().expect("no benchmark is hidden").get_name().to_owned()
}

fn line(benchmark: &str, row: &Row) -> String {
    let Row { figure, unit, measured, .. } = row;
    let spread = if measured.min < measured.max {
        format!(" ({}–{})", shown(measured.min), shown(measured.max))
    } else {
        String::new()
    };
    let baseline = row
        .baseline
        .as_ref()
        .map_or_else(|| "–".to_owned(), |baseline| format!("{} {}", shown(baseline.figure), baseline.what));
    let ratio = row.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
    let goal = match row.goal {
        None => "report".to_owned(),
        Some(Goal::AtLeast(least)) => format!("≥ {least}"),
        Some(Goal::AtMost(most)) => format!("≤ {most}"),
    };
    let holds = match row.holds {
        None => "–",
        Some(true) => "yes",
        Some(false) => "**no**",
    };
    let measured = shown(measured.median);
    format!(
        "| {benchmark} | {figure} | {measured} {unit}{spread} | {baseline} | {ratio} | {goal} | {holds} |"
    )
}

/// With three significant digits, or with groups of three from 10,000.
fn shown(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".to_owned(),
        size if size < 1.0 => format!("{figure:.3}"),
        size if size < 10.0 => format!("{figure:.2}"),
        size if size < 100.0 => format!("{figure:.1}"),
        size if size < 10_000.0 => format!("{figure:.0}"),
        _ => {
            let digits = format!("{figure:.0}");
            let groups: Vec<&str> = digits
                .as_bytes()
                .rchunks(3)
                .rev()
                .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
                .collect();
            groups.join(",")
        }
    }
}

async fn machine() -> anyhow::Result<Machine> {
    let admin = database::admin().await?;
    let setting = async |name: &str| -> anyhow::Result<String> {
        Ok(admin.query_one(&format!("SHOW {name}"), &[]).await?.try_get(0)?)
    };
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(|| "an unknown processor".to_owned(), |(_, model)| model.to_owned());
    let memory_kib = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next()?.parse::<u64>().ok())
        .unwrap_or_default();
    Ok(Machine {
        processor,
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        memory_gib: memory_kib >> 20,
        postgres: setting("server_version").await?,
        fsync: setting("fsync").await?,
        synchronous_commit: setting("synchronous_commit").await?,
        shared_buffers: setting("shared_buffers").await?,
        measured_at: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Spread;

    #[test]
    fn a_row_shows_both_figures_their_ratio_and_whether_the_goal_holds() {
        let row = Row::new("256 callers", "events/s", Spread::of(vec![900.0, 1_000.0, 1_100.0]))
            .baseline("pgbench", 2_000.0)
            .goal(Goal::AtLeast(0.8));
        assert_eq!(
            line("append", &row),
            "| append | 256 callers | 1000 events/s (900–1100) | 2000 pgbench | 0.50 | ≥ 0.8 | **no** |"
        );
    }

    #[test]
    fn figures_are_shown_with_three_digits_and_groups() {
        assert_eq!(
            [shown(0.1234), shown(5.678), shown(56.78), shown(5_678.9)],
            ["0.123", "5.68", "56.8", "5679"]
        );
        assert_eq!(shown(1_234_567.0), "1,234,567");
    }
}
