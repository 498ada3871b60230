//! What a model is for and what it was made with. Both sets are open: an unknown word is kept and written back.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! open_set {
    ($(#[$meta:meta])* $type:ident { $($(#[$variant_meta:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $type {
            $($(#[$variant_meta])* $variant,)*
            /// A word we do not know, kept as it came.
            Other(String),
        }

        impl $type {
            /// Returns the name on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $($type::$variant => $name,)*
                    $type::Other(name) => name,
                }
            }
        }

        impl From<&str> for $type {
            fn from(name: &str) -> $type {
                match name {
                    $($name => $type::$variant,)*
                    other => $type::Other(other.to_owned()),
                }
            }
        }

        impl From<String> for $type {
            fn from(name: String) -> $type {
                $type::from(name.as_str())
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.as_str().to_owned()
            }
        }

        impl FromStr for $type {
            type Err = Infallible;

            fn from_str(name: &str) -> Result<$type, Infallible> {
                Ok($type::from(name))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

open_set! {
    /// What a model is for.
    ModelType {
        /// Tabular features to a class.
        Classification = "classification",
        /// Tabular features to numbers.
        Regression = "regression",
        /// A declared optimisation problem.
        Optimization = "optimization",
        /// Tokens to tokens.
        Transformer = "transformer",
        /// Images to classes or features.
        Vision = "vision",
        /// Noise to images.
        Diffusion = "diffusion",
        /// Text to vectors.
        Embedding = "embedding",
    }
}

open_set! {
    /// What the files of a version were made with, which is also the name of their format.
    Framework {
        /// A torch checkpoint.
        Pytorch = "pytorch",
        /// A directory as the Hugging Face libraries write it.
        Huggingface = "huggingface",
        /// A TensorFlow SavedModel.
        Tensorflow = "tensorflow",
        /// An ONNX graph.
        Onnx = "onnx",
        /// A safetensors file.
        Safetensors = "safetensors",
        /// A GGUF file.
        Gguf = "gguf",
        /// Our own format.
        Seedhouse = "seedhouse",
        /// Neither recognised nor claimed.
        Unknown = "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_word_is_kept() {
        let kind: ModelType = serde_json::from_str("\"病害识别\"").unwrap();
        assert_eq!(kind, ModelType::Other("病害识别".into()));
        assert_eq!(serde_json::to_string(&kind).unwrap(), "\"病害识别\"");
        assert_eq!(ModelType::from("vision"), ModelType::Vision);
    }
}
