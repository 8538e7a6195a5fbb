//! Trying many points at once, and the table of what was tried.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A place where something was tried: row and column of the table.
pub type Cell = (&'static str, &'static str);

/// What came of many trials.
#[derive(Default)]
pub struct Tally {
    cells: BTreeMap<Cell, Count>,
    /// In the order in which they came.
    rows: Vec<&'static str>,
    columns: Vec<&'static str>,
    failures: Vec<String>,
}

#[derive(Default, Clone, Copy)]
struct Count {
    tried: usize,
    struck: usize,
}

impl Tally {
    /// Tries every point, several at once. `each` says whether the fault struck, and panics where something does not
    /// hold.
    pub fn of<T: Sync>(
        points: &[T],
        cell: impl Fn(&T) -> Cell,
        name: impl Fn(&T) -> String + Sync,
        each: impl Fn(&T) -> bool + Sync,
    ) -> Self {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        // More than there are cores, as much of the time goes by in waiting for the disk.
        let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get()) + 1;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let tried = std::panic::catch_unwind(AssertUnwindSafe(|| each(point)));
                        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                        results.push((point, tried));
                    }
                });
            }
        });
        let mut tally = Tally::default();
        for point in points {
            tally.add(cell(point));
        }
        for (point, tried) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let count = tally.cells.entry(cell(point)).or_default();
            count.tried += 1;
            match tried {
                Ok(struck) => count.struck += usize::from(struck),
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text =
                        text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
                    tally.failures.push(format!("{}: {text}", name(point)));
                }
            }
        }
        tally
    }

    fn add(&mut self, (row, column): Cell) {
        if !self.rows.contains(&row) {
            self.rows.push(row);
        }
        if !self.columns.contains(&column) {
            self.columns.push(column);
        }
    }

    /// How many trials the fault struck in.
    pub fn struck(&self) -> usize {
        self.cells.values().map(|count| count.struck).sum()
    }

    /// Prints the table, and fails where anything did not hold.
    #[track_caller]
    pub fn conclude(&self, title: &str, begun: Instant) {
        let width = self.columns.iter().map(|column| column.len()).max().unwrap_or(0).max(5) + 2;
        let mut text = format!("{:16}", title);
        self.columns.iter().for_each(|column| text += &format!("{column:>width$}"));
        for row in &self.rows {
            text += &format!("\n{row:16}");
            for column in &self.columns {
                let count = self.cells.get(&(row, column)).map_or(0, |count| count.tried);
                let count = if count == 0 { "-".to_owned() } else { count.to_string() };
                text += &format!("{count:>width$}");
            }
        }
        let tried: usize = self.cells.values().map(|count| count.tried).sum();
        let (struck, failed) = (self.struck(), self.failures.len());
        let took = begun.elapsed().as_secs_f64();
        eprintln!(
            "{text}\n{tried} tried in {took:.1} s, the fault struck in {struck}, {failed} failed"
        );
        let shown: Vec<_> = self.failures.iter().take(10).map(String::as_str).collect();
        assert!(shown.is_empty(), "{failed} of {tried} failed:\n{}", shown.join("\n\n"));
    }
}
