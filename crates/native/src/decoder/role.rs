//! What a tensor is for. From the spec follows which roles a model fills, and of which shape.

use super::spec::{DecoderSpec, NormKind, NormPlacement, Positions};

/// The place of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    TokenEmbedding,
    PositionEmbedding,
    FinalNorm,
    FinalNormBias,
    Output,
    OutputBias,
    AttentionNorm,
    AttentionNormBias,
    Query,
    QueryBias,
    Key,
    KeyBias,
    Value,
    ValueBias,
    QueryNorm,
    KeyNorm,
    AttentionOutput,
    AttentionOutputBias,
    FeedForwardNorm,
    FeedForwardNormBias,
    Gate,
    GateBias,
    Up,
    UpBias,
    Down,
    DownBias,
}

/// Whether a model has a tensor of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
    Absent,
}

/// The dimensions of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoleShape {
    Vector(usize),
    Matrix { outputs: usize, inputs: usize },
}

impl Role {
    /// The roles that a model fills once.
    pub(crate) const OF_MODEL: [Role; 6] = [
        Role::TokenEmbedding,
        Role::PositionEmbedding,
        Role::FinalNorm,
        Role::FinalNormBias,
        Role::Output,
        Role::OutputBias,
    ];

    /// The roles that each layer fills.
    pub(crate) const OF_LAYER: [Role; 20] = [
        Role::AttentionNorm,
        Role::AttentionNormBias,
        Role::Query,
        Role::QueryBias,
        Role::Key,
        Role::KeyBias,
        Role::Value,
        Role::ValueBias,
        Role::QueryNorm,
        Role::KeyNorm,
        Role::AttentionOutput,
        Role::AttentionOutputBias,
        Role::FeedForwardNorm,
        Role::FeedForwardNormBias,
        Role::Gate,
        Role::GateBias,
        Role::Up,
        Role::UpBias,
        Role::Down,
        Role::DownBias,
    ];

    /// Says whether models of this shape have the tensor. Biases are optional as far as the arithmetic goes.
    pub(super) fn presence(self, spec: &DecoderSpec) -> Presence {
        let only_if = |condition: bool, then: Presence| if condition { then } else { Presence::Absent };
        let is_gated = spec.feed_forward.is_gated();
        match self {
            Role::TokenEmbedding
            | Role::AttentionNorm
            | Role::Query
            | Role::Key
            | Role::Value
            | Role::AttentionOutput
            | Role::FeedForwardNorm
            | Role::Up
            | Role::Down => Presence::Required,
            Role::PositionEmbedding => only_if(spec.positions == Positions::Learned, Presence::Required),
            Role::FinalNorm => match spec.norm.placement {
                NormPlacement::Pre => Presence::Required,
                NormPlacement::Post => Presence::Optional,
            },
            Role::Output => only_if(!spec.tied_output, Presence::Required),
            Role::QueryNorm | Role::KeyNorm => only_if(spec.head_norms, Presence::Required),
            Role::Gate => only_if(is_gated, Presence::Required),
            Role::GateBias => only_if(is_gated, Presence::Optional),
            Role::FinalNormBias | Role::AttentionNormBias | Role::FeedForwardNormBias => {
                only_if(spec.norm.kind == NormKind::Layer, Presence::Optional)
            }
            Role::OutputBias
            | Role::QueryBias
            | Role::KeyBias
            | Role::ValueBias
            | Role::AttentionOutputBias
            | Role::UpBias
            | Role::DownBias => Presence::Optional,
        }
    }

    /// Returns whether the tensor is a matrix.
    pub(crate) fn is_matrix(self, spec: &DecoderSpec) -> bool {
        matches!(self.shape(spec), RoleShape::Matrix { .. })
    }

    /// Returns the dimensions.
    pub(super) fn shape(self, spec: &DecoderSpec) -> RoleShape {
        let (query, key_value) = (spec.query_width(), spec.key_value_width());
        let matrix = |outputs, inputs| RoleShape::Matrix { outputs, inputs };
        match self {
            Role::TokenEmbedding | Role::Output => matrix(spec.vocab_size, spec.width),
            Role::PositionEmbedding => matrix(spec.context_length, spec.width),
            Role::Query => matrix(query, spec.width),
            Role::Key | Role::Value => matrix(key_value, spec.width),
            Role::AttentionOutput => matrix(spec.width, query),
            Role::Gate | Role::Up => matrix(spec.feed_forward_width, spec.width),
            Role::Down => matrix(spec.width, spec.feed_forward_width),
            Role::QueryBias => RoleShape::Vector(query),
            Role::KeyBias | Role::ValueBias => RoleShape::Vector(key_value),
            Role::QueryNorm | Role::KeyNorm => RoleShape::Vector(spec.head_width),
            Role::GateBias | Role::UpBias => RoleShape::Vector(spec.feed_forward_width),
            Role::OutputBias => RoleShape::Vector(spec.vocab_size),
            Role::FinalNorm
            | Role::FinalNormBias
            | Role::AttentionNorm
            | Role::AttentionNormBias
            | Role::AttentionOutputBias
            | Role::FeedForwardNorm
            | Role::FeedForwardNormBias
            | Role::DownBias => RoleShape::Vector(spec.width),
        }
    }

    /// Returns whether the tensor has one dimension.
    pub(crate) fn is_vector(self) -> bool {
        match self {
            Role::TokenEmbedding
            | Role::PositionEmbedding
            | Role::Output
            | Role::Query
            | Role::Key
            | Role::Value
            | Role::AttentionOutput
            | Role::Gate
            | Role::Up
            | Role::Down => false,
            Role::FinalNorm
            | Role::FinalNormBias
            | Role::OutputBias
            | Role::AttentionNorm
            | Role::AttentionNormBias
            | Role::QueryBias
            | Role::KeyBias
            | Role::ValueBias
            | Role::QueryNorm
            | Role::KeyNorm
            | Role::AttentionOutputBias
            | Role::FeedForwardNorm
            | Role::FeedForwardNormBias
            | Role::GateBias
            | Role::UpBias
            | Role::DownBias => true,
        }
    }

    /// Returns where the role begins within a tensor of queries, keys and values together, and how long that tensor is.
    pub(super) fn place_in_fused(self, spec: &DecoderSpec) -> (usize, usize) {
        let (query, key_value) = (spec.query_width(), spec.key_value_width());
        let first = match self {
            Role::Key | Role::KeyBias => query,
            Role::Value | Role::ValueBias => query + key_value,
            _ => 0,
        };
        (first, query + 2 * key_value)
    }
}
