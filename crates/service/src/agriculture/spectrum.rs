//! What a measured spectrum has in the four bands of a light recipe.

use seedhouse_core::{Error, Result};
use serde::Serialize;

/// How many values a spectrum has: one for each nanometre from 0.
pub const SPECTRUM_LENGTH: usize = 800;

/// The means of four bands. The band of white light is the blue peak by which white lamps are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spectrum {
    /// From 370 to 389 nm.
    pub uv_380nm: f64,
    /// From 710 to 729 nm.
    pub far_red_720nm: f64,
    /// From 420 to 449 nm.
    pub white_light: f64,
    /// From 650 to 669 nm.
    pub red_660nm: f64,
    /// White light for each unit of red; nothing where there is no red.
    pub white_red_ratio: Option<f64>,
}

impl Spectrum {
    /// Returns the bands of a spectrum.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of values than [`SPECTRUM_LENGTH`], and for one that is no intensity.
    pub fn of(values: &[f64]) -> Result<Spectrum> {
        if values.len() != SPECTRUM_LENGTH {
            let rule = format!("must have {SPECTRUM_LENGTH} values, one for each nanometre from 0");
            return Err(Error::invalid("spectrum_data", format!("{} values", values.len()), rule));
        }
        // Also refuses what is no number.
        if let Some(place) = values.iter().position(|value| !(0.0..=f64::MAX).contains(value)) {
            return Err(Error::invalid(format!("spectrum_data[{place}]"), values[place], "must be a number from 0"));
        }
        // Each value is divided first: the sum of the largest numbers has no room.
        let mean =
            |from: usize, to: usize| values[from..to].iter().map(|value| value / (to - from) as f64).sum::<f64>();
        let (white_light, red_660nm) = (mean(420, 450), mean(650, 670));
        let ratio = white_light / red_660nm;
        Ok(Spectrum {
            uv_380nm: mean(370, 390),
            far_red_720nm: mean(710, 730),
            white_light,
            red_660nm,
            white_red_ratio: ratio.is_finite().then_some(ratio),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_the_means_of_their_nanometres_and_of_no_other() {
        let mut values = vec![1000.0; SPECTRUM_LENGTH];
        for (from, to, first) in [(370, 390, 1.0), (710, 730, 2.0), (420, 450, 3.0), (650, 670, 4.0)] {
            // From `first` up by 2 over the band, so that the mean is `first` + 1.
            let step = 2.0 / (to - from - 1) as f64;
            (from..to).for_each(|place| values[place] = first + step * (place - from) as f64);
        }
        let spectrum = Spectrum::of(&values).unwrap();
        let expected = [
            (spectrum.uv_380nm, 2.0),
            (spectrum.far_red_720nm, 3.0),
            (spectrum.white_light, 4.0),
            (spectrum.red_660nm, 5.0),
        ];
        assert!(expected.iter().all(|(found, expected)| (found - expected).abs() < 1e-9), "{spectrum:?}");
        assert!((spectrum.white_red_ratio.unwrap() - 0.8).abs() < 1e-9);
    }

    #[test]
    fn darkness_has_no_ratio_and_what_is_no_spectrum_is_refused() {
        assert_eq!(Spectrum::of(&[0.0; SPECTRUM_LENGTH]).unwrap().white_red_ratio, None);
        let error = Spectrum::of(&[0.0; 700]).unwrap_err().to_string();
        assert!(error.contains("700") && error.contains("800"), "{error}");
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            let mut values = vec![1.0; SPECTRUM_LENGTH];
            values[17] = wrong;
            assert!(Spectrum::of(&values).unwrap_err().to_string().contains("spectrum_data[17]"), "{wrong}");
        }
    }
}
