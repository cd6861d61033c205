//! Changes of vectors, and numbers made of them.

use ndarray::Array2;
use num_complex::{Complex32, Complex64};
use vgpu_abi::cublas::{cudaDataType_t as Data, operation};
use vgpu_abi::cuda::Error;
use vgpu_link::wire::cublas::{Operand, Reduce, ReduceToDevice, Vectors};

use super::super::memory::Memory;
use super::number::{self, Number};
use super::place::{Place, factor};

/// Changes vectors as a message asks for.
///
/// # Errors
/// As for [`Place::load`].
pub(super) fn change(memory: &mut Memory, asked: &Vectors) -> Result<(), Error> {
    match Data(asked.compute) {
        Data::R_64F => change_as::<f64>(memory, asked),
        Data::C_32F => change_as::<Complex32>(memory, asked),
        Data::C_64F => change_as::<Complex64>(memory, asked),
        _ => change_as::<f32>(memory, asked),
    }
}

fn change_as<T: Number>(memory: &mut Memory, asked: &Vectors) -> Result<(), Error> {
    let x = Place::vector(&asked.x, asked.n)?;
    let y = || Place::vector(&asked.y, asked.n);
    match asked.operation {
        operation::AXPY => {
            let alpha: T = factor(memory, &asked.alpha)?;
            let mut sum = y()?.load::<T>(memory)?;
            sum.zip_mut_with(&x.load::<T>(memory)?, |y, x| *y = *y + alpha * *x);
            y()?.store(memory, &sum)
        }
        // An increment that is not positive leaves the vector alone (reference BLAS).
        operation::SCAL if asked.x.step <= 0 => Ok(()),
        operation::SCAL => {
            let alpha: T = factor(memory, &asked.alpha)?;
            let scaled = x.load::<T>(memory)?.mapv_into(|x| alpha * x);
            x.store(memory, &scaled)
        }
        operation::COPY => {
            let values = x.load::<T>(memory)?;
            y()?.store(memory, &values)
        }
        operation::SWAP => {
            let (of_x, of_y) = (x.load::<T>(memory)?, y()?.load::<T>(memory)?);
            x.store(memory, &of_y)?;
            y()?.store(memory, &of_x)
        }
        _ => Err(Error::NOT_SUPPORTED),
    }
}

/// Makes a number of vectors, as a message asks for it.
///
/// # Errors
/// As for [`Place::load`].
pub(super) fn reduce(memory: &Memory, asked: &Reduce) -> Result<[u8; 16], Error> {
    let result = match Data(asked.x.kind) {
        // What becomes of many numbers of half precision is kept in single.
        Data::R_64F => reduce_as::<f64>(memory, asked)?,
        Data::C_32F => reduce_as::<Complex32>(memory, asked)?,
        Data::C_64F => reduce_as::<Complex64>(memory, asked)?,
        _ => reduce_as::<f32>(memory, asked)?,
    };
    let kind = Data(asked.result_kind);
    number::check_result(kind)?;
    let mut value = [0; 16];
    number::write(kind, result, &mut value[..number::size_of_kind(kind)?]);
    Ok(value)
}

/// As [`reduce`], to a place on the device.
///
/// # Errors
/// As for [`reduce`], and ILLEGAL_ADDRESS where the place is none.
pub(super) fn reduce_to_device(memory: &mut Memory, asked: &ReduceToDevice) -> Result<(), Error> {
    let asked = asked.clone();
    let place = asked.result;
    let asked = Reduce {
        setting: asked.setting,
        operation: asked.operation,
        form: asked.form,
        n: asked.n,
        x: asked.x,
        y: asked.y,
        compute: asked.compute,
        result_kind: asked.result_kind,
    };
    let value = reduce(memory, &asked)?;
    let bytes = number::size_of_kind(Data(asked.result_kind))?;
    let target = memory.write(place, bytes as u64).map_err(|_| Error::ILLEGAL_ADDRESS)?;
    target.copy_from_slice(&value[..bytes]);
    Ok(())
}

fn reduce_as<T: Number>(memory: &Memory, asked: &Reduce) -> Result<Complex64, Error> {
    let load = |operand: &Operand| Place::vector(operand, asked.n.max(0))?.load::<T>(memory);
    let x = load(&asked.x)?;
    let whole = |value: T| Complex64::new(value.parts().0, value.parts().1);
    let size = |value: T| value.parts().0.abs() + value.parts().1.abs();
    Ok(match asked.operation {
        operation::DOT | operation::DOT_CONJUGATE => {
            let y = load(&asked.y)?;
            let is_conjugate = asked.operation == operation::DOT_CONJUGATE;
            let products = x
                .iter()
                .zip(&y)
                .map(|(x, y)| if is_conjugate { x.conjugate() * *y } else { *x * *y });
            whole(products.fold(T::of(0.0, 0.0), |sum, product| sum + product))
        }
        operation::NRM2 => {
            let squares = x.iter().map(|x| x.parts().0.powi(2) + x.parts().1.powi(2));
            squares.sum::<f64>().sqrt().into()
        }
        operation::ASUM => x.iter().map(|x| size(*x)).sum::<f64>().into(),
        operation::AMAX => extreme(&x, |one, best| size(one) > size(best)),
        operation::AMIN => extreme(&x, |one, best| size(one) < size(best)),
        _ => return Err(Error::NOT_SUPPORTED),
    })
}

/// Finds the first element that is better than all before it, counted from 1; 0 if there is none.
fn extreme<T: Number>(values: &Array2<T>, is_better: impl Fn(T, T) -> bool) -> Complex64 {
    let mut found = 0;
    let mut best: Option<T> = None;
    for (at, value) in values.iter().enumerate() {
        if best.is_none_or(|best| is_better(*value, best)) {
            (found, best) = (at + 1, Some(*value));
        }
    }
    (found as f64).into()
}
