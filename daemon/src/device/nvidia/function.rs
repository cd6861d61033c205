//! Functions of the genuine driver.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{FunctionDescribe, FunctionDescribeReply};

use super::Nvidia;
use super::foreign::{Pointer, given_text};
use super::handles::Kind;
use crate::dispatch::Call;

pub(super) fn function_describe(
    nvidia: &mut Nvidia,
    call: &Call,
    r: FunctionDescribe,
) -> Result<FunctionDescribeReply, Error> {
    nvidia.enter(call)?;
    let function = nvidia.handles.find(Kind::Function, r.function)?;
    let (mut name, mut module) = (Pointer::default(), Pointer::default());
    nvidia.driver.func_get_name(&mut name, function)?;
    nvidia.driver.func_get_module(&mut module, function)?;
    let name = given_text(name);
    let module = nvidia.handles.keep(Kind::Module, module, call.context)?;
    let facts = nvidia.facts(r.function, Some(&name))?;
    Ok(FunctionDescribeReply { name, module, facts })
}
