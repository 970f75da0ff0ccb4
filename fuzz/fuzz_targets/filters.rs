#![no_main]

use libfuzzer_sys::fuzz_target;
use sessionwatch_fuzz::drive::filters;

fuzz_target!(|input: &[u8]| sessionwatch_fuzz::block_on(filters::drive(input)));
