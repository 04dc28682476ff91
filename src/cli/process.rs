//! What only this process can know: who it is, what time it is, which other processes live, and the signals it gets.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::Exit;
use crate::ledger::{Holder, Me};

/// This process as the holder of a ledger.
pub fn me(run: &str) -> Me {
    let pid = std::process::id();
    Me {
        run: run.to_owned(),
        host: host(),
        machine: machine(),
        pid,
        process_started: started(pid).unwrap_or_default(),
        nonce: random(),
        now: unix_seconds(),
        is_alive: Box::new(|pid, since| started(pid) == Some(since)),
    }
}

/// Whether a holder is, or was, a process of this machine.
pub fn is_here(holder: &Holder) -> bool {
    !holder.machine.is_empty() && holder.machine == machine()
}

/// Whether a holder is a process of this machine that lives.
pub fn is_here_and_alive(holder: &Holder) -> bool {
    is_here(holder) && started(holder.pid) == Some(holder.process_started)
}

fn host() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "this machine".to_owned())
}

/// Within one boot and one namespace, process ids mean the same. Empty where there is no /proc to say so: then another
/// process is watched instead of looked up.
fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    match (boot, namespace) {
        (Ok(boot), Ok(namespace)) => format!("{} {}", boot.trim(), namespace.display()),
        _ => String::new(),
    }
}

/// When a process started, in clock ticks since the boot; `None` if there is none of that id, only its remains, or one that
/// was stopped (Ctrl-Z): whoever starts another run wants that one to go on, and the ledger fences the stopped one.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name comes second, in parentheses, and may hold anything. proc_pid_stat(5): state is field 3, the start
    // is field 22.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X" | "T" | "t")).then_some(start)
}

/// Different in each process and at each call.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

pub fn unix_seconds() -> u64 {
    unix_time().as_secs()
}

/// Turns true at the first Ctrl-C or SIGTERM; the second one ends the process at once.
pub fn stop_on_signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        stop_signal().await;
        let _ = sender.send(true);
        stop_signal().await;
        std::process::exit(Exit::Interrupted as i32);
    });
    receiver
}

/// Waits for Ctrl-C, SIGTERM or a terminal that was closed.
pub async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminate), Ok(mut hang_up)) =
            (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
