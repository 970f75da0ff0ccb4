#![no_main]

use libfuzzer_sys::fuzz_target;
use sessionwatch_fuzz::drive::bodies;

fuzz_target!(|input: &[u8]| sessionwatch_fuzz::block_on(bodies::drive(input)));
