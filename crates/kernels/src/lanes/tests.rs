use super::*;

const SPECIAL: [f32; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    2.5,
    -3.5,
    1e-30,
    -1e30,
    65_504.0,
    7e-6,
    6e-8,
    1e-45,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    123_456.7,
];

/// Applies every instruction but the rounding ones, whose results differ in the last place.
struct Everything {
    a: [f32; LANES],
    b: [f32; LANES],
}

impl Kernel for Everything {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Vec<Vec<u32>> {
        let (a, b) = (lanes.load(&self.a), lanes.load(&self.b));
        let mut results = vec![
            lanes.add(a, b),
            lanes.subtract(a, b),
            lanes.multiply(a, b),
            lanes.divide(a, b),
            lanes.max(a, b),
            lanes.min(a, b),
            lanes.swap_neighbours(a),
            lanes.splat(self.a[3]),
            lanes.times_power_of_two(
                lanes.splat(1.5),
                lanes.round(lanes.min(lanes.splat(150.0), lanes.max(lanes.splat(-160.0), b))),
            ),
        ];
        for length in 0..=LANES {
            results.push(lanes.load_first(&self.a[..length]));
            results.push(lanes.keep(a, length / 3..length, b));
        }
        let mut memory: Vec<[f32; LANES]> = results.into_iter().map(|result| stored(lanes, result)).collect();
        for length in 0..=LANES {
            let mut target = self.b;
            lanes.store_first(a, &mut target[..length]);
            memory.push(target);
        }
        let mut halves = [0; LANES];
        lanes.store_halves(a, &mut halves);
        memory.push(stored(lanes, lanes.load_halves(&halves)));
        memory.push([lanes.sum(b), lanes.greatest(b), 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.]);
        memory.into_iter().map(|numbers| numbers.map(comparable).to_vec()).collect()
    }
}

fn stored<L: Lanes>(lanes: L, values: L::F32s) -> [f32; LANES] {
    let mut target = [0.0; LANES];
    lanes.store(values, &mut target);
    target
}

/// All numbers that are none are one.
fn comparable(number: f32) -> u32 {
    if number.is_nan() { u32::MAX } else { number.to_bits() }
}

#[test]
fn every_level_gives_what_the_portable_loops_give() {
    let finite: [f32; LANES] = std::array::from_fn(|index| (index as f32 - 6.0) * 20.3);
    for (a, b) in [(SPECIAL, finite), (finite, [2.0; LANES]), (finite.map(|number| number / 97.0), finite)] {
        let expected = Everything { a, b }.run(portable::Portable);
        for level in Level::available() {
            let found = run(level, Everything { a, b });
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found, expected, "{level:?}, result {index}");
            }
        }
    }
}

#[test]
fn whole_numbers_are_the_nearest_and_even_between_two() {
    struct Round([f32; LANES]);
    impl Kernel for Round {
        type Output = [f32; LANES];
        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) -> [f32; LANES] {
            stored(lanes, lanes.round(lanes.load(&self.0)))
        }
    }
    let numbers = [0.5, 1.5, 2.5, -0.5, -1.5, 0.49, 0.51, 3e5, -3e5, 1e6 + 0.25, 7.0, -7.0, 0.0, 99.5, -99.5, 0.1];
    for level in Level::available() {
        let expected = numbers.map(f32::round_ties_even);
        assert_eq!(run(level, Round(numbers)), expected, "{level:?}");
    }
}

struct Halves([u16; LANES]);

impl Kernel for Halves {
    type Output = ([f32; LANES], [u16; LANES]);

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> ([f32; LANES], [u16; LANES]) {
        let wide = lanes.load_halves(&self.0);
        let mut narrow = [0; LANES];
        lanes.store_halves(wide, &mut narrow);
        (stored(lanes, wide), narrow)
    }
}

#[test]
fn every_half_precision_number_is_read_exactly_and_written_back() {
    for level in Level::available() {
        for first in (0..=u16::MAX).step_by(LANES) {
            let bits: [u16; LANES] = std::array::from_fn(|lane| first + lane as u16);
            let (wide, narrow) = run(level, Halves(bits));
            for lane in 0..LANES {
                let expected = half::f16::from_bits(bits[lane]);
                if expected.is_nan() {
                    assert!(wide[lane].is_nan() && half::f16::from_bits(narrow[lane]).is_nan(), "{level:?} {bits:?}");
                } else {
                    assert_eq!(wide[lane].to_bits(), expected.to_f32().to_bits(), "{level:?} {:#06x}", bits[lane]);
                    assert_eq!(narrow[lane], bits[lane], "{level:?}");
                }
            }
        }
    }
}
