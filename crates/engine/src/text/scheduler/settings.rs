//! How much a scheduler does at once.

/// Settings of the scheduler of every loaded language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextSettings {
    /// The most sequences in a step; a beam search counts as many as it is wide.
    pub running: usize,
    /// The most requests that wait; the next one is refused.
    pub queued: usize,
    /// The most tokens of prompts in a step: more read a prompt faster, fewer keep the others' tokens coming evenly.
    pub prompt_tokens: usize,
    /// The most tokens that a caller may leave unread before its request waits.
    pub unread: usize,
}

impl Default for TextSettings {
    fn default() -> TextSettings {
        TextSettings { running: 16, queued: 256, prompt_tokens: 256, unread: 64 }
    }
}
