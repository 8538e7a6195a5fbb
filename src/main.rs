//! Starts queuectl.

fn main() {}
