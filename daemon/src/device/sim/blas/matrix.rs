//! Matrices with vectors, and matrices of other forms than general ones.

use ndarray::Array2;
use ndarray::linalg::general_mat_mul;
use vgpu_abi::cublas::{
    cublasDiagType_t, cublasFillMode_t, cublasOperation_t as Operation, cublasSideMode_t,
};
use vgpu_abi::cuda::Error;
use vgpu_link::wire::cublas::{
    AddMatrices, AddOuter, AddSquare, MultiplySymmetric, MultiplyTriangular, MultiplyVector,
    ScaleLines, SolveTriangular,
};

use super::super::memory::Memory;
use super::number::Number;
use super::place::{Place, check_work, factor};
use super::product::{add, load, member, turn};

fn zero<T: Number>() -> T {
    T::of(0.0, 0.0)
}

/// Multiplies two matrices.
fn product<T: Number>(a: &Array2<T>, b: &Array2<T>) -> Array2<T> {
    let mut product = Array2::from_elem((a.nrows(), b.ncols()), zero());
    general_mat_mul(T::of(1.0, 0.0), a, b, zero(), &mut product);
    product
}

/// `y = alpha op(A) x + beta y`.
pub(super) fn multiply_vector<T: Number>(
    memory: &mut Memory,
    asked: &MultiplyVector,
) -> Result<(), Error> {
    check_work(asked.count, [asked.m, asked.n, 1])?;
    let trans = Operation(asked.trans);
    let (of_x, of_y) = if trans == Operation::N { (asked.n, asked.m) } else { (asked.m, asked.n) };
    let a = Place::matrix(&asked.a, asked.m, asked.n)?;
    let x = Place::vector(&asked.x, of_x)?;
    let y = Place::vector(&asked.y, of_y)?;
    let alpha: T = factor(memory, &asked.alpha)?;
    let beta: T = factor(memory, &asked.beta)?;
    for at in 0..asked.count {
        let [a, x, y] = [(a, &asked.a), (x, &asked.x), (y, &asked.y)]
            .map(|(place, operand)| member(memory, place, operand, asked.batch, at));
        let y = y?.present(memory)?;
        let sum = if alpha == zero() {
            Array2::from_elem((1, of_y as usize), zero())
        } else {
            let x = x?.load::<T>(memory)?.reversed_axes();
            product(&load(memory, a?, trans)?, &x).reversed_axes()
        };
        add(memory, y, alpha, sum, beta)?;
    }
    Ok(())
}

/// `A = alpha x yᵀ + A`, or with the conjugates of y.
pub(super) fn add_outer<T: Number>(memory: &mut Memory, asked: &AddOuter) -> Result<(), Error> {
    let a = Place::matrix(&asked.a, asked.m, asked.n)?.present(memory)?;
    let x = Place::vector(&asked.x, asked.m)?.load::<T>(memory)?.reversed_axes();
    let y = Place::vector(&asked.y, asked.n)?.load::<T>(memory)?;
    let y = if asked.conjugate == 0 { y } else { y.mapv_into(T::conjugate) };
    let alpha = factor(memory, &asked.alpha)?;
    add(memory, a, alpha, product(&x, &y), T::of(1.0, 0.0))
}

/// `C = alpha op(A) + beta op(B)`; a matrix whose factor is 0 is not read.
pub(super) fn add_matrices<T: Number>(
    memory: &mut Memory,
    asked: &AddMatrices,
) -> Result<(), Error> {
    let c = Place::matrix(&asked.c, asked.m, asked.n)?.present(memory)?;
    let mut sum = Array2::from_elem((asked.m as usize, asked.n as usize), zero::<T>());
    for (operand, operation, scalar) in
        [(&asked.a, asked.transa, &asked.alpha), (&asked.b, asked.transb, &asked.beta)]
    {
        let (factor, operation): (T, _) = (factor(memory, scalar)?, Operation(operation));
        if factor != zero() {
            let (rows, columns) =
                if operation == Operation::N { (asked.m, asked.n) } else { (asked.n, asked.m) };
            let one = load::<T>(memory, Place::matrix(operand, rows, columns)?, operation)?;
            sum.zip_mut_with(&one, |sum, one| *sum = *sum + factor * *one);
        }
    }
    c.store(memory, &sum)
}

