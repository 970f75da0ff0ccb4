#![no_main]

use libfuzzer_sys::fuzz_target;
use sessionwatch_fuzz::drive::heads;

fuzz_target!(|input: &[u8]| heads::drive(input));
