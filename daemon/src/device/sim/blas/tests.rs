//! Calls of cuBLAS that no library of ours makes: each is done or refused, soon and without panic.

use vgpu_abi::cublas::{batch, cudaDataType_t as Data};
use vgpu_abi::cuda::Error;
use vgpu_link::wire::cublas::*;

use super::super::tests::Client;
use super::{Work, number};
use crate::dispatch::BlasCalls;

/// Makes up numbers for messages.
struct Made {
    random: fastrand::Rng,
    setting: Setting,
    address: u64,
}

impl Made {
    fn new(client: &mut Client) -> Self {
        let handle = client.sim.create_handle(&client.call, CreateHandle { major: 13 });
        let setting = Setting {
            handle: handle.expect("a handle").handle,
            stream: 0,
            workspace: 0,
            workspace_bytes: 0,
            math_mode: 0,
            atomics_mode: 0,
            sm_count_target: 0,
        };
        let address = client.alloc(1 << 16).expect("room");
        Self { random: fastrand::Rng::with_seed(0xb1a5), setting, address }
    }

    fn kind(&mut self) -> u32 {
        let known = [
            Data::R_8I,
            Data::C_8I,
            Data::R_16F,
            Data::R_16BF,
            Data::R_32I,
            Data::R_32F,
            Data::R_64F,
            Data::R_64I,
            Data::C_32F,
            Data::C_64F,
        ];
        match self.random.u32(..12) {
            0 => self.random.u32(..),
            _ => self.random.choice(known).expect("there are some").0,
        }
    }

    fn size(&mut self) -> i64 {
        match self.random.u32(..10) {
            0 => self.random.i64(..),
            1 => 1 << self.random.u32(..63),
            2 => self.random.i64(-2..1),
            _ => self.random.i64(1..9),
        }
    }

    /// How many of a batch: few, so that what is done is soon done.
    fn count(&mut self) -> i64 {
        self.size().min(20)
    }

    fn operand(&mut self) -> Operand {
        let address = self.address + self.random.u64(..2) * self.random.u64(..1 << 16);
        let step = if self.random.bool() { 9 } else { self.size() };
        Operand { address, kind: self.kind(), step, stride: self.size() }
    }

    fn scalar(&mut self) -> Scalar {
        let device = if self.random.bool() { 0 } else { self.address };
        Scalar { kind: self.kind(), device, value: [self.random.u8(..); 16] }
    }

    fn few(&mut self) -> u32 {
        self.random.u32(..4)
    }

    fn with_vectors(&mut self) -> Work {
        let setting = self.setting.clone();
        let [m, n] = std::array::from_fn(|_| self.size());
        let [a, x, y] = std::array::from_fn(|_| self.operand());
        let [alpha, beta] = std::array::from_fn(|_| self.scalar());
        let [form, batch, side, trans] = std::array::from_fn(|_| self.few());
        let (conjugate, compute, count) = (form as u8 & 1, self.kind(), self.count());
        match self.random.u32(..4) {
            0 => Work::MultiplyVector(MultiplyVector {
                setting,
                batch,
                count,
                trans,
                m,
                n,
                alpha,
                a,
                x,
                beta,
                y,
            }),
            1 => Work::AddOuter(AddOuter { setting, conjugate, m, n, alpha, x, y, a }),
            2 => Work::ScaleLines(ScaleLines { setting, side, m, n, a, x, c: y }),
            _ => {
                let operation = self.few();
                Work::Vectors(Vectors { setting, operation, form, n, alpha, x, y, compute })
            }
        }
    }

    fn with_halves(&mut self) -> Work {
        let setting = self.setting.clone();
        let [m, n, k] = std::array::from_fn(|_| self.size());
        let [a, b, c] = std::array::from_fn(|_| self.operand());
        let [alpha, beta] = std::array::from_fn(|_| self.scalar());
        let [form, side, uplo, trans] = std::array::from_fn(|_| self.few());
        let (hermitian, of_two) = (form as u8 & 1, side as u8 & 1);
        if self.random.bool() {
            return Work::MultiplySymmetric(MultiplySymmetric {
                setting,
                hermitian,
                side,
                uplo,
                m,
                n,
                alpha,
                a,
                b,
                beta,
                c,
            });
        }
        Work::AddSquare(AddSquare {
            setting,
            hermitian,
            of_two,
            uplo,
            trans,
            n,
            k,
            alpha,
            a,
            b,
            beta,
            c,
        })
    }

