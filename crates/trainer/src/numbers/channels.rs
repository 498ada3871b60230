//! Sums over the pixels of images, and what norms of channels make of them. A row is a pixel, a column a channel.

use super::{sigmoid, vectorised};

/// What follows a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    Relu,
    Silu,
}

vectorised! {
    /// Adds up the squares of what is above or below the mean of each column.
    pub(crate) fn add_squares<'a>(rows: &'a [f32], means: &'a [f32], sums: &'a mut [f32]) -> () {
        let width = sums.len();
        let means = &means[..width];
        for row in rows.chunks_exact(width) {
            for place in 0..width {
                let difference = row[place] - means[place];
                sums[place] += difference * difference;
            }
        }
    }
}

vectorised! {
    /// Writes `then(number * factor + addend)`, with a factor and an addend for each column.
    pub(crate) fn scale_channels<'a>(rows: &'a [f32], factors: &'a [f32], addends: &'a [f32], then: Then, output: &'a mut [f32]) -> () {
        let width = factors.len();
        let addends = &addends[..width];
        for (row, output) in rows.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
            match then {
                Then::Nothing => {
                    for place in 0..width {
                        output[place] = row[place].mul_add(factors[place], addends[place]);
                    }
                }
                Then::Relu => {
                    for place in 0..width {
                        let number = row[place].mul_add(factors[place], addends[place]);
                        output[place] = if number > 0.0 { number } else { 0.0 };
                    }
                }
                Then::Silu => {
                    for place in 0..width {
                        let number = row[place].mul_add(factors[place], addends[place]);
                        output[place] = number * sigmoid(number);
                    }
                }
            }
        }
    }
}

/// What a norm did to the columns.
#[derive(Clone, Copy)]
pub(crate) struct Scaled<'s> {
    /// What numbers were multiplied with, and what was added.
    pub(crate) factors: &'s [f32],
    pub(crate) addends: &'s [f32],
    pub(crate) means: &'s [f32],
    /// One over the deviation.
    pub(crate) scales: &'s [f32],
    pub(crate) then: Then,
}

vectorised! {
    /// Replaces gradients by those before `then`, and adds up for each column these, and these times the normed numbers.
    pub(crate) fn gradient_sums<'a>(
        rows: &'a [f32],
        scaled: Scaled<'a>,
        gradient: &'a mut [f32],
        sums: &'a mut [f32],
        leaning: &'a mut [f32],
    ) -> () {
        let width = sums.len();
        let Scaled { factors, addends, means, scales, then } = scaled;
        let (factors, addends, means, scales) = (&factors[..width], &addends[..width], &means[..width], &scales[..width]);
        let leaning = &mut leaning[..width];
        for (row, gradient) in rows.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
            match then {
                Then::Nothing => {}
                Then::Relu => {
                    for place in 0..width {
                        let number = row[place].mul_add(factors[place], addends[place]);
                        gradient[place] = if number > 0.0 { gradient[place] } else { 0.0 };
                    }
                }
                Then::Silu => {
                    for place in 0..width {
                        let number = row[place].mul_add(factors[place], addends[place]);
                        let share = sigmoid(number);
                        gradient[place] *= share * (1.0 - share).mul_add(number, 1.0);
                    }
                }
            }
            for place in 0..width {
                sums[place] += gradient[place];
                leaning[place] += gradient[place] * (row[place] - means[place]) * scales[place];
            }
        }
    }
}

vectorised! {
    /// Replaces gradients of what a norm gave by those of what it took: `factor * gradient - plain - (number - mean) * slope`.
    pub(crate) fn norm_gradient<'a>(
        rows: &'a [f32],
        factors: &'a [f32],
        means: &'a [f32],
        plain: &'a [f32],
        slopes: &'a [f32],
        gradient: &'a mut [f32],
    ) -> () {
        let width = factors.len();
        let (means, plain, slopes) = (&means[..width], &plain[..width], &slopes[..width]);
        for (row, gradient) in rows.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
            for place in 0..width {
                gradient[place] = gradient[place] * factors[place] - plain[place] - (row[place] - means[place]) * slopes[place];
            }
        }
    }
}

vectorised! {
    /// Writes the greatest of four numbers.
    pub(crate) fn greatest_of_four<'a>(rows: [&'a [f32]; 4], output: &'a mut [f32]) -> () {
        let width = output.len();
        let [a, b, c, d] = rows.map(|row| &row[..width]);
        for place in 0..width {
            let upper = if b[place] > a[place] { b[place] } else { a[place] };
            let lower = if d[place] > c[place] { d[place] } else { c[place] };
            output[place] = if lower > upper { lower } else { upper };
        }
    }
}
