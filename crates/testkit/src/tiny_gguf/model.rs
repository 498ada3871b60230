//! A `llama` model with pseudo-random weights: it talks nonsense, always the same for the same seed.

use super::GgufBuilder;

/// Longest sequence of the tiny model, in tokens.
pub const TINY_LLAMA_CONTEXT: u32 = 64;

const WIDTH: u64 = 64;
const HEADS: u32 = 4;
const KEY_VALUE_HEADS: u32 = 2;
const KEY_VALUE_WIDTH: u64 = WIDTH / HEADS as u64 * KEY_VALUE_HEADS as u64;
const FEED_FORWARD_WIDTH: u64 = 96;
const LAYERS: u32 = 2;

const F32: u32 = 0;
const F16: u32 = 1;
const Q4_0: u32 = 2;
const Q4_1: u32 = 3;
const Q8_0: u32 = 8;
const BF16: u32 = 30;

const CONTROL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// In byte-level characters, in which `Ġ` is a space.
const MERGES: [&str; 8] = ["Ġ t", "h e", "i n", "Ġt he", "e r", "o n", "r e", "a n"];
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Returns the file of a two-layer `llama` model with a byte-level vocabulary of 267 tokens and a ChatML template. Its
/// tensors are of all types that the native runtime computes with. Ids: 0 `<|endoftext|>`, 1 `<|im_start|>`,
/// 2 `<|im_end|>` (end of text), then 256 bytes, then 8 merges.
pub fn tiny_llama_gguf(seed: u64) -> Vec<u8> {
    tiny_llama(seed).build()
}

/// Returns the same model before it is written, for tests that want one thing of it different.
pub fn tiny_llama(seed: u64) -> GgufBuilder {
    let mut builder = GgufBuilder::default();
    let vocabulary_size = add_metadata(&mut builder);
    let mut random = Random(seed);
    let matrix = |builder: &mut GgufBuilder, random: &mut Random, name: &str, columns: u64, rows: u64, type_id: u32| {
        builder.tensor(name, &[columns, rows], type_id, random.weights(type_id, columns * rows));
    };
    matrix(&mut builder, &mut random, "token_embd.weight", WIDTH, vocabulary_size, Q8_0);
    for layer in 0..LAYERS {
        for (part, columns, rows, types) in [
            ("attn_q", WIDTH, WIDTH, [Q4_1, Q4_1]),
            ("attn_k", WIDTH, KEY_VALUE_WIDTH, [Q4_1, F16]),
            ("attn_v", WIDTH, KEY_VALUE_WIDTH, [Q4_1, BF16]),
            ("attn_output", WIDTH, WIDTH, [Q4_1, Q8_0]),
            ("ffn_gate", WIDTH, FEED_FORWARD_WIDTH, [Q4_0, Q4_1]),
            ("ffn_up", WIDTH, FEED_FORWARD_WIDTH, [Q4_1, Q4_0]),
            ("ffn_down", FEED_FORWARD_WIDTH, WIDTH, [Q4_1, Q4_1]),
        ] {
            let name = format!("blk.{layer}.{part}.weight");
            matrix(&mut builder, &mut random, &name, columns, rows, types[layer as usize]);
        }
        for part in ["attn_norm", "ffn_norm"] {
            builder.tensor(&format!("blk.{layer}.{part}.weight"), &[WIDTH], F32, random.norm_weights());
        }
    }
    builder.tensor("output_norm.weight", &[WIDTH], F32, random.norm_weights());
    builder
}

