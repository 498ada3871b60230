//! What formats call the tensors of a role, and how they lay them out.

use super::role::{Presence, Role};

/// The name and the layout of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    /// The name, with `{}` where the number of the layer stands.
    pub(super) template: &'static str,
    /// Which numbers of the tensor are those of the role.
    pub(super) layout: Layout,
}

/// How a role's numbers stand in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Whether a matrix is written `[inputs, outputs]`, as `Conv1D` of the transformers library does.
    pub(super) is_transposed: bool,
    /// Whether the outputs of queries, keys and values stand in one tensor.
    pub(super) is_fused: bool,
}

/// The words of a format.
pub(super) struct Naming<'n> {
    /// Returns the name of a role's tensor, or `None` when the format has none.
    pub(super) name: fn(Role) -> Option<Name>,
    /// Says which of the tensors that are optional for the arithmetic the model has.
    pub(super) optional: &'n dyn Fn(Role) -> Presence,
}

impl Name {
    /// A tensor that is laid out as the role.
    pub(super) const fn plain(template: &'static str) -> Name {
        Name { template, layout: Layout { is_transposed: false, is_fused: false } }
    }

    /// A tensor with the outputs of queries, keys and values.
    pub(super) const fn fused(template: &'static str) -> Name {
        Name { template, layout: Layout { is_transposed: false, is_fused: true } }
    }

    /// The same tensor the other way round.
    pub(super) const fn transposed(self) -> Name {
        Name { template: self.template, layout: Layout { is_transposed: true, is_fused: self.layout.is_fused } }
    }

    /// Returns the name in a layer.
    pub(super) fn of_layer(self, layer: usize) -> String {
        self.template.replacen("{}", &layer.to_string(), 1)
    }
}
