//! How the gateway ends: the times for it.

use std::time::Duration;

use super::{assert_problems, edited, load, references};

fn with_times(times: &str) -> String {
    edited("upstreams:", &format!("limits: {{ timeouts: {{ {times} }} }}\nupstreams:"))
}

#[test]
fn the_drain_has_a_delay_that_is_none_unless_written() {
    let delay = |times: &str| load(&with_times(times)).unwrap_or_else(|problems| panic!("{problems}")).edge.drain_delay;
    assert_eq!(delay(""), Duration::ZERO);
    assert_eq!(delay("drain_delay: 0s"), Duration::ZERO);
    assert_eq!(delay("drain_delay: 5s"), Duration::from_secs(5));
    assert_eq!(delay("drain_delay: 1h"), Duration::from_secs(3600));
}

#[test]
fn a_delay_of_the_drain_that_nobody_would_wait_for_is_refused() {
    for (times, message) in [
        ("drain_delay: 3601s", "`3601s` is out of range"),
        ("drain_delay: -1s", "is not a duration"),
        ("drain_delay: 5", "`5`"),
    ] {
        assert_problems(&with_times(times), &references(), &[(3, message, "")]);
    }
}
