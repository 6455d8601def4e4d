//! The seed of a test's random choices, and the number of its rounds.

use std::{env, sync::OnceLock, thread};

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// The seed of a test's random choices: `OFFBOARD_SEED`, or a new one. It is printed with the
/// command that repeats the test with the same choices; the test harness shows that when the test
/// fails.
///
/// The choices are repeated, and not the run: what the agent has done by the moment that was chosen
/// is for the machine's load to say.
pub fn seed() -> u64 {
    // One for the process: tests that are to be repeated together have one variable.
    static SEED: OnceLock<u64> = OnceLock::new();
    let seed = *SEED.get_or_init(|| number("OFFBOARD_SEED").unwrap_or_else(|| fastrand::u64(..)));
    // The harness names the thread after the test.
    let test = thread::current().name().unwrap_or_default().to_owned();
    let binary = if cfg!(feature = "failpoints") { "--features failpoints --test failpoints" } else { "--test it" };
    println!("replay: OFFBOARD_SEED={seed} cargo test --locked {binary} {test}");
    seed
}

/// How many rounds a test makes: `OFFBOARD_ROUNDS`, or so many.
pub fn rounds(usual: usize) -> usize {
    number("OFFBOARD_ROUNDS").map_or(usual, |rounds| rounds as usize)
}

/// A variable that is a number, such as `OFFBOARD_CUTS`; fails when it is set and is none.
pub fn variable(name: &str) -> Option<usize> {
    number(name).map(|number| number as usize)
}
