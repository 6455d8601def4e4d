//! Images of the journal and rows of the registry, as they may be after any damage that a checksum
//! does not show: every rule and every query ends, in a result or in an error.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| offboard::ledger::fuzzing::records(input));
