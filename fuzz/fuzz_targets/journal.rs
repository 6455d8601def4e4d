//! A journal with any damage: it opens or says why not, and replays nothing that was not appended.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| offboard::ledger::fuzzing::journal(input));
