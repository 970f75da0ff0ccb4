#![no_main]

use libfuzzer_sys::fuzz_target;
use sessionwatch_fuzz::drive::watcher;

fuzz_target!(|input: &[u8]| watcher::drive(input));
