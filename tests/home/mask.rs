//! A line of a log without what differs from one machine and run to the next.

/// Fields whose values are of the moment: where a line stands, when it was written, by which process.
const OF_THE_MOMENT: [&str; 11] =
    ["seq", "ts", "wall", "claim", "pid", "start", "pid_namespace", "session", "host", "ms", "crc"];

/// The line with `[..]` for such values, and all else as it stands.
pub fn line(text: &str) -> String {
    let mut masked = text.to_owned();
    for field in OF_THE_MOMENT {
        for before in ['{', ','] {
            let key = format!("{before}\"{field}\":");
            let Some(at) = masked.find(&key) else { continue };
            let value = at + key.len();
            // None of these values holds a comma or brace.
            let end = masked[value..].find([',', '}']).map_or(masked.len(), |end| value + end);
            masked.replace_range(value..end, "[..]");
        }
    }
    masked
}
