//! The small messages, with the fields that are used; others are read over.
//!
//! Field numbers are those of `tensor_bundle.proto`, `versions.proto`, `tensor_shape.proto`, `tensor_slice.proto` and
//! `meta_graph.proto` of TensorFlow.

use std::collections::BTreeMap;

use prost::Message;

/// `BundleHeaderProto`: the first entry of a checkpoint's index.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BundleHeader {
    #[prost(int32, tag = "1")]
    pub(super) shard_count: i32,
    #[prost(int32, tag = "2")]
    pub(super) byte_order: i32,
    #[prost(message, optional, tag = "3")]
    pub(super) version: Option<FormatVersion>,
}

/// `VersionDef`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FormatVersion {
    /// The oldest reader of the format that understands the file.
    #[prost(int32, tag = "2")]
    pub(super) oldest_reader: i32,
}

/// `BundleEntryProto`: what a checkpoint's index says about a tensor.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BundleEntry {
    #[prost(int32, tag = "1")]
    pub(super) data_type: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<Shape>,
    #[prost(int32, tag = "3")]
    pub(super) shard: i32,
    #[prost(int64, tag = "4")]
    pub(super) offset: i64,
    #[prost(int64, tag = "5")]
    pub(super) size: i64,
    #[prost(fixed32, tag = "6")]
    pub(super) checksum: u32,
    /// When there are some, the tensor is stored in entries of their own.
    #[prost(message, repeated, tag = "7")]
    pub(super) slices: Vec<Slice>,
}

/// `TensorSliceProto`. That it is there says enough.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Slice {}

/// `TensorShapeProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Shape {
    #[prost(message, repeated, tag = "2")]
    pub(super) dimensions: Vec<Dimension>,
    #[prost(bool, tag = "3")]
    pub(super) is_unknown: bool,
}

/// `TensorShapeProto.Dim`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Dimension {
    /// -1 when it is free.
    #[prost(int64, tag = "1")]
    pub(super) size: i64,
}

/// An entry of the map `signature_def` of `MetaGraphDef`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SignatureEntry {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) signature: Option<Signature>,
}

/// `SignatureDef`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Signature {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) inputs: BTreeMap<String, TensorInfo>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(super) outputs: BTreeMap<String, TensorInfo>,
}

/// `TensorInfo`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorInfo {
    #[prost(int32, tag = "2")]
    pub(super) data_type: i32,
    #[prost(message, optional, tag = "3")]
    pub(super) shape: Option<Shape>,
}

/// `AssetFileDef`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Asset {
    #[prost(string, tag = "2")]
    pub(super) file_name: String,
}
