//! Rows brought to one size: layer norm and RMS norm.

use super::{sum_over, vectorised};

/// What was found in a row; the way back needs it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowStatistics {
    pub(crate) mean: f32,
    /// One over the deviation, or over the root of the mean square.
    pub(crate) scale: f32,
}

/// Where the gradients of gains and biases are added up. Of RMS norms, the biases are empty.
pub(crate) struct NormGradients<'g> {
    pub(crate) gain: &'g mut [f32],
    pub(crate) bias: &'g mut [f32],
}

vectorised! {
    /// Writes `(x - mean) / sqrt(variance + epsilon) * gain + bias` for each row.
    pub(crate) fn layer_norm<'a>(
        input: &'a [f32],
        gain: &'a [f32],
        bias: &'a [f32],
        epsilon: f32,
        statistics: &'a mut [RowStatistics],
        output: &'a mut [f32],
    ) -> () {
        let width = gain.len();
        let bias = &bias[..width];
        let rows = input.chunks_exact(width).zip(output.chunks_exact_mut(width));
        for ((row, output), statistics) in rows.zip(statistics) {
            let mean = sum_over(width, |place| row[place]) / width as f32;
            let variance = sum_over(width, |place| (row[place] - mean) * (row[place] - mean)) / width as f32;
            let scale = 1.0 / (variance + epsilon).sqrt();
            *statistics = RowStatistics { mean, scale };
            for place in 0..width {
                output[place] = ((row[place] - mean) * scale).mul_add(gain[place], bias[place]);
            }
        }
    }
}

vectorised! {
    /// Adds or writes the gradients of the rows, and adds those of gain and bias.
    pub(crate) fn layer_norm_backward<'a>(
        input: &'a [f32],
        gradient: &'a [f32],
        gain: &'a [f32],
        statistics: &'a [RowStatistics],
        sums: NormGradients<'a>,
        output: &'a mut [f32],
        adds: bool,
    ) -> () {
        let width = gain.len();
        let (of_gain, of_bias) = (&mut sums.gain[..width], &mut sums.bias[..width]);
        let rows = input.chunks_exact(width).zip(gradient.chunks_exact(width)).zip(output.chunks_exact_mut(width));
        for (((row, gradient), output), RowStatistics { mean, scale }) in rows.zip(statistics) {
            let (mean, scale) = (*mean, *scale);
            for place in 0..width {
                of_gain[place] += gradient[place] * ((row[place] - mean) * scale);
                of_bias[place] += gradient[place];
            }
            let plain = sum_over(width, |place| gradient[place] * gain[place]) / width as f32;
            let leaning = sum_over(width, |place| gradient[place] * gain[place] * (row[place] - mean)) * scale / width as f32;
            if !adds {
                output.fill(0.0);
            }
            for place in 0..width {
                let normed = (row[place] - mean) * scale;
                let change = scale * (gradient[place] * gain[place] - plain - normed * leaning);
                output[place] += change;
            }
        }
    }
}

vectorised! {
    /// Writes `x / sqrt(mean of x^2 + epsilon) * gain` for each row.
    pub(crate) fn rms_norm<'a>(
        input: &'a [f32],
        gain: &'a [f32],
        epsilon: f32,
        statistics: &'a mut [RowStatistics],
        output: &'a mut [f32],
    ) -> () {
        let width = gain.len();
        let rows = input.chunks_exact(width).zip(output.chunks_exact_mut(width));
        for ((row, output), statistics) in rows.zip(statistics) {
            let square = sum_over(width, |place| row[place] * row[place]) / width as f32;
            let scale = 1.0 / (square + epsilon).sqrt();
            *statistics = RowStatistics { mean: 0.0, scale };
            for place in 0..width {
                output[place] = row[place] * scale * gain[place];
            }
        }
    }
}

vectorised! {
    /// Adds or writes the gradients of the rows, and adds those of the gain.
    pub(crate) fn rms_norm_backward<'a>(
        input: &'a [f32],
        gradient: &'a [f32],
        gain: &'a [f32],
        statistics: &'a [RowStatistics],
        sums: NormGradients<'a>,
        output: &'a mut [f32],
        adds: bool,
    ) -> () {
        let width = gain.len();
        let of_gain = &mut sums.gain[..width];
        let rows = input.chunks_exact(width).zip(gradient.chunks_exact(width)).zip(output.chunks_exact_mut(width));
        for (((row, gradient), output), RowStatistics { scale, .. }) in rows.zip(statistics) {
            let scale = *scale;
            for place in 0..width {
                of_gain[place] += gradient[place] * row[place] * scale;
            }
            let leaning = sum_over(width, |place| gradient[place] * gain[place] * row[place]) * scale * scale / width as f32;
            if !adds {
                output.fill(0.0);
            }
            for place in 0..width {
                let change = scale * (gradient[place] * gain[place] - row[place] * leaning);
                output[place] += change;
            }
        }
    }
}
