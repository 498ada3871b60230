//! The tensors of a model by their roles.

use std::collections::BTreeMap;

use super::role::Role;
use super::source::TensorSource;

/// The tensors of a layer, or those that a model has once.
pub(super) type RoleTensors = BTreeMap<Role, TensorSource>;

/// Every tensor at its place: what the spec asks for is there, and has the shape that follows from it.
#[derive(Debug)]
pub(crate) struct DecoderTensors {
    of_model: RoleTensors,
    layers: Vec<RoleTensors>,
}

impl DecoderTensors {
    /// The caller has checked them against the spec.
    pub(super) fn new(of_model: RoleTensors, layers: Vec<RoleTensors>) -> DecoderTensors {
        DecoderTensors { of_model, layers }
    }

    /// Returns a tensor that the model may have once.
    pub(crate) fn of_model(&self, role: Role) -> Option<&TensorSource> {
        self.of_model.get(&role)
    }

    /// Returns a tensor that a layer may have.
    pub(crate) fn of_layer(&self, layer: usize, role: Role) -> Option<&TensorSource> {
        self.layers.get(layer)?.get(&role)
    }

    /// Returns a tensor that the spec asks for.
    ///
    /// # Panics
    /// When the spec does not ask for it.
    pub(crate) fn model_tensor(&self, role: Role) -> &TensorSource {
        self.of_model(role).expect("the reader found every tensor that the spec asks for")
    }

    /// Returns a tensor that the spec asks for in each layer.
    ///
    /// # Panics
    /// When the spec does not ask for it, or there is no such layer.
    pub(crate) fn layer_tensor(&self, layer: usize, role: Role) -> &TensorSource {
        self.of_layer(layer, role).expect("the reader found every tensor that the spec asks for")
    }

    /// Returns the matrix whose products are the logits: the output's own, or the token embedding.
    pub(crate) fn output(&self) -> &TensorSource {
        self.of_model(Role::Output).unwrap_or_else(|| self.model_tensor(Role::TokenEmbedding))
    }

    /// Returns every tensor of every role.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn all(&self) -> impl Iterator<Item = &TensorSource> {
        self.by_role().map(|(_, source)| source)
    }

    /// Returns every tensor with its role.
    pub(crate) fn by_role(&self) -> impl Iterator<Item = (Role, &TensorSource)> {
        self.of_model.iter().chain(self.layers.iter().flatten()).map(|(role, source)| (*role, source))
    }
}
