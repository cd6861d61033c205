//! What the simulated device answers about cuBLAS.

use vgpu_abi::cublas::Error;
use vgpu_abi::cuda::Error as DriverError;
use vgpu_link::wire::cublas::{CreateHandle, CreateHandleReply, DestroyHandle, Multiply};

use super::super::blas::Work;
use super::super::operation::Operation;
use crate::device::Sim;
use crate::dispatch::{BlasCalls, Call};

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
        let stream = r.setting.stream;
        self.submit(call, stream, Operation::Blas(Box::new(Work::Multiply(r))))
    }
}
