//! PostgreSQL runs out of disk under load. It lies on a small disk of its own, which only root can make.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::chaos::{Own, Scene};
use e2e::{eventually, skipped};

const SIZE: &str = "256m";
const BLOCK_BYTES: usize = 1 << 20;
/// So many commands must have been refused before there is space again.
const REFUSED_MIN: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_commands_with_503_and_writes_nothing_by_halves() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(why) => {
            skipped("a_full_disk_refuses_commands_with_503_and_writes_nothing_by_halves", &why);
            return;
        }
    };
    let own = Own { postgres: Some(disk.path.join("postgres")), ..Own::default() };
    let mut scene = Scene::start("disk", own, 1).await;
    assert_eq!(refused_for_the_store(&scene), 0, "nothing is wrong yet");

    let ballast = disk.fill();
    eventually("commands are refused because the store is out of reach", || async {
        match refused_for_the_store(&scene) {
            refused if refused >= REFUSED_MIN => Ok(()),
            refused => Err(format!("{refused} were refused")),
        }
    })
    .await;
    fs::remove_file(ballast).expect("the ballast can be removed");

    // A server that found no room for its journal has ended; whoever runs it starts it again.
    let postgres = scene.postgres.as_mut().expect("it has its own PostgreSQL");
    if !postgres.runs() {
        postgres.start_again().await;
    }
    let log = scene.postgres.as_ref().map(|postgres| postgres.log()).unwrap_or_default();
    assert!(log.contains("No space left on device"), "the disk was full: {log}");
    scene.recovered().await.expect("everything is as before");
    scene.ends_well().await;
    drop(disk);
}

/// How many operations ended with a 503 that says that nothing was done because the store is out of reach.
fn refused_for_the_store(scene: &Scene) -> usize {
    scene.history.failed_with("503 store_unavailable")
}

/// A disk in memory. Unmounted when it is dropped.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount() -> Result<Self, String> {
        let path = std::env::temp_dir().join(testkit::unique("tradewind-small-disk"));
        fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={SIZE},mode=0755"), "tmpfs"])
            .arg(&path)
            .output()
            .map_err(|error| format!("no mount command: {error}"))?;
        if mounted.status.success() {
            return Ok(Self { path });
        }
        let _ = fs::remove_dir(&path);
        Err(format!("a tmpfs cannot be mounted here: {}", String::from_utf8_lossy(&mounted.stderr).trim()))
    }

    /// Takes all the space that is left, to the last byte. Returns the file that has it.
    fn fill(&self) -> PathBuf {
        let path = self.path.join("ballast");
        let mut ballast = File::create(&path).expect("the disk can be written");
        let mut block = vec![0; BLOCK_BYTES];
        while !block.is_empty() {
            match ballast.write(&block) {
                Ok(written) if written > 0 => {}
                _ => block.truncate(block.len() / 2),
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.path).status();
        if unmounted.is_ok_and(|status| status.success()) {
            let _ = fs::remove_dir(Path::new(&self.path));
        }
    }
}
