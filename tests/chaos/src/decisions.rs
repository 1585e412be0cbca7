//! Randomness that repeats: every decision of a run follows from its seed.

use std::time::Duration;

use aip_base::Rng;
use aip_testkit::rng::SeededRng;

/// A source of decisions.
pub(crate) struct Decisions(SeededRng);

impl Decisions {
    /// The dice of one player: the same seed and number are the same dice.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        // Players whose seeds are neighbours must not throw the same one step later.
        let first = Self(SeededRng::new(seed));
        let mixed = first.next() ^ number.wrapping_mul(0xD134_2543_DE82_EF95);
        Self(SeededRng::new(mixed))
    }

    fn next(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// One of `0..end`, or 0 if there is none.
    pub(crate) fn below(&self, end: usize) -> usize {
        let end = end.max(1) as u64;
        usize::try_from(self.next() % end).unwrap_or_default()
    }

    /// A time in `from..to`.
    pub(crate) fn between(&self, from: Duration, to: Duration) -> Duration {
        let span = usize::try_from(to.saturating_sub(from).as_micros()).unwrap_or(usize::MAX);
        from + Duration::from_micros(self.below(span) as u64)
    }

    /// Another order.
    pub(crate) fn shuffle<T>(&self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

impl Rng for Decisions {
    fn fill(&self, dest: &mut [u8]) {
        self.0.fill(dest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values_of(seed: u64, number: u64) -> Vec<usize> {
        let decisions = Decisions::new(seed, number);
        (0..20).map(|_| decisions.below(1000)).collect()
    }

    #[test]
    fn a_seed_repeats_and_another_does_not() {
        assert_eq!(values_of(7, 1), values_of(7, 1));
        assert_ne!(values_of(7, 1), values_of(7, 2));
        assert_ne!(values_of(7, 1), values_of(8, 1));
    }

    #[test]
    fn nothing_falls_outside_of_what_was_asked_for() {
        let decisions = Decisions::new(1, 1);
        let (from, to) = (Duration::from_secs(2), Duration::from_secs(3));
        assert!((0..100).all(|_| (from..to).contains(&decisions.between(from, to))));
        assert_eq!(decisions.below(0), 0);
        let mut items: Vec<usize> = (0..50).collect();
        decisions.shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
