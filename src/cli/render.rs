//! Text for people and pipes: tables fitted to the terminal, ages, sizes, escaped control characters.
//!
//! On a terminal a table has a header, is cut to the width and may be coloured; in a pipe it is full, tab-separated and
//! plain. Knows nothing of jobs.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{
    Attribute, Cell as TableCell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row,
    Table as FittedTable, presets,
};

use crate::domain::timestamp::Timestamp;

/// Where text goes and what it may use.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The width of the terminal in columns; none in a pipe.
    pub terminal: Option<u16>,
    /// Whether colours are used.
    pub color: bool,
    /// The moment from which ages count.
    pub now: Timestamp,
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tint {
    /// Nothing special.
    #[default]
    Plain,
    /// Went well.
    Good,
    /// Is under way.
    Busy,
    /// Went wrong and will be tried again.
    Warn,
    /// Went wrong.
    Bad,
    /// Of less interest.
    Dim,
}

/// One field of a row.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// As a person reads it.
    pub short: String,
    /// As a script reads it: whole.
    pub full: String,
    /// Its colour on a terminal.
    pub tint: Tint,
}

impl Cell {
    /// A field that people and scripts read alike.
    pub fn of(text: impl Into<String>) -> Self {
        let text = text.into();
        Cell { short: text.clone(), full: text, tint: Tint::Plain }
    }

    /// A field that is shorter for people.
    pub fn pair(short: impl Into<String>, full: impl Into<String>) -> Self {
        Cell { short: short.into(), full: full.into(), tint: Tint::Plain }
    }

    /// The field in a colour.
    pub fn tinted(self, tint: Tint) -> Self {
        Cell { tint, ..self }
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Its title on a terminal.
    pub title: &'static str,
    /// Whether its fields may be cut.
    pub flexible: bool,
    /// Whether its fields stand at the right.
    pub right: bool,
    /// The first to be left out on a narrow terminal has the highest rank; 0 is never left out.
    pub rank: u8,
}

impl Head {
    /// A column whose fields are never cut.
    pub const fn new(title: &'static str, rank: u8) -> Self {
        Head { title, flexible: false, right: false, rank }
    }

    /// The column with fields that may be cut.
    pub const fn flexible(self) -> Self {
        Head { flexible: true, ..self }
    }

    /// The column with fields at the right.
    pub const fn right(self) -> Self {
        Head { right: true, ..self }
    }
}

/// The narrowest a column that may be cut becomes before another column is left out.
const NARROWEST: usize = 12;

/// Blanks between columns.
const GAP: usize = 2;

/// Writes rows as a table, as `look` says.
pub fn table(heads: &[Head], rows: &[Vec<Cell>], look: Look) -> String {
    match look.terminal {
        None => lines(rows),
        Some(width) => fitted(heads, rows, width, look.color),
    }
}

/// Writes rows for a script: full, tab-separated, without header.
fn lines(rows: &[Vec<Cell>]) -> String {
    let mut text = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            if at > 0 {
                text.push('\t');
            }
            push_visible(&mut text, &cell.full);
        }
        text.push('\n');
    }
    text
}

