//! Frames of Greengrass IPC: no bytes make the decoder panic, the frames do not depend on how the
//! bytes arrive, and a frame that is encoded again is the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The first two bytes determine where the rest is split into two parts.
fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first_chunk() else { return };
    offboard::fuzz_ipc_frames(bytes, usize::from(u16::from_be_bytes(*cut)));
});
