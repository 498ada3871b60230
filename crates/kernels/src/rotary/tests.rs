use super::*;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| (((index + seed) * 7919 % 2003) as f32) / 500.0 - 2.0).collect()
}

fn frequencies(pairs: usize) -> Vec<f64> {
    (0..pairs).map(|pair| 10_000f64.powf(-(pair as f64) / pairs as f64)).collect()
}

fn rotated(level: Level, rotary: &Rotary, position: usize, head_width: usize, heads: &[f32]) -> Vec<f32> {
    let mut angles = vec![f32::NAN; rotary.angles_len()];
    rotary.fill_angles(position, &mut angles);
    let mut heads = heads.to_vec();
    rotary.rotate(level, &angles, head_width, &mut heads);
    heads
}

#[test]
fn pairs_turn_by_their_angle_and_the_rest_stays() {
    for level in Level::available() {
        for head_width in (8..=160).step_by(2) {
            for pairs in [head_width / 2, head_width / 4, 0] {
                for (style, position, magnitude) in
                    [(RotaryStyle::Interleaved, 777, 1.0), (RotaryStyle::Halves, 12_345, 1.25)]
                {
                    let rotary = Rotary::new(style, &frequencies(pairs), magnitude);
                    let heads = numbers(3 * head_width, pairs);
                    let found = rotated(level, &rotary, position, head_width, &heads);
                    let expected = reference(style, pairs, position, magnitude, head_width, &heads);
                    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        let what = format!("{level:?} {style:?} {head_width} {pairs}: number {index}");
                        assert!((f64::from(*found) - expected).abs() < 2e-6, "{what}: {found} {expected}");
                    }
                }
            }
        }
    }
}

fn reference(
    style: RotaryStyle,
    pairs: usize,
    position: usize,
    magnitude: f32,
    head_width: usize,
    heads: &[f32],
) -> Vec<f64> {
    let mut turned: Vec<f64> = heads.iter().map(|number| f64::from(*number)).collect();
    for head in turned.chunks_exact_mut(head_width) {
        for (pair, frequency) in frequencies(pairs).iter().enumerate() {
            let (first, second) = match style {
                RotaryStyle::Interleaved => (2 * pair, 2 * pair + 1),
                RotaryStyle::Halves => (pair, pair + pairs),
            };
            let (sine, cosine) = (frequency * position as f64).sin_cos();
            let (a, b) = (head[first], head[second]);
            head[first] = (a * cosine - b * sine) * f64::from(magnitude);
            head[second] = (a * sine + b * cosine) * f64::from(magnitude);
        }
    }
    turned
}

#[test]
fn position_zero_changes_nothing() {
    for level in Level::available() {
        for style in [RotaryStyle::Interleaved, RotaryStyle::Halves] {
            let heads = numbers(128, 3);
            assert_eq!(rotated(level, &Rotary::new(style, &frequencies(32), 1.0), 0, 64, &heads), heads);
        }
    }
}

#[test]
fn products_depend_on_the_distance_only() {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let (query, key) = (numbers(64, 1), numbers(64, 40));
    for level in Level::available() {
        for style in [RotaryStyle::Interleaved, RotaryStyle::Halves] {
            let rotary = Rotary::new(style, &frequencies(32), 1.0);
            let at = |position, numbers: &[f32]| rotated(level, &rotary, position, 64, numbers);
            let near = product(&at(9, &query), &at(4, &key));
            let far = product(&at(40_009, &query), &at(40_004, &key));
            assert!((near - far).abs() < 2e-4, "{level:?} {style:?}: {near} {far}");
        }
    }
}

#[test]
#[should_panic(expected = "10 numbers are to be turned, but a head has 8")]
fn more_pairs_than_a_head_has_are_refused() {
    let rotary = Rotary::new(RotaryStyle::Halves, &frequencies(5), 1.0);
    rotary.rotate(Level::Portable, &[0.0; 10], 8, &mut [0.0; 16]);
}