/// Returns the number of tokens.
fn add_metadata(builder: &mut GgufBuilder) -> u64 {
    let bytes = byte_characters();
    let merged = MERGES.iter().map(|merge| merge.replace(' ', ""));
    let tokens: Vec<String> =
        CONTROL_TOKENS.iter().map(|token| (*token).to_owned()).chain(bytes).chain(merged).collect();
    let types: Vec<i32> = (0..tokens.len()).map(|id| if id < CONTROL_TOKENS.len() { 3 } else { 1 }).collect();
    builder
        .text("general.architecture", "llama")
        .text("general.type", "model")
        .text("general.name", "tiny")
        .number("llama.block_count", LAYERS)
        .number("llama.context_length", TINY_LLAMA_CONTEXT)
        .number("llama.embedding_length", WIDTH as u32)
        .number("llama.feed_forward_length", FEED_FORWARD_WIDTH as u32)
        .number("llama.attention.head_count", HEADS)
        .number("llama.attention.head_count_kv", KEY_VALUE_HEADS)
        .number("llama.rope.dimension_count", WIDTH as u32 / HEADS)
        .float("llama.rope.freq_base", 10_000.0)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .number("llama.vocab_size", tokens.len() as u32)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.tokens", &tokens)
        .numbers("tokenizer.ggml.token_type", &types)
        .texts("tokenizer.ggml.merges", &MERGES)
        .number("tokenizer.ggml.bos_token_id", 1)
        .number("tokenizer.ggml.eos_token_id", 2)
        .boolean("tokenizer.ggml.add_bos_token", false)
        .text("tokenizer.chat_template", CHAT_TEMPLATE);
    tokens.len() as u64
}

/// Returns the characters that stand for the 256 bytes in byte-level vocabularies: printable bytes stand for themselves,
/// the others for the characters from U+0100 on.
fn byte_characters() -> impl Iterator<Item = String> {
    let mut next = 0x100;
    (0..=255u8).map(move |byte| {
        let character = match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
            _ => {
                next += 1;
                char::from_u32(next - 1).expect("U+0100 to U+0143 are characters")
            }
        };
        character.to_string()
    })
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// Numbers between 0.9 and 1.1.
    fn norm_weights(&mut self) -> Vec<u8> {
        (0..WIDTH).flat_map(|_| (0.9 + f32::from(self.byte()) / 1275.0).to_le_bytes()).collect()
    }

    /// Weights of some tenths, written directly in the type's bits.
    fn weights(&mut self, type_id: u32, count: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        match type_id {
            F16 => (0..count).for_each(|_| bytes.extend(self.small_float(12 << 10, 10).to_le_bytes())),
            BF16 => (0..count).for_each(|_| bytes.extend(self.small_float(124 << 7, 7).to_le_bytes())),
            _ => (0..count / 32).for_each(|_| self.block(type_id, &mut bytes)),
        }
        bytes
    }

    /// A half-wide float of random sign and mantissa between 1/8 and 1/4.
    fn small_float(&mut self, exponent: u16, mantissa_bits: u32) -> u16 {
        let random = self.next() as u16;
        (random & 0x8000) | exponent | (random & ((1 << mantissa_bits) - 1))
    }

    /// A block with a scale of 2^-4 or 2^-5 (2^-9 or 2^-10 for bytes) and random quants.
    fn block(&mut self, type_id: u32, bytes: &mut Vec<u8>) {
        let exponent = 10 + u16::from(self.byte() & 1);
        let quants = match type_id {
            Q8_0 => {
                bytes.extend(((exponent - 5) << 10).to_le_bytes());
                32
            }
            Q4_0 => {
                bytes.extend((exponent << 10).to_le_bytes());
                16
            }
            Q4_1 => {
                // The minimum is -7.5 times the scale, so that weights are around zero: 1.875 * 2^2.
                bytes.extend((exponent << 10).to_le_bytes());
                bytes.extend((0x8000 | (exponent + 2) << 10 | 896).to_le_bytes());
                16
            }
            _ => unreachable!("the tiny model has no tensor of type {type_id}"),
        };
        bytes.extend((0..quants).map(|_| self.byte()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_file_and_another_seed_another() {
        assert_eq!(tiny_llama_gguf(1), tiny_llama_gguf(1));
        assert_ne!(tiny_llama_gguf(1), tiny_llama_gguf(2));
        assert!((20_000..100_000).contains(&tiny_llama_gguf(1).len()));
    }

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let characters: std::collections::BTreeSet<String> = byte_characters().collect();
        assert_eq!(characters.len(), 256);
        assert_eq!(byte_characters().nth(usize::from(b' ')).unwrap(), "Ġ");
    }
}
