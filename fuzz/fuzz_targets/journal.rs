//! A journal with arbitrary damage: it opens or reports the reason, and replays no record that was
//! not appended.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| offboard::ledger::fuzzing::journal(input));
