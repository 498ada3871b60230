//! Convolutions of one image in NCHW order, with bias and activation applied on the way out.
//!
//! [`Pointwise`] (1x1) is a matrix product; [`Spatial`] (everything with a window) goes over rows directly.

mod pointwise;
mod spatial;

pub(crate) use self::pointwise::Pointwise;
pub(crate) use self::spatial::{Grouping, Spatial};

/// The activations of one image: `channels` planes of `height` rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Planes {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) data: Vec<f32>,
}

impl Planes {
    /// Returns how many values a plane has.
    pub(crate) fn plane_size(&self) -> usize {
        self.height * self.width
    }
}

/// What happens to a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing.
    Identity,
    /// It is cut to 0..=6.
    Relu6,
}

impl Activation {
    /// Applies it; not-a-number stays what it is.
    #[inline(always)]
    pub(crate) fn apply(self, value: f32) -> f32 {
        match self {
            Activation::Identity => value,
            Activation::Relu6 => value.clamp(0.0, 6.0),
        }
    }
}
