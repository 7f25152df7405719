//! The control file: what is armed, one line each, and who died of it.
//!
//! ```text
//! crash relay::cursor_moved relay 1
//! bug relay::cursor_before_acknowledgement
//! ```
//!
//! A crash is a point, a role (the subcommand of the process), and which passage it is to be, counted from 1 in each process
//! that runs while the line stands. It happens once: who is about to die first makes a file of that name in the folder beside,
//! with its pid, and whoever finds the file there lives on. So a role that is started again goes on, though it is still armed.
//! Never: a half-written control file (it is written aside and renamed). Read next: `armed.rs`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{CRASH_POINTS, MUTANTS};

/// Names the control file. Debug builds read it at each crash point and each mutant; release builds never.
pub const CONTROL_VARIABLE: &str = "TRADEWIND_FAULTS";

/// A control file, for both its ends.
#[derive(Debug, Clone)]
pub struct Control {
    path: PathBuf,
}

/// One process that is to die, once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Crash {
    pub point: String,
    /// The subcommand of the process.
    pub role: String,
    /// From 1.
    pub passage: u64,
}

/// What a control file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Orders {
    pub crashes: Vec<Crash>,
    pub bugs: Vec<String>,
}

impl Crash {
    /// At the first passage.
    pub fn at(point: &str, role: &str) -> Self {
        Self { point: point.to_owned(), role: role.to_owned(), passage: 1 }
    }

    fn file_name(&self) -> String {
        format!("{}@{}", self.point, self.role)
    }
}

impl Control {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn deaths(&self) -> PathBuf {
        self.path.with_extension("deaths")
    }

    /// Arms these and no others. A crash that happened before does not happen again.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn arm(&self, crashes: &[Crash], bugs: &[&str]) -> io::Result<()> {
        let crashes =
            crashes.iter().map(|crash| format!("crash {} {} {}\n", crash.point, crash.role, crash.passage));
        let bugs = bugs.iter().map(|bug| format!("bug {bug}\n"));
        fs::create_dir_all(self.deaths())?;
        let aside = self.path.with_extension("new");
        fs::write(&aside, crashes.chain(bugs).collect::<String>())?;
        fs::rename(aside, &self.path)
    }

    /// The process that died of it; none so far.
    pub fn died_of(&self, crash: &Crash) -> Option<u32> {
        fs::read_to_string(self.deaths().join(crash.file_name())).ok()?.trim().parse().ok()
    }

    /// Whether this process is the one to die of it. Only one ever is.
    #[cfg(any(debug_assertions, test))] // nobody dies in a release build
    pub(crate) fn is_ours(&self, crash: &Crash) -> bool {
        let path = self.deaths().join(crash.file_name());
        let made = fs::OpenOptions::new().write(true).create_new(true).open(path);
        made.and_then(|mut file| {
            io::Write::write_all(&mut file, format!("{}\n", std::process::id()).as_bytes())
        })
        .is_ok()
    }

    /// What is armed now; nothing when there is no such file.
    ///
    /// # Errors
    /// When a line is none, names what there is not, or the file cannot be read: the message says which and what there is.
    pub fn read(&self) -> Result<Orders, String> {
        match fs::read_to_string(&self.path) {
            Ok(text) => parse(&text).map_err(|wrong| format!("{}: {wrong}", self.path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Orders::default()),
            Err(error) => Err(format!("{}: {error}", self.path.display())),
        }
    }
}

fn parse(text: &str) -> Result<Orders, String> {
    let mut orders = Orders::default();
    for line in text.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [] => {}
            ["crash", point, role, passage] => orders.crashes.push(crash(point, role, passage)?),
            ["bug", bug] => orders.bugs.push(listed(bug, MUTANTS.iter().map(|bug| bug.name))?),
            _ => {
                return Err(format!(
                    "{line:?} is neither \"crash <point> <role> <passage>\" nor \"bug <name>\""
                ));
            }
        }
    }
    Ok(orders)
}

fn crash(point: &str, role: &str, passage: &str) -> Result<Crash, String> {
    let point = listed(point, CRASH_POINTS.iter().map(|point| point.name))?;
    let passes = CRASH_POINTS.iter().filter(|listed| listed.name == point);
    let role = listed(role, passes.flat_map(|point| point.roles).copied())?;
    let passage = passage.parse().ok().filter(|passage| *passage > 0);
    let passage = passage.ok_or_else(|| format!("the passage of {point} must be a number from 1"))?;
    Ok(Crash { point, role, passage })
}

fn listed(given: &str, mut allowed: impl Iterator<Item = &'static str> + Clone) -> Result<String, String> {
    let names = allowed.clone();
    match allowed.find(|name| *name == given) {
        Some(name) => Ok(name.to_owned()),
        None => Err(format!("{given:?} is none of: {}", names.collect::<Vec<_>>().join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_names_what_there_is_not_is_refused_with_what_there_is() {
        let refused = parse("crash relay::cursor_move relay 1").expect_err("no such point");
        assert!(refused.contains("\"relay::cursor_move\"") && refused.contains("relay::cursor_moved"));
        let refused = parse("crash relay::cursor_moved sagas 1").expect_err("the sagas have no cursor");
        assert_eq!(refused, "\"sagas\" is none of: relay");
        let refused = parse("crash relay::cursor_moved relay 0").expect_err("no passage");
        assert!(refused.contains("number from 1"), "{refused}");
        assert!(parse("crash relay::cursor_moved").expect_err("half a line").contains("neither"));
        assert!(parse("bug none_such").expect_err("no such bug").contains("none of"));
    }

    #[test]
    fn what_is_armed_is_read_back_and_only_one_process_dies_of_it() {
        let folder = std::env::temp_dir().join(format!("tradewind-fault-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let control = Control::new(folder.join("faults"));
        assert_eq!(control.read(), Ok(Orders::default()), "no file, nothing armed");
        let crash = Crash { passage: 3, ..Crash::at("relay::cursor_moved", "relay") };
        control.arm(std::slice::from_ref(&crash), &[]).expect("written");
        assert_eq!(control.read().expect("our own lines").crashes, std::slice::from_ref(&crash));
        assert_eq!(control.died_of(&crash), None);
        assert!(control.is_ours(&crash) && !control.is_ours(&crash));
        assert_eq!(control.died_of(&crash), Some(std::process::id()));
        fs::remove_dir_all(folder).expect("removed");
    }
}
