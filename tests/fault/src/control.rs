//! The control file: one line for each armed crash point or mutant, and a folder of the deaths beside it.
//!
//! ```text
//! crash relay::cursor_moved relay 1
//! mutant relay::cursor_before_acknowledgement
//! ```
//!
//! A crash names a point, a role (the subcommand of the process) and a passage, counted from 1 in each process that
//! runs while the line is there. It happens once: a process that is about to die first creates a file of that name with
//! its pid in the folder, and a process that finds the file goes on. So a restarted role keeps running although the
//! crash is still armed. The file is replaced atomically, so a process never reads half of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{CRASH_POINTS, MUTANTS};

/// The variable with the path of the control file. Debug builds read it at each crash point and mutant; release builds never do.
pub const CONTROL_VARIABLE: &str = "TRADEWIND_FAULTS";

/// A control file, for the test that writes it and the processes that read it.
#[derive(Debug, Clone)]
pub struct Control {
    path: PathBuf,
}

/// One death of one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Crash {
    pub point: String,
    /// The subcommand of the process.
    pub role: String,
    /// Which time the process passes the point, from 1.
    pub passage: u64,
}

/// The content of a control file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Armed {
    pub crashes: Vec<Crash>,
    pub mutants: Vec<String>,
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

    /// Arms these crashes and mutants and no others. A crash that has happened does not happen again.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn arm(&self, crashes: &[Crash], mutants: &[&str]) -> io::Result<()> {
        let crashes =
            crashes.iter().map(|crash| format!("crash {} {} {}\n", crash.point, crash.role, crash.passage));
        let mutants = mutants.iter().map(|mutant| format!("mutant {mutant}\n"));
        fs::create_dir_all(self.deaths())?;
        let draft = self.path.with_extension("new");
        fs::write(&draft, crashes.chain(mutants).collect::<String>())?;
        fs::rename(draft, &self.path)
    }

    /// The pid of the process that died of it; none if no process did.
    pub fn died_of(&self, crash: &Crash) -> Option<u32> {
        fs::read_to_string(self.deaths().join(crash.file_name())).ok()?.trim().parse().ok()
    }

    /// Whether this process is the one to die of it; only one process ever is.
    #[cfg(any(debug_assertions, test))] // unused in a release build
    pub(crate) fn is_ours(&self, crash: &Crash) -> bool {
        let path = self.deaths().join(crash.file_name());
        let made = fs::OpenOptions::new().write(true).create_new(true).open(path);
        made.and_then(|mut file| {
            io::Write::write_all(&mut file, format!("{}\n", std::process::id()).as_bytes())
        })
        .is_ok()
    }

    /// What is armed now; nothing without the file.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is invalid or has an unknown name; the message has the names allowed.
    pub fn read(&self) -> Result<Armed, String> {
        match fs::read_to_string(&self.path) {
            Ok(text) => parse(&text).map_err(|problem| format!("{}: {problem}", self.path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Armed::default()),
            Err(error) => Err(format!("{}: {error}", self.path.display())),
        }
    }
}

fn parse(text: &str) -> Result<Armed, String> {
    let mut armed = Armed::default();
    for line in text.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [] => {}
            ["crash", point, role, passage] => armed.crashes.push(crash(point, role, passage)?),
            ["mutant", name] => armed.mutants.push(listed(name, MUTANTS.iter().map(|mutant| mutant.name))?),
            _ => {
                return Err(format!(
                    "{line:?} is neither \"crash <point> <role> <passage>\" nor \"mutant <name>\""
                ));
            }
        }
    }
    Ok(armed)
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
    fn a_line_with_an_unknown_name_is_refused_with_the_names_allowed() {
        let refused = parse("crash relay::cursor_move relay 1").expect_err("no such point");
        assert!(refused.contains("\"relay::cursor_move\"") && refused.contains("relay::cursor_moved"));
        let refused = parse("crash relay::cursor_moved sagas 1").expect_err("the sagas have no cursor");
        assert_eq!(refused, "\"sagas\" is none of: relay");
        let refused = parse("crash relay::cursor_moved relay 0").expect_err("no passage");
        assert!(refused.contains("number from 1"), "{refused}");
        assert!(parse("crash relay::cursor_moved").expect_err("half a line").contains("neither"));
        assert!(parse("mutant none_such").expect_err("no such mutant").contains("none of"));
    }

    #[test]
    fn what_is_armed_is_read_back_and_only_one_process_dies_of_it() {
        let folder = std::env::temp_dir().join(format!("tradewind-fault-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let control = Control::new(folder.join("faults"));
        assert_eq!(control.read(), Ok(Armed::default()), "nothing is armed without a file");
        let crash = Crash { passage: 3, ..Crash::at("relay::cursor_moved", "relay") };
        control.arm(std::slice::from_ref(&crash), &[]).expect("written");
        assert_eq!(control.read().expect("our own lines").crashes, std::slice::from_ref(&crash));
        assert_eq!(control.died_of(&crash), None);
        assert!(control.is_ours(&crash) && !control.is_ours(&crash));
        assert_eq!(control.died_of(&crash), Some(std::process::id()));
        fs::remove_dir_all(folder).expect("removed");
    }
}