    fn with_triangles(&mut self) -> Work {
        let setting = self.setting.clone();
        let ([m, n], alpha) = (std::array::from_fn(|_| self.size()), self.scalar());
        let ([a, b, c], count) = (std::array::from_fn(|_| self.operand()), self.count());
        let [batch, side, uplo, trans, diag] = std::array::from_fn(|_| self.few());
        if self.random.bool() {
            return Work::SolveTriangular(SolveTriangular {
                setting,
                batch,
                count,
                side,
                uplo,
                trans,
                diag,
                m,
                n,
                alpha,
                a,
                b,
            });
        }
        Work::MultiplyTriangular(MultiplyTriangular {
            setting,
            side,
            uplo,
            trans,
            diag,
            m,
            n,
            alpha,
            a,
            b,
            c,
        })
    }

    fn sum(&mut self) -> Work {
        let setting = self.setting.clone();
        let [m, n] = std::array::from_fn(|_| self.size());
        let [a, b, c] = std::array::from_fn(|_| self.operand());
        let [alpha, beta] = std::array::from_fn(|_| self.scalar());
        let [transa, transb] = std::array::from_fn(|_| self.few());
        Work::AddMatrices(AddMatrices { setting, transa, transb, m, n, alpha, a, beta, b, c })
    }

    fn work(&mut self) -> Work {
        match self.random.u32(..5) {
            0 => self.with_vectors(),
            1 => self.with_halves(),
            2 => self.with_triangles(),
            3 => self.sum(),
            _ => Work::Multiply(self.product()),
        }
    }

    fn product(&mut self) -> Multiply {
        let [m, n, k] = std::array::from_fn(|_| self.size());
        let count = self.count();
        let [a, b, c] = std::array::from_fn(|_| self.operand());
        let [alpha, beta] = std::array::from_fn(|_| self.scalar());
        let [form, batch, transa, transb] = std::array::from_fn(|_| self.few());
        let compute = if self.random.bool() { 68 } else { self.random.u32(64..80) };
        let (setting, algorithm) = (self.setting.clone(), 0);
        Multiply {
            setting,
            form,
            batch,
            count,
            transa,
            transb,
            m,
            n,
            k,
            alpha,
            a,
            b,
            beta,
            c,
            compute,
            algorithm,
        }
    }

    fn reduce(&mut self) -> Reduce {
        let (operation, form) = (self.few() + self.few(), self.few());
        let (n, x, y) = (self.size(), self.operand(), self.operand());
        let (compute, result_kind) = (self.kind(), self.kind());
        Reduce { setting: self.setting.clone(), operation, form, n, x, y, compute, result_kind }
    }
}

#[test]
fn made_up_calls_are_done_or_refused_without_panic() {
    let mut client = Client::new();
    let mut made = Made::new(&mut client);
    let mut done = 0;
    for _ in 0..20_000 {
        let work = made.work();
        done += u32::from(client.sim.perform_blas(&work).is_ok());
        let reduce = made.reduce();
        done += u32::from(client.sim.number_of(&reduce).is_ok());
    }
    assert!(done > 1000, "most are refused, but only {done} were done");
}

#[test]
fn a_batch_without_end_is_refused() {
    let mut client = Client::new();
    let mut made = Made::new(&mut client);
    let one = |kind: Data| Operand { address: made.address, kind: kind.0, step: 1, stride: 0 };
    let [a, b, c] = std::array::from_fn(|_| one(Data::R_32F));
    let scalar = Scalar { kind: Data::R_32F.0, device: 0, value: [0; 16] };
    for (m, n, k, count) in [(0, 1, 1, i64::MAX), (1, 1, 1, 1 << 40), (1 << 14, 1 << 14, 0, 4097)] {
        let asked = Multiply {
            count,
            m,
            n,
            k,
            batch: batch::STRIDED,
            a: a.clone(),
            b: b.clone(),
            c: c.clone(),
            alpha: scalar.clone(),
            beta: scalar.clone(),
            ..made.product()
        };
        let refused = client.sim.perform_blas(&Work::Multiply(asked));
        assert_eq!(refused, Err(Error::NOT_SUPPORTED), "{m} {n} {k} {count}");
    }
}

#[test]
fn types_that_only_operands_or_only_results_have_stay_there() {
    for kind in [Data::R_8I, Data::C_8I] {
        assert_eq!(number::check_operand(kind), Ok(()));
        assert_eq!(number::check_result(kind), Err(Error::NOT_SUPPORTED));
    }
    assert_eq!(number::check_operand(Data::R_64I), Err(Error::NOT_SUPPORTED));
    assert_eq!(number::check_result(Data::R_64I), Ok(()));
}
