//! The scale of time: its marks, and when a SYN is sent again.

use std::time::Duration;

/// The most parts that the scale is divided into.
const TICKS: u32 = 8;

/// When Linux sends the SYN again, in seconds from the first (RFC 6298 section 2: one second, then
/// doubling). The first schedule has the linear start of `tcp_syn_linear_timeouts`, since Linux 6.5.
const SCHEDULES: [&[u64]; 2] = [&[1, 2, 3, 4, 5, 7, 11, 19, 35, 67], &[1, 3, 7, 15, 31, 63]];

/// Round times, at most [`TICKS`] after 0, with their labels in one unit.
pub(super) fn ticks(total: Duration) -> Vec<(Duration, String)> {
    let total = total.as_nanos();
    let least = total.div_ceil(TICKS.into()).max(1);
    let mut power = 1;
    while power * 10 <= least {
        power *= 10;
    }
    let step = [1, 2, 5, 10].map(|digit| digit * power).into_iter().find(|&s| s >= least);
    let step = step.unwrap_or(least);
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns")];
    let (unit, name) = units.into_iter().find(|&(unit, _)| total >= unit).unwrap_or((1, "ns"));
    let label = |at: u128| {
        let (whole, rest) = (at / unit, at % unit);
        // A step is 1, 2 or 5 of a power of ten, so few decimals say it all.
        let digits = unit.to_string().len() - 1;
        let rest = format!("{rest:0digits$}");
        match rest.trim_end_matches('0') {
            "" => format!("{whole} {name}"),
            rest => format!("{whole}.{rest} {name}"),
        }
    };
    let nanos = |at| Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX));
    let mut ticks = vec![(Duration::ZERO, "0".to_owned())];
    ticks.extend((1..=total / step).map(|n| (nanos(n * step), label(n * step))));
    ticks
}

/// When the SYN was sent again, from its start, in an attempt that was `silent` for so long.
pub(super) fn retransmissions(syns: u32, silent: Duration) -> impl Iterator<Item = Duration> {
    let again = usize::try_from(syns).unwrap_or(usize::MAX).saturating_sub(1);
    let within = move |at: &&u64| Duration::from_secs(**at) <= silent;
    let fits = |schedule: &&&[u64]| schedule.iter().filter(within).count() == again;
    // The kernel tells how many there were, and that tells the schedule.
    let schedule = SCHEDULES.iter().find(fits).unwrap_or(&SCHEDULES[0]);
    schedule.iter().filter(within).take(again).map(|&at| Duration::from_secs(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(syns: u32, silent: f64) -> Vec<u64> {
        retransmissions(syns, Duration::from_secs_f64(silent)).map(|at| at.as_secs()).collect()
    }

    #[test]
    fn the_count_of_syns_tells_the_schedule() {
        assert!(again(1, 0.9).is_empty());
        assert_eq!(again(2, 1.3), [1]);
        assert_eq!(again(9, 30.0), [1, 2, 3, 4, 5, 7, 11, 19]);
        assert_eq!(again(5, 30.0), [1, 3, 7, 15], "before Linux 6.5");
        assert_eq!(again(2, 3.0), [1], "the third is about to go");
        assert!(again(0, 30.0).is_empty());
        assert_eq!(again(u32::MAX, 2.5), [1, 2]);
    }

    #[test]
    fn ticks_are_few_and_round() {
        let labels = |total: Duration| -> Vec<String> {
            ticks(total).into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(Duration::from_nanos(1)), ["0", "1 ns"]);
        assert_eq!(
            labels(Duration::from_micros(4)),
            ["0", "0.5 µs", "1 µs", "1.5 µs", "2 µs", "2.5 µs", "3 µs", "3.5 µs", "4 µs"]
        );
        assert_eq!(labels(Duration::from_millis(999)).last().unwrap(), "800 ms");
        assert_eq!(labels(Duration::from_secs(86_400)).last().unwrap(), "80000 s");
        for total in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
            assert!(ticks(total).len() <= 9, "{total:?}");
        }
    }
}
