//! The `sessionwatch` command.
fn main() {}
