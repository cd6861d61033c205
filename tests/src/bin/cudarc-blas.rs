//! The Rust crate cudarc with its feature `cublas`, unmodified: matrix products through whatever
//! libcublas the loader finds.
//!
//! Prints one JSON object with the products; an error ends it with the error's own text.

use std::process::ExitCode;

use cudarc::cublas::{CudaBlas, Gemm, GemmConfig, StridedBatchedConfig, sys};
use cudarc::driver::CudaContext;

/// Rows, columns and depth: all different, so that a wrong leading dimension shows.
const M: usize = 5;
const N: usize = 4;
const K: usize = 3;
const BATCH: usize = 2;

fn multiply() -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    let context = CudaContext::new(0)?;
    let stream = context.new_stream()?;
    let blas = CudaBlas::new(stream.clone())?;
    let numbers = |count: usize, from: f32| (0..count).map(|at| from + at as f32).collect();
    let (a, b): (Vec<f32>, Vec<f32>) = (numbers(BATCH * M * K, 1.0), numbers(BATCH * K * N, -7.0));
    let (a, b) = (stream.clone_htod(&a)?, stream.clone_htod(&b)?);
    let mut c = stream.clone_htod(&vec![1.0_f32; M * N])?;
    let mut batch = stream.clone_htod(&vec![2.0_f32; BATCH * M * N])?;
    let none = sys::cublasOperation_t::CUBLAS_OP_N;
    let gemm = GemmConfig {
        transa: none,
        transb: none,
        m: M as i32,
        n: N as i32,
        k: K as i32,
        alpha: 2.0,
        lda: M as i32,
        ldb: K as i32,
        beta: 0.5,
        ldc: M as i32,
    };
    let strided = StridedBatchedConfig {
        gemm,
        batch_size: BATCH as i32,
        stride_a: (M * K) as i64,
        stride_b: (K * N) as i64,
        stride_c: (M * N) as i64,
    };
    // SAFETY: the constants above size the four buffers, which live to the end of this function.
    unsafe {
        blas.gemm(gemm, &a, &b, &mut c)?;
        blas.gemm_strided_batched(strided, &a, &b, &mut batch)?;
    }
    let (c, batch) = (stream.clone_dtoh(&c)?, stream.clone_dtoh(&batch)?);
    stream.synchronize()?;
    Ok(serde_json::json!({ "gemm": c, "batch": batch }))
}

fn main() -> ExitCode {
    match multiply() {
        Ok(seen) => {
            println!("{seen}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cudarc: {error:?}");
            ExitCode::FAILURE
        }
    }
}
