//! Image classifiers: convolutional networks and vision transformers on the kernels.
//!
//! ```text
//! families          which family tensors belong to; from files to models
//! network           a network as a tensor model: images in, logits and features out
//! efficientnet_lite, resnet, cnn, vit    the families: names, shapes, forward pass
//! graph             a network as a graph of operators
//! huggingface       folders: their configuration, pre-processing and labels
//! ```
//!
//! Batches are computed together; the numbers of an image are the same in every batch. Channels lie side by side within a pixel.

mod cnn;
mod efficientnet_lite;
mod families;
pub(crate) mod graph;
mod huggingface;
mod network;
mod resnet;
#[cfg(test)]
mod tests;
mod vit;

pub(crate) use families::{describe, expected, load};
pub(crate) use huggingface::{
    check_sizes, graph_of_folder, inspect_folder, is_classifier, load_folder, nonlinearity,
    with_tensors as with_tensors_of_folder,
};
