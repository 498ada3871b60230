//! Small models in every format, written number by number, and what becomes of them when one thing is wrong.

mod blocks;
mod gguf;
mod huggingface;
mod mutation;
mod original;
mod refusals;
mod tiny;