/// Multiplies rows or columns by the elements of a vector.
pub(super) fn scale_lines<T: Number>(memory: &mut Memory, asked: &ScaleLines) -> Result<(), Error> {
    let is_left = cublasSideMode_t(asked.side) == cublasSideMode_t::LEFT;
    let lines = if is_left { asked.m } else { asked.n };
    let x = Place::vector(&asked.x, lines)?.load::<T>(memory)?;
    let mut a = Place::matrix(&asked.a, asked.m, asked.n)?.load::<T>(memory)?;
    for ((row, column), value) in a.indexed_iter_mut() {
        *value = *value * x[(0, if is_left { row } else { column })];
    }
    Place::matrix(&asked.c, asked.m, asked.n)?.store(memory, &a)
}

/// Says whether an element stands in the half that is given.
fn is_in_half(uplo: u32, row: usize, column: usize) -> bool {
    if cublasFillMode_t(uplo) == cublasFillMode_t::LOWER { row >= column } else { row <= column }
}

/// `C = alpha A B + beta C` or `C = alpha B A + beta C`, with one half of A given.
pub(super) fn multiply_symmetric<T: Number>(
    memory: &mut Memory,
    asked: &MultiplySymmetric,
) -> Result<(), Error> {
    let is_left = cublasSideMode_t(asked.side) == cublasSideMode_t::LEFT;
    let order = if is_left { asked.m } else { asked.n };
    check_work(1, [asked.m, asked.n, order])?;
    let half = Place::matrix(&asked.a, order, order)?.load::<T>(memory)?;
    let whole = Array2::from_shape_fn(half.dim(), |(row, column)| {
        match (is_in_half(asked.uplo, row, column), asked.hermitian != 0) {
            (true, true) if row == column => T::of(half[(row, column)].parts().0, 0.0),
            (true, _) => half[(row, column)],
            (false, true) => half[(column, row)].conjugate(),
            (false, false) => half[(column, row)],
        }
    });
    let b = Place::matrix(&asked.b, asked.m, asked.n)?.load::<T>(memory)?;
    let sum = if is_left { product(&whole, &b) } else { product(&b, &whole) };
    let (alpha, beta) = (factor(memory, &asked.alpha)?, factor(memory, &asked.beta)?);
    add(memory, Place::matrix(&asked.c, asked.m, asked.n)?, alpha, sum, beta)
}

/// `C = alpha op(A) op(B)ᵀ + beta C` in one half of C, with B = A or another.
pub(super) fn add_square<T: Number>(memory: &mut Memory, asked: &AddSquare) -> Result<(), Error> {
    let (n, k, trans) = (asked.n, asked.k, Operation(asked.trans));
    check_work(1, [n, n, k])?;
    let (rows, columns) = if trans == Operation::N { (n, k) } else { (k, n) };
    let is_hermitian = asked.hermitian != 0;
    let a = load::<T>(memory, Place::matrix(&asked.a, rows, columns)?, trans)?;
    let b = if asked.of_two == 0 {
        a.clone()
    } else {
        load(memory, Place::matrix(&asked.b, rows, columns)?, trans)?
    };
    let b = turn(b, if is_hermitian { Operation::C } else { Operation::T });
    let (alpha, beta): (T, T) = (factor(memory, &asked.alpha)?, factor(memory, &asked.beta)?);
    let c = Place::matrix(&asked.c, n, n)?.present(memory)?;
    let mut sum = product(&a, &b).mapv_into(|value| alpha * value);
    if beta != zero() {
        sum.zip_mut_with(&c.load::<T>(memory)?, |sum, old| *sum = *sum + beta * *old);
    }
    if is_hermitian {
        sum.diag_mut().mapv_inplace(|value| T::of(value.parts().0, 0.0));
    }
    c.store_where(memory, &sum, |row, column| is_in_half(asked.uplo, row, column))
}

