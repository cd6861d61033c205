//! A language model of our own: random, always the same, in the GGUF format.
//!
//! It says nothing sensible, but it is computed as any Llama is: the published backends load it,
//! and two runs of one backend can be compared token by token.
//!
//! The format is described in ggml's `docs/gguf.md`; the names of keys and tensors in llama.cpp's
//! description of the `llama` architecture.

use std::io::{self, Write};

/// Tokens: three special ones, 256 bytes, and 61 letters.
const TOKENS: u64 = 320;

/// Bytes to which tensors are aligned (`general.alignment`, by default).
const ALIGNMENT: usize = 32;

/// How large a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Numbers of one token's vector; a multiple of 256, one row of every block format of ggml.
    width: u64,
    /// Width of the feed-forward part.
    feed_forward: u64,
    /// Attention heads; each is 64 wide, as in many models.
    heads: u64,
    /// Heads of keys and values: fewer, as in all newer models.
    heads_kv: u64,
    /// Layers.
    layers: u64,
}

impl Shape {
    /// One that a simulated device computes in seconds: 1.6 million weights.
    pub const SMALL: Self =
        Self { width: 256, feed_forward: 512, heads: 4, heads_kv: 2, layers: 2 };

    /// One that keeps a GPU busy: as Llama 3.2 with 1B, but for the vocabulary.
    pub const LARGE: Self =
        Self { width: 2048, feed_forward: 8192, heads: 32, heads_kv: 8, layers: 16 };
}

/// How the weights of the matrices are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Blocks of 32 weights of 4 bits with one scale.
    Q4_0,
}

impl Weights {
    /// ggml's number of the type.
    fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
        }
    }

    /// Bytes of so many weights.
    fn bytes(self, count: u64) -> u64 {
        match self {
            Self::F32 => count * 4,
            Self::F16 => count * 2,
            Self::Q4_0 => count / 32 * 18,
        }
    }

    /// Makes so many random weights of about this size.
    fn make(self, random: &mut fastrand::Rng, count: u64, size: f32) -> Vec<u8> {
        let mut one = || (random.f32() * 2.0 - 1.0) * size;
        match self {
            Self::F32 => (0..count).flat_map(|_| one().to_le_bytes()).collect(),
            Self::F16 => {
                (0..count).flat_map(|_| half::f16::from_f32(one()).to_le_bytes()).collect()
            }
            Self::Q4_0 => {
                let scale = half::f16::from_f32(size / 8.0).to_le_bytes();
                let block = |_| {
                    let quants: [u8; 16] = std::array::from_fn(|_| random.u8(..));
                    [scale.as_slice(), &quants].concat()
                };
                (0..count / 32).flat_map(block).collect()
            }
        }
    }
}

/// Writes the model; the same one for the same shape and weights.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl Write, shape: Shape, weights: Weights) -> io::Result<()> {
    let tensors = tensors(shape, weights);
    let keys = keys(shape);
    let mut head = Vec::new();
    head.extend_from_slice(b"GGUF");
    head.extend_from_slice(&3_u32.to_le_bytes());
    head.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
    head.extend_from_slice(&(keys.len() as u64).to_le_bytes());
    keys.iter().for_each(|key| head.extend_from_slice(key));
    let mut offset = 0_u64;
    for tensor in &tensors {
        text(&mut head, &tensor.name);
        head.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().for_each(|length| head.extend_from_slice(&length.to_le_bytes()));
        head.extend_from_slice(&tensor.kind.number().to_le_bytes());
        head.extend_from_slice(&offset.to_le_bytes());
        offset += tensor.kind.bytes(tensor.count()).next_multiple_of(ALIGNMENT as u64);
    }
    pad(&mut head);
    out.write_all(&head)?;
    let mut random = fastrand::Rng::with_seed(20);
    for tensor in tensors {
        let mut bytes = tensor.bytes(&mut random);
        pad(&mut bytes);
        out.write_all(&bytes)?;
    }
    Ok(())
}

struct Tensor {
    name: String,
    shape: Vec<u64>,
    kind: Weights,
}

