//! Random numbers that follow from a seed and a place, so that nothing about them has to be kept: whoever asks for the dropout of layer 3
//! in step 700 gets the same numbers after a restart.

/// A row of random numbers: SplitMix64 (Steele et al. 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

/// What random numbers are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Weights = 1,
    Order = 2,
    Dropout = 3,
    Noise = 4,
    Augmentation = 5,
    ValidationNoise = 6,
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Returns the row of a purpose at some places, e.g. the number of an update and of an example. Another purpose, place or number of
    /// places is another row.
    ///
    /// All rows are parts of one sequence of 2^64 numbers, and a hash chooses where each begins. That two of some millions of rows of some
    /// thousand numbers meet has a chance of about one in a thousand, and then a few numbers are drawn twice.
    pub(crate) fn new<const COUNT: usize>(seed: u64, purpose: Purpose, places: [u64; COUNT]) -> Random {
        let next = |state, key: u64| mixed(state ^ mixed(key.wrapping_add(STEP)));
        Random { state: places.into_iter().fold(next(mixed(seed), purpose as u64), next) }
    }

    /// Returns 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mixed(self.state)
    }

    /// Returns a number from 0 to 1, 1 excluded.
    pub(crate) fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a whole number below `limit`, which is above 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // The product's upper half; what it prefers, it prefers by one in 2^64 / limit.
        ((u128::from(self.bits()) * limit as u128) >> 64) as usize
    }

    /// Returns two numbers of the normal distribution (Box and Muller 1958).
    pub(crate) fn normals(&mut self) -> [f32; 2] {
        let size = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.share()).sin_cos();
        [(size * cosine) as f32, (size * sine) as f32]
    }

    /// Fills with numbers of the normal distribution.
    pub(crate) fn fill_normal(&mut self, numbers: &mut [f32], deviation: f32) {
        for pair in numbers.chunks_mut(2) {
            let normals = self.normals();
            pair.iter_mut().zip(normals).for_each(|(number, normal)| *number = normal * deviation);
        }
    }

    /// Returns the numbers below `count` in random order (Fisher and Yates).
    pub(crate) fn order(&mut self, count: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count as u32).collect();
        for place in (1..count).rev() {
            order.swap(place, self.below(place + 1));
        }
        order
    }
}

fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_places_have_rows_of_their_own() {
        let first = |purpose, places| Random::new(7, purpose, places).bits();
        assert_eq!(first(Purpose::Order, [1, 2]), first(Purpose::Order, [1, 2]));
        let longer = Random::new(7, Purpose::Order, [1, 2, 0]).bits();
        let others =
            [first(Purpose::Noise, [1, 2]), first(Purpose::Order, [2, 1]), first(Purpose::Order, [1, 3]), longer];
        assert!(others.iter().all(|other| *other != first(Purpose::Order, [1, 2])));
    }

    #[test]
    fn an_order_has_every_place_once_and_normals_their_moments() {
        let mut random = Random::new(1, Purpose::Order, [0, 0]);
        let mut order = random.order(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(place, found)| place == *found as usize));
        let mut numbers = vec![0.0; 100_001];
        random.fill_normal(&mut numbers, 2.0);
        let mean = numbers.iter().sum::<f32>() / 1e5;
        let variance = numbers.iter().map(|number| number * number).sum::<f32>() / 1e5;
        // Five deviations of the estimates.
        assert!(mean.abs() < 0.032 && (variance - 4.0).abs() < 0.09, "{mean}, {variance}");
    }
}