fn fitted(heads: &[Head], rows: &[Vec<Cell>], width: u16, color: bool) -> String {
    let kept = kept(heads, rows, usize::from(width));
    let mut table = FittedTable::new();
    table.load_style(presets::NOTHING).set_width(width);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_truncation_indicator("…");
    // What is too long is cut where the room ends, not at a blank before: no field has such a delimiter.
    table.set_delimiter('\u{0}');
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let title = |at: &usize| TableCell::new(heads[*at].title).add_attribute(Attribute::Bold);
    let mut header = Row::from(kept.iter().map(title).collect::<Vec<_>>());
    header.max_height(1);
    table.set_header(header).style_text_only();
    for row in rows {
        let cells = kept.iter().map(|at| {
            let cell = &row[*at];
            paint(TableCell::new(visible(&cell.short)), cell.tint)
        });
        let mut row = Row::from(cells.collect::<Vec<_>>());
        row.max_height(1);
        table.add_row(row);
    }
    for (column, at) in table.column_iter_mut().zip(&kept) {
        let last = Some(at) == kept.last();
        column.set_padding((0, if last { 0 } else { GAP as u16 }));
        if heads[*at].right {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if !heads[*at].flexible {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// Which columns there is room for.
fn kept(heads: &[Head], rows: &[Vec<Cell>], width: usize) -> Vec<usize> {
    let widest = |at: usize| {
        let cells = rows.iter().map(|row| visible(&row[at].short).chars().count());
        let widest = cells.max().unwrap_or(0).max(heads[at].title.len());
        if heads[at].flexible { widest.min(NARROWEST) } else { widest }
    };
    let widths: Vec<usize> = (0..heads.len()).map(widest).collect();
    let mut kept: Vec<usize> = (0..heads.len()).collect();
    while kept.iter().map(|at| widths[*at] + GAP).sum::<usize>() > width + GAP {
        let dispensable = kept.iter().copied().max_by_key(|at| heads[*at].rank);
        match dispensable.filter(|at| heads[*at].rank > 0) {
            Some(at) => kept.retain(|other| *other != at),
            None => break,
        }
    }
    kept
}

fn paint(cell: TableCell, tint: Tint) -> TableCell {
    match tint {
        Tint::Plain => cell,
        Tint::Good => cell.fg(Color::Green),
        Tint::Busy => cell.fg(Color::Cyan),
        Tint::Warn => cell.fg(Color::Yellow),
        Tint::Bad => cell.fg(Color::Red),
        Tint::Dim => cell.add_attribute(Attribute::Dim),
    }
}

/// The text with control characters, and those that change its direction, written as escapes.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    push_visible(&mut shown, text);
    shown
}

fn push_visible(into: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() || is_layout(c) {
            into.extend(c.escape_default());
        } else {
            into.push(c);
        }
    }
}

/// Whether the character breaks lines or turns the direction of text.
fn is_layout(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A span in its largest unit, cut: `3m`, `2h`, `5d`.
pub fn brief(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 if !span.is_zero() => format!("{}ms", span.as_millis()),
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A moment from where a person stands: `3m ago`, `in 2h`, `now`.
pub fn relative(moment: Timestamp, now: Timestamp) -> String {
    let (ago, ahead) = (now.since(moment), moment.since(now));
    if ahead >= Duration::from_secs(1) {
        format!("in {}", brief(ahead))
    } else if ago >= Duration::from_secs(1) {
        format!("{} ago", brief(ago))
    } else {
        "now".into()
    }
}

/// A size for people: `3.4 MiB`.
pub fn amount(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// Lines of `label  value`, with labels in one column; a value of several lines stands indented below its label.
pub fn facts(pairs: &[(&str, String)]) -> String {
    let widest = pairs.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (label, value) in pairs {
        let mut lines = value.lines();
        let first = lines.next().unwrap_or_default();
        let _ = writeln!(text, "{label:widest$}  {}", visible(first));
        for line in lines {
            let _ = writeln!(text, "{:widest$}  {}", "", visible(line));
        }
    }
    text
}

/// What `text` looks like at 40, 80 and 160 columns and in a pipe, at 2026-02-02T03:04:05Z.
#[cfg(test)]
pub(super) fn at_every_width(text: impl Fn(Look) -> String) -> String {
    let now = Timestamp::from_micros(1_770_001_445_000_000);
    let looks = [Some(40), Some(80), Some(160), None];
    let shown = looks.map(|terminal| {
        let title = terminal.map_or("in a pipe".to_owned(), |width| format!("{width} columns"));
        format!("--- {title}\n{}", text(Look { terminal, color: false, now }))
    });
    shown.concat()
}

#[cfg(test)]
mod tests;
