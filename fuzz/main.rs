//! One libFuzzer program for all targets: `FUZZ_TARGET` names the one to run.

#![no_main]

mod targets;

use std::sync::LazyLock;

/// The target that was asked for.
static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let (_, target) = targets::TARGETS.iter().find(|(known, _)| *known == name).expect("a target of targets.rs");
    *target
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