impl Tensor {
    fn count(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Random weights of a matrix; ones of a vector, which scales.
    fn bytes(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        match self.shape[..] {
            // Random rows of this size keep a vector's length about the same.
            [columns, _] => self.kind.make(random, self.count(), (3.0 / columns as f32).sqrt()),
            _ => (0..self.count()).flat_map(|_| 1_f32.to_le_bytes()).collect(),
        }
    }
}

fn tensors(shape: Shape, weights: Weights) -> Vec<Tensor> {
    let Shape { width, feed_forward, heads, heads_kv, layers } = shape;
    let width_kv = width / heads * heads_kv;
    let matrix =
        |name: String, columns, rows| Tensor { name, shape: vec![columns, rows], kind: weights };
    let vector = |name| Tensor { name, shape: vec![width], kind: Weights::F32 };
    let ends = ["token_embd", "output"].map(|name| matrix(format!("{name}.weight"), width, TOKENS));
    let matrices = (0..layers).flat_map(|layer| {
        [
            ("attn_q", width, width),
            ("attn_k", width, width_kv),
            ("attn_v", width, width_kv),
            ("attn_output", width, width),
            ("ffn_gate", width, feed_forward),
            ("ffn_up", width, feed_forward),
            ("ffn_down", feed_forward, width),
        ]
        .map(|(name, columns, rows)| matrix(format!("blk.{layer}.{name}.weight"), columns, rows))
    });
    let norms = (0..layers).flat_map(|layer| {
        ["attn_norm", "ffn_norm"].map(|name| vector(format!("blk.{layer}.{name}.weight")))
    });
    ends.into_iter()
        .chain(matrices)
        .chain(norms)
        .chain([vector("output_norm.weight".into())])
        .collect()
}

/// The keys and values, encoded.
fn keys(shape: Shape) -> Vec<Vec<u8>> {
    let Shape { width, feed_forward, heads, heads_kv, layers } = shape;
    let number = |key: &str, value: u64| {
        let mut out = Vec::new();
        text(&mut out, key);
        out.extend_from_slice(&4_u32.to_le_bytes());
        out.extend_from_slice(&(value as u32).to_le_bytes());
        out
    };
    let word = |key: &str, value: &str| {
        let mut out = Vec::new();
        text(&mut out, key);
        out.extend_from_slice(&8_u32.to_le_bytes());
        text(&mut out, value);
        out
    };
    let mut epsilon = Vec::new();
    text(&mut epsilon, "llama.attention.layer_norm_rms_epsilon");
    epsilon.extend_from_slice(&6_u32.to_le_bytes());
    epsilon.extend_from_slice(&1e-5_f32.to_le_bytes());
    let mut keys = vec![
        word("general.architecture", "llama"),
        word("general.name", "vgpu-test"),
        number("llama.context_length", 512),
        number("llama.embedding_length", width),
        number("llama.block_count", layers),
        number("llama.feed_forward_length", feed_forward),
        number("llama.attention.head_count", heads),
        number("llama.attention.head_count_kv", heads_kv),
        number("llama.rope.dimension_count", width / heads),
        number("llama.vocab_size", TOKENS),
        epsilon,
        word("tokenizer.ggml.model", "llama"),
        number("tokenizer.ggml.unknown_token_id", 0),
        number("tokenizer.ggml.bos_token_id", 1),
        number("tokenizer.ggml.eos_token_id", 2),
    ];
    keys.extend(vocabulary());
    keys
}

/// Appends what a list says of one token: its number, its text and kind.
type Each<'a> = &'a dyn Fn(&mut Vec<u8>, usize, &(String, i32));

/// The tokens of a SentencePiece vocabulary, their scores and their kinds.
fn vocabulary() -> [Vec<u8>; 3] {
    const NORMAL: i32 = 1;
    const UNKNOWN: i32 = 2;
    const CONTROL: i32 = 3;
    const BYTE: i32 = 6;
    let mut tokens: Vec<(String, i32)> =
        vec![("<unk>".into(), UNKNOWN), ("<s>".into(), CONTROL), ("</s>".into(), CONTROL)];
    tokens.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), BYTE)));
    let letters = ('a'..='z').chain('A'..='Z').chain('0'..='7');
    tokens.push(("\u{2581}".into(), NORMAL));
    tokens.extend(letters.map(|letter| (letter.to_string(), NORMAL)));
    let list = |key: &str, kind: u32, each: Each| {
        let mut out = Vec::new();
        text(&mut out, key);
        out.extend_from_slice(&9_u32.to_le_bytes());
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&(tokens.len() as u64).to_le_bytes());
        tokens.iter().enumerate().for_each(|(at, token)| each(&mut out, at, token));
        out
    };
    assert_eq!(tokens.len() as u64, TOKENS, "the embedding has a row for each token");
    [
        list("tokenizer.ggml.tokens", 8, &|out, _, (name, _)| text(out, name)),
        list("tokenizer.ggml.scores", 6, &|out, at, _| {
            out.extend_from_slice(&(-(at as f32)).to_le_bytes());
        }),
        list("tokenizer.ggml.token_type", 5, &|out, _, (_, kind)| {
            out.extend_from_slice(&kind.to_le_bytes());
        }),
    ]
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}