/// Fills the half that is not given with zeros and turns the matrix; says whether it is a lower
/// one then.
fn triangle<T: Number>(
    values: &Array2<T>,
    uplo: u32,
    diag: u32,
    trans: Operation,
) -> (Array2<T>, bool) {
    let has_unit_diagonal = cublasDiagType_t(diag) == cublasDiagType_t::UNIT;
    let triangle = Array2::from_shape_fn(values.dim(), |(row, column)| {
        if row == column && has_unit_diagonal {
            T::of(1.0, 0.0)
        } else if is_in_half(uplo, row, column) {
            values[(row, column)]
        } else {
            zero()
        }
    });
    let is_lower = cublasFillMode_t(uplo) == cublasFillMode_t::LOWER;
    (turn(triangle, trans), is_lower == (trans == Operation::N))
}

/// `C = alpha op(A) B` or `C = alpha B op(A)` with a triangular A.
pub(super) fn multiply_triangular<T: Number>(
    memory: &mut Memory,
    asked: &MultiplyTriangular,
) -> Result<(), Error> {
    let is_left = cublasSideMode_t(asked.side) == cublasSideMode_t::LEFT;
    let order = if is_left { asked.m } else { asked.n };
    check_work(1, [asked.m, asked.n, order])?;
    let a = Place::matrix(&asked.a, order, order)?.load::<T>(memory)?;
    let (a, _) = triangle(&a, asked.uplo, asked.diag, Operation(asked.trans));
    let b = Place::matrix(&asked.b, asked.m, asked.n)?.load::<T>(memory)?;
    let sum = if is_left { product(&a, &b) } else { product(&b, &a) };
    let alpha = factor(memory, &asked.alpha)?;
    add(memory, Place::matrix(&asked.c, asked.m, asked.n)?, alpha, sum, zero())
}

/// Solves `op(A) X = alpha B` or `X op(A) = alpha B` with a triangular A; X takes B's place.
pub(super) fn solve_triangular<T: Number>(
    memory: &mut Memory,
    asked: &SolveTriangular,
) -> Result<(), Error> {
    let is_left = cublasSideMode_t(asked.side) == cublasSideMode_t::LEFT;
    let order = if is_left { asked.m } else { asked.n };
    check_work(asked.count, [asked.m, asked.n, order])?;
    let a = Place::matrix(&asked.a, order, order)?;
    let b = Place::matrix(&asked.b, asked.m, asked.n)?;
    let alpha: T = factor(memory, &asked.alpha)?;
    for at in 0..asked.count {
        let b = member(memory, b, &asked.b, asked.batch, at)?.present(memory)?;
        if alpha == zero() {
            let zeros = Array2::from_elem((asked.m as usize, asked.n as usize), zero::<T>());
            b.store(memory, &zeros)?;
            continue;
        }
        let a = member(memory, a, &asked.a, asked.batch, at)?.load::<T>(memory)?;
        let (a, is_lower) = triangle(&a, asked.uplo, asked.diag, Operation(asked.trans));
        let right = b.load::<T>(memory)?.mapv_into(|value| alpha * value);
        let solution = if is_left {
            substitute(&a, right, is_lower)
        } else {
            // X A = B is Aᵀ Xᵀ = Bᵀ.
            substitute(&a.reversed_axes(), right.reversed_axes(), !is_lower).reversed_axes()
        };
        b.store(memory, &solution)?;
    }
    Ok(())
}

/// Solves `A X = B`, row by row from the one that has a single unknown.
fn substitute<T: Number>(a: &Array2<T>, mut b: Array2<T>, is_lower: bool) -> Array2<T> {
    let order = a.nrows();
    for step in 0..order {
        let row = if is_lower { step } else { order - 1 - step };
        for column in 0..b.ncols() {
            let value = b[(row, column)] / a[(row, row)];
            b[(row, column)] = value;
            let others = if is_lower { row + 1..order } else { 0..row };
            for other in others {
                b[(other, column)] = b[(other, column)] - a[(other, row)] * value;
            }
        }
    }
    b
}
