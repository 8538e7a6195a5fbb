//! Letting others go first: for what takes long and nobody waits for.
//!
//! Unaware of what that is.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Does something on a thread of its own, and lets everybody else go first on the cores meanwhile.
///
/// Not for what holds the append lock: who goes last would keep all others waiting.
pub fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(|_| step_back());
    match pool.build() {
        // What it does in parallel it does there too.
        Ok(pool) => pool.install(work),
        // Without a thread things go as they would have gone.
        Err(_) => work(),
    }
}

/// How long is worked between two looks at whether others want the cores.
const SLICE: Duration = Duration::from_millis(4);

/// The longest rest.
const LONGEST: Duration = Duration::from_secs(1);

/// Rests for twice as long as was worked since the last rest, where others want the cores: being last among them is not
/// enough where two cores are one. Called often, it costs nothing between slices.
pub fn rest() {
    thread_local!(static SINCE: Cell<Option<Instant>> = const { Cell::new(None) });
    let now = Instant::now();
    let worked = SINCE.get().map(|since| now.duration_since(since));
    match worked {
        Some(worked) if worked < SLICE => return,
        Some(worked) if others_run() => std::thread::sleep(LONGEST.min(worked * 2)),
        _ => {}
    }
    SINCE.set(Some(Instant::now()));
}

/// Whether any thread but this one is running or about to. Not known elsewhere than on Linux.
fn others_run() -> bool {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = text.split(' ').nth(3).and_then(|field| field.split('/').next()?.parse().ok());
    running.is_some_and(|running: u32| running > 1)
}

/// Lets everybody else go first: this thread alone. Elsewhere than on Linux it would be the whole process, and nothing
/// changes.
fn step_back() {
    const LEAST: i32 = 19;
    if cfg!(target_os = "linux") {
        // Where it is refused, things go as they would have gone.
        let _ = rustix::process::nice(LEAST);
    }
}
