//! The networks that are trained. Names, shapes and arithmetic are those that the native runtime reads and serves; each file names the one
//! that describes them.

pub(crate) mod cnn;
pub(crate) mod decoder;
#[cfg(test)]
mod references;
pub(crate) mod table_network;
#[cfg(test)]
mod tests;
pub(crate) mod unet;
pub(crate) mod vit;

/// The deviation of weights of transformers before anything is learned (Radford et al. 2019).
const DEVIATION: f32 = 0.02;

/// Returns the deviation of weights after which numbers keep their size through ReLU (He et al. 2015).
fn he(inputs: usize) -> f32 {
    (2.0 / inputs as f32).sqrt()
}
