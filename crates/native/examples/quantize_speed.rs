//! Measures how quickly weights are quantised; prints one JSON object for each type.
//!
//!     quantize_speed [--folder FOLDER] [--megabytes 1024]
//!
//! It writes a decoder of made-up F32 weights of that size into FOLDER (else a temporary one), and quantises it to every type. Bytes read
//! and written are counted together. Numbers are arbitrary: rounding takes as long for others.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_core::{Digest, QuantizationType, QuantizeTask, Quantizer as _, Unwatched};
use seedhouse_native::NativeQuantizer;
use serde_json::{Map, Value, json};

const WIDTH: usize = 2048;
const FEED_FORWARD: usize = 8192;
const VOCABULARY: usize = 32_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let setting = |name: &str| arguments.iter().position(|found| found == name).and_then(|at| arguments.get(at + 1));
    let temporary = tempfile::tempdir()?;
    let folder = setting("--folder").map_or(temporary.path(), |folder| Path::new(folder));
    let megabytes: usize = setting("--megabytes").map_or(Ok(1024), |text| text.parse())?;
    let source = folder.join("source");
    fs::create_dir_all(&source)?;
    write_decoder(&source, megabytes << 20)?;
    let files = files(&source)?;
    let read = fs::metadata(source.join("model.safetensors"))?.len();
    for precision in QuantizationType::ALL {
        let target = folder.join(precision.as_str());
        fs::create_dir_all(&target)?;
        let begun = Instant::now();
        let task = QuantizeTask { files: &files, metadata: &Map::new(), precision, folder: &target };
        NativeQuantizer.quantize(&task, &Unwatched)?;
        let seconds = begun.elapsed().as_secs_f64();
        let written = fs::metadata(target.join("model.safetensors"))?.len();
        let megabytes_per_second = (read + written) as f64 / seconds / 1e6;
        println!(
            "{}",
            json!({"type": precision, "bytes_read": read, "bytes_written": written, "seconds": seconds,
                "megabytes_per_second": megabytes_per_second, "peak_memory_kilobytes": peak_memory()})
        );
        fs::remove_dir_all(&target)?;
    }
    Ok(())
}

/// Returns the most private memory that the process had, pages of files not among it, where the system says it.
fn peak_memory() -> Option<Value> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let of = |name: &str| -> Option<u64> {
        status.lines().find(|line| line.starts_with(name))?.split_whitespace().nth(1)?.parse().ok()
    };
    Some(json!({"most_resident": of("VmHWM:")?, "private_now": of("RssAnon:")?}))
}

/// Writes a folder of Llama's class with as many layers as make the size.
fn write_decoder(folder: &Path, bytes: usize) -> Result<(), Box<dyn Error>> {
    let of_layer = 4 * WIDTH * WIDTH + 3 * WIDTH * FEED_FORWARD + 2 * WIDTH;
    let layers = (bytes / 4).saturating_sub(VOCABULARY * WIDTH).div_ceil(of_layer).max(1);
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH, "num_attention_heads": WIDTH / 64,
        "num_key_value_heads": WIDTH / 64, "intermediate_size": FEED_FORWARD, "num_hidden_layers": layers,
        "max_position_embeddings": 512, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-6, "hidden_act": "silu",
        "tie_word_embeddings": true,
    });
    fs::write(folder.join("config.json"), config.to_string())?;
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
    ];
    for layer in 0..layers {
        let parts: [(&str, &[usize]); 9] = [
            ("input_layernorm", &[WIDTH]),
            ("post_attention_layernorm", &[WIDTH]),
            ("self_attn.q_proj", &[WIDTH, WIDTH]),
            ("self_attn.k_proj", &[WIDTH, WIDTH]),
            ("self_attn.v_proj", &[WIDTH, WIDTH]),
            ("self_attn.o_proj", &[WIDTH, WIDTH]),
            ("mlp.gate_proj", &[FEED_FORWARD, WIDTH]),
            ("mlp.up_proj", &[FEED_FORWARD, WIDTH]),
            ("mlp.down_proj", &[WIDTH, FEED_FORWARD]),
        ];
        tensors.extend(parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape.to_vec())));
    }
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in &tensors {
        let length = shape.iter().product::<usize>() * 4;
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [end, end + length]}));
        end += length;
    }
    let header = Value::Object(header).to_string();
    let mut file = BufWriter::new(File::create(folder.join("model.safetensors"))?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let block: Vec<u8> = (0..1 << 20).flat_map(|index: u32| (0.37 * index as f32).sin().to_le_bytes()).collect();
    let mut left = end;
    while left > 0 {
        let length = left.min(block.len());
        file.write_all(&block[..length])?;
        left -= length;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

/// Digests name files in a registry and are not looked at here.
fn files(folder: &Path) -> Result<LocalFiles, Box<dyn Error>> {
    let mut files = Vec::new();
    for name in ["config.json", "model.safetensors"] {
        files.push(LocalFile { path: name.parse()?, local: folder.join(name), digest: Digest::of(name) });
    }
    Ok(LocalFiles(files))
}
