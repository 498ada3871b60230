//! How somebody calls the tensors.

/// Names without `.weight` and `.bias`; those of a layer without what stands before its number and after it.
pub(in crate::vision) struct Names {
    pub(super) patches: &'static str,
    pub(super) class_token: &'static str,
    pub(super) positions: &'static str,
    layer: &'static str,
    pub(super) attention_norm: &'static str,
    /// Queries, keys and values.
    pub(super) inputs: [&'static str; 3],
    pub(super) attention_output: &'static str,
    pub(super) feed_forward_norm: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    pub(super) final_norm: &'static str,
    pub(super) classifier: &'static str,
}

impl Names {
    /// Returns the name of a part of a layer.
    pub(super) fn layer(&self, layer: usize, part: &str) -> String {
        format!("{}.{layer}.{part}", self.layer)
    }
}

/// Those of `ViTForImageClassification`.
pub(in crate::vision) const HUGGING_FACE: Names = Names {
    patches: "vit.embeddings.patch_embeddings.projection",
    class_token: "vit.embeddings.cls_token",
    positions: "vit.embeddings.position_embeddings",
    layer: "vit.encoder.layer",
    attention_norm: "layernorm_before",
    inputs: ["attention.attention.query", "attention.attention.key", "attention.attention.value"],
    attention_output: "attention.output.dense",
    feed_forward_norm: "layernorm_after",
    up: "intermediate.dense",
    down: "output.dense",
    final_norm: "vit.layernorm",
    classifier: "classifier",
};

/// Ours, for the network of the system that Seedhouse took over.
pub(super) const ORIGINAL: Names = Names {
    patches: "patch_embedding",
    class_token: "class_token",
    positions: "position_embedding",
    layer: "layers",
    attention_norm: "attention_norm",
    inputs: ["attention.query", "attention.key", "attention.value"],
    attention_output: "attention.output",
    feed_forward_norm: "feed_forward_norm",
    up: "feed_forward.up",
    down: "feed_forward.down",
    final_norm: "final_norm",
    classifier: "classifier",
};
