//! What the simulated device answers about links.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    JitReport, LinkAdd, LinkAddReply, LinkComplete, LinkCompleteReply, LinkCreate, LinkCreateReply,
    LinkDestroy, LinkFetch,
};
use vgpu_link::wire::header::BULK_BYTES_MAX;

use super::super::code::Refused;
use super::module::report;
use crate::device::Sim;
use crate::dispatch::{Call, LinkerCalls};

impl LinkerCalls for Sim {
    fn link_create(&mut self, call: &Call, _: LinkCreate) -> Result<LinkCreateReply, Error> {
        self.check(call)?;
        Ok(LinkCreateReply { state: self.begin_link()?, report: report(&Ok(())) })
    }

    fn link_add(&mut self, _: &Call, r: LinkAdd) -> Result<LinkAddReply, Error> {
        Ok(match self.add_to_link(r.state, r.kind, &r.image)? {
            None => LinkAddReply { missing: 1, report: report(&Ok(())) },
            Some(Ok(())) => LinkAddReply { missing: 0, report: report(&Ok(())) },
            Some(Err(Refused::Image(error))) => {
                LinkAddReply { missing: 0, report: report(&Err(error)) }
            }
            Some(Err(Refused::Unsupported(why))) => {
                let (result, error_log) = (Error::NOT_SUPPORTED.code(), why.as_bytes().to_vec());
                let report = JitReport { result, error_log, ..report(&Ok(())) };
                LinkAddReply { missing: 0, report }
            }
        })
    }

    fn link_complete(&mut self, _: &Call, r: LinkComplete) -> Result<LinkCompleteReply, Error> {
        Ok(LinkCompleteReply { bytes: self.complete_link(r.state)?, report: report(&Ok(())) })
    }

    fn link_fetch(&mut self, _: &Call, r: LinkFetch, bulk: &mut Vec<u8>) -> Result<(), Error> {
        // More than a frame holds could not be answered; the guest asks in pieces.
        if r.byte_count > BULK_BYTES_MAX as u64 {
            return Err(Error::INVALID_VALUE);
        }
        bulk.extend_from_slice(self.result_of_link(r.state, r.offset, r.byte_count)?);
        Ok(())
    }

    fn link_destroy(&mut self, _: &Call, r: LinkDestroy) -> Result<(), Error> {
        self.end_link(r.state)
    }
}
