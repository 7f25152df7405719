//! The CPU time and memory of a process, from proc(5); 0 where the kernel says nothing. Kept by hand: four fields of
//! two files.

use std::collections::HashMap;

/// `CLK_TCK` is 100 on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of the process and its children, both the running ones and those that it has waited for.
pub fn cpu_seconds(pid: u32) -> f64 {
    let parents = parents();
    let of_family = |candidate: u32| candidate == pid || parents.get(&candidate) == Some(&pid);
    let family: Vec<u32> = parents.keys().copied().filter(|candidate| of_family(*candidate)).collect();
    let own: f64 = family.into_iter().map(|member| ticks(member, member == pid)).sum();
    own / TICKS_PER_SECOND
}

/// `utime + stime`, and `cutime + cstime` (children that have ended) where `with_ended`.
fn ticks(pid: u32, with_ended: bool) -> f64 {
    let Some(fields) = stat(pid) else { return 0.0 };
    let count = if with_ended { 4 } else { 2 };
    fields.iter().skip(11).take(count).filter_map(|field| field.parse::<f64>().ok()).sum()
}

/// The fields after the name, which may hold spaces: field 3 of proc(5) is the first here.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = text.rsplit_once(") ")?;
    Some(after_name.split(' ').map(str::to_owned).collect())
}

fn parents() -> HashMap<u32, u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return HashMap::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?)))
        .collect()
}

/// Resident memory in MiB, now.
pub fn rss_mib(pid: u32) -> f64 {
    status_kib(pid, "VmRSS:") / 1024.0
}

/// Peak resident memory in MiB.
pub fn peak_rss_mib(pid: u32) -> f64 {
    status_kib(pid, "VmHWM:") / 1024.0
}

fn status_kib(pid: u32, field: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value =
        text.lines().find_map(|line| line.strip_prefix(field)?.trim().split(' ').next()?.parse().ok());
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_its_peak_is_not_below_it() {
        let own = std::process::id();
        assert!(rss_mib(own) > 1.0);
        assert!(peak_rss_mib(own) >= rss_mib(own));
    }

    #[test]
    fn a_process_that_does_not_exist_has_no_time_and_no_memory() {
        assert_eq!([cpu_seconds(u32::MAX), rss_mib(u32::MAX)], [0.0, 0.0]);
    }
}
