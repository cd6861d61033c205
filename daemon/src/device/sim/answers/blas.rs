//! What the simulated device answers about cuBLAS.

use vgpu_abi::cublas::Error;
use vgpu_abi::cuda::Error as DriverError;
use vgpu_link::wire::cublas::{
    AddMatrices, AddOuter, AddSquare, CreateHandle, CreateHandleReply, DestroyHandle, Multiply,
    MultiplySymmetric, MultiplyTriangular, MultiplyVector, Reduce, ReduceReply, ReduceToDevice,
    ScaleLines, SolveTriangular, Vectors,
};

use super::super::blas::Work;
use super::super::operation::Operation;
use crate::device::Sim;
use crate::dispatch::{BlasCalls, Call, Wait};

/// The majors whose functions the messages can say.
const MAJORS: [u32; 2] = [12, 13];

impl BlasCalls for Sim {
    fn create_handle(&mut self, call: &Call, r: CreateHandle) -> Result<CreateHandleReply, Error> {
        if !MAJORS.contains(&r.major) {
            return Err(Error::NOT_SUPPORTED);
        }
        self.check(call).map_err(|_| Error::NOT_INITIALIZED)?;
        let handle = self.blas.create(call.context).map_err(|_| Error::ALLOC_FAILED)?;
        Ok(CreateHandleReply { handle })
    }

    fn destroy_handle(&mut self, call: &Call, r: DestroyHandle) -> Result<(), DriverError> {
        self.check(call)?;
        self.blas.destroy(r.handle)
    }

    fn multiply(&mut self, call: &Call, r: Multiply) -> Result<(), DriverError> {
        self.submit_blas(call, Work::Multiply(r))
    }

    fn vectors(&mut self, call: &Call, r: Vectors) -> Result<(), DriverError> {
        self.submit_blas(call, Work::Vectors(r))
    }

    fn reduce_to_device(&mut self, call: &Call, r: ReduceToDevice) -> Result<(), DriverError> {
        self.submit_blas(call, Work::ReduceToDevice(r))
    }

    fn multiply_vector(&mut self, call: &Call, r: MultiplyVector) -> Result<(), DriverError> {
        self.submit_blas(call, Work::MultiplyVector(r))
    }

    fn add_outer(&mut self, call: &Call, r: AddOuter) -> Result<(), DriverError> {
        self.submit_blas(call, Work::AddOuter(r))
    }

    fn add_matrices(&mut self, call: &Call, r: AddMatrices) -> Result<(), DriverError> {
        self.submit_blas(call, Work::AddMatrices(r))
    }

    fn multiply_symmetric(&mut self, call: &Call, r: MultiplySymmetric) -> Result<(), DriverError> {
        self.submit_blas(call, Work::MultiplySymmetric(r))
    }

    fn add_square(&mut self, call: &Call, r: AddSquare) -> Result<(), DriverError> {
        self.submit_blas(call, Work::AddSquare(r))
    }

    fn solve_triangular(&mut self, call: &Call, r: SolveTriangular) -> Result<(), DriverError> {
        self.submit_blas(call, Work::SolveTriangular(r))
    }

    fn multiply_triangular(
        &mut self,
        call: &Call,
        r: MultiplyTriangular,
    ) -> Result<(), DriverError> {
        self.submit_blas(call, Work::MultiplyTriangular(r))
    }

    fn scale_lines(&mut self, call: &Call, r: ScaleLines) -> Result<(), DriverError> {
        self.submit_blas(call, Work::ScaleLines(r))
    }

    fn reduce(&mut self, call: &Call, r: Reduce) -> Result<Wait<ReduceReply, Error>, Error> {
        // A program waits for the number, which a graph could not give it.
        let entered = self.check_not_captured(call, r.setting.stream);
        let value = entered.and_then(|()| self.number_of(&r));
        value.map(|value| Wait::Done(ReduceReply { value })).map_err(|error| match error {
            DriverError::NOT_SUPPORTED => Error::NOT_SUPPORTED,
            DriverError::INVALID_HANDLE => Error::NOT_INITIALIZED,
            DriverError::INVALID_VALUE => Error::INVALID_VALUE,
            _ => Error::EXECUTION_FAILED,
        })
    }
}

impl Sim {
    fn submit_blas(&mut self, call: &Call, work: Work) -> Result<(), DriverError> {
        let stream = work.setting().stream;
        self.submit(call, stream, Operation::Blas(Box::new(work)))
    }
}
