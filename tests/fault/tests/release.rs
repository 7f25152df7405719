//! A release build has no switch: with everything armed, a process passes a crash point. `make test` runs this in the
//! release profile too; in a debug build it shows that the same control file works there.

use std::process::{Command, Stdio};

use fault::{CONTROL_VARIABLE, Control, Crash, crash_point};

/// Set for the child process that passes the point.
const PASSES: &str = "TRADEWIND_TEST_PASSES";
const TEST: &str = "an_armed_crash_point_is_obeyed_by_a_debug_build_and_nothing_in_a_release_build";

#[test]
fn an_armed_crash_point_is_obeyed_by_a_debug_build_and_nothing_in_a_release_build() {
    if std::env::var_os(PASSES).is_some() {
        crash_point!("relay::cursor_moved");
        return;
    }
    let folder = std::env::temp_dir().join(format!("tradewind-fault-release-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let control = Control::new(folder.join("faults"));
    let crash = Crash::at("relay::cursor_moved", "relay");
    control.arm(std::slice::from_ref(&crash), &[]).expect("written");
    let pass = || {
        // "relay" is the subcommand for the crash point, and one more filter for the test harness.
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args([TEST, "relay"]).env(PASSES, "1").env(CONTROL_VARIABLE, control.path());
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("this binary can be started again")
    };
    let lived = [pass().success(), pass().success()];
    if cfg!(debug_assertions) {
        assert_eq!(lived, [false, true], "it dies once");
        assert!(control.died_of(&crash).is_some());
    } else {
        assert_eq!(lived, [true, true]);
        assert_eq!(control.died_of(&crash), None);
    }
    std::fs::remove_dir_all(folder).expect("removed");
}
