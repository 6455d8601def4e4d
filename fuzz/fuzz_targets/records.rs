//! Images of the journal and rows of the registry with any damage that a checksum does not detect:
//! every rule and every query ends, with a result or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| offboard::ledger::fuzzing::records(input));
