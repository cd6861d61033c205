//! How much a copy moves, and how its rows lie in linear memory.

use vgpu_abi::cuda::{CUmemorytype, Error};
use vgpu_guest::wire::cuda::{NodeCopyEnd, VolumeShape};

/// How much is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of a row.
    pub width: usize,
    /// Rows of a slice.
    pub height: usize,
    /// Slices.
    pub depth: usize,
}

impl Shape {
    pub(crate) fn rows(&self) -> impl Iterator<Item = (usize, usize)> {
        let height = self.height;
        (0..self.depth).flat_map(move |z| (0..height).map(move |y| (y, z)))
    }

    /// Counts the bytes; both sides were checked, so they fit an address space.
    pub(crate) fn bytes(&self) -> Result<usize, Error> {
        let rows = self.height.checked_mul(self.depth).ok_or(Error::INVALID_VALUE)?;
        rows.checked_mul(self.width).ok_or(Error::INVALID_VALUE)
    }

    pub(crate) fn on_the_wire(&self) -> VolumeShape {
        VolumeShape {
            width: self.width as u64,
            height: self.height as u64,
            depth: self.depth as u64,
        }
    }

    /// Cuts the shape into parts of at most `bytes_max` bytes: slices, else rows, else bytes.
    pub(crate) fn parts(self, bytes_max: usize) -> impl Iterator<Item = Part> {
        let slice = self.width.saturating_mul(self.height);
        let [width, height, depth] = if self.width > bytes_max {
            [bytes_max, 1, 1]
        } else if slice > bytes_max {
            [self.width, bytes_max / self.width, 1]
        } else {
            [self.width, self.height, bytes_max / slice]
        };
        (0..self.depth).step_by(depth).flat_map(move |z| {
            (0..self.height).step_by(height).flat_map(move |y| {
                (0..self.width).step_by(width).map(move |x| Part {
                    at: [x, y, z],
                    shape: Self {
                        width: width.min(self.width - x),
                        height: height.min(self.height - y),
                        depth: depth.min(self.depth - z),
                    },
                })
            })
        })
    }
}

/// What travels in one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where it begins in the copy.
    pub at: [usize; 3],
    /// How much it is.
    pub shape: Shape,
}

/// How rows lie in linear memory, and where the copy begins among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bytes before the first one of a row.
    pub x: usize,
    /// Rows before the first one.
    pub y: usize,
    /// Slices before the first one.
    pub z: usize,
    /// Bytes from one row to the next; 0 where there is one row.
    pub pitch: usize,
    /// Rows from one slice to the next; 0 where there is one slice.
    pub height: usize,
}

impl Layout {
    /// Refuses rows and slices that reach into one another, and what leaves the address space.
    pub(crate) fn check(&self, shape: &Shape) -> Result<(), Error> {
        let several_slices = shape.depth > 1 || self.z > 0;
        let several_rows = several_slices || shape.height > 1 || self.y > 0;
        let wide = self.x.checked_add(shape.width).ok_or(Error::INVALID_VALUE)?;
        let high = self.y.checked_add(shape.height).ok_or(Error::INVALID_VALUE)?;
        let rows_overlap = wide > self.pitch && (several_rows || self.pitch > 0);
        let slices_overlap = high > self.height && (several_slices || self.height > 0);
        if rows_overlap || slices_overlap {
            return Err(Error::INVALID_VALUE);
        }
        self.offset([0, shape.height - 1, shape.depth - 1])
            .and_then(|last| last.checked_add(shape.width))
            .filter(|end| isize::try_from(*end).is_ok())
            .map(drop)
            .ok_or(Error::INVALID_VALUE)
    }

    /// Describes it as an end of a copy whose base is at `address`.
    pub(crate) fn end(&self, kind: CUmemorytype, address: u64) -> NodeCopyEnd {
        NodeCopyEnd {
            kind: kind.0,
            address,
            x_bytes: self.x as u64,
            y: self.y as u64,
            z: self.z as u64,
            level: 0,
            pitch: self.pitch as u64,
            height: self.height as u64,
        }
    }

    /// Tells how far from the base a place of the copy lies.
    pub(crate) fn offset(&self, [x, y, z]: [usize; 3]) -> Option<usize> {
        let slices = self.z.checked_add(z)?.checked_mul(self.height)?;
        let rows = slices.checked_add(self.y)?.checked_add(y)?.checked_mul(self.pitch)?;
        rows.checked_add(self.x)?.checked_add(x)
    }

    /// As [`Layout::offset`], after [`Layout::check`].
    pub(crate) fn place(&self, at: [usize; 3]) -> Result<usize, Error> {
        self.offset(at).ok_or(Error::INVALID_VALUE)
    }

    /// Counts the bytes from the first row's beginning to the last one's end.
    pub(crate) fn extent(&self, shape: &Shape) -> Result<usize, Error> {
        let last = self.place([0, shape.height - 1, shape.depth - 1])?;
        Ok(last - self.place([0; 3])? + shape.width)
    }

    pub(crate) fn is_packed(&self, shape: &Shape) -> bool {
        let one_slice = shape.depth == 1;
        (one_slice && shape.height == 1)
            || (self.pitch == shape.width && (one_slice || self.height == shape.height))
    }

    pub(crate) fn shifted(&self, [x, y, z]: [usize; 3]) -> Self {
        Self { x: self.x + x, y: self.y + y, z: self.z + z, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(x: usize, y: usize, pitch: usize) -> Layout {
        Layout { x, y, z: 0, pitch, height: 0 }
    }

    fn shape(width: usize, height: usize, depth: usize) -> Shape {
        Shape { width, height, depth }
    }

    #[test]
    fn rows_and_slices_must_not_reach_into_one_another() {
        let refused = Err(Error::INVALID_VALUE);
        assert_eq!(layout(0, 0, 16).check(&shape(16, 4, 1)), Ok(()));
        assert_eq!(layout(4, 0, 16).check(&shape(12, 4, 1)), Ok(()));
        assert_eq!(layout(4, 0, 16).check(&shape(13, 4, 1)), refused);
        assert_eq!(layout(4, 0, 0).check(&shape(13, 1, 1)), Ok(()));
        assert_eq!(layout(4, 0, 0).check(&shape(13, 2, 1)), refused);
        assert_eq!(layout(0, 1, 8).check(&shape(9, 1, 1)), refused);
        assert_eq!(layout(0, usize::MAX, 16).check(&shape(16, 2, 1)), refused);
        assert_eq!(layout(usize::MAX, 0, 16).check(&shape(16, 2, 1)), refused);
        assert_eq!(layout(0, 0, usize::MAX / 2).check(&shape(16, 4, 1)), refused);
        let slices = |z, height| Layout { x: 1, y: 2, z, pitch: 16, height };
        assert_eq!(slices(0, 6).check(&shape(15, 4, 9)), Ok(()));
        assert_eq!(slices(0, 5).check(&shape(15, 4, 9)), refused);
        assert_eq!(slices(0, 0).check(&shape(15, 4, 1)), Ok(()));
        assert_eq!(slices(1, 0).check(&shape(15, 4, 1)), refused);
        assert_eq!(slices(3, 6).place([2, 3, 4]), Ok(((3 + 4) * 6 + 2 + 3) * 16 + 1 + 2));
        assert_eq!(slices(0, 6).extent(&shape(15, 4, 2)), Ok((6 + 3) * 16 + 15));
    }

    #[test]
    fn what_lies_together_is_known_as_such() {
        assert!(layout(5, 0, 0).is_packed(&shape(16, 1, 1)));
        assert!(layout(0, 0, 16).is_packed(&shape(16, 4, 1)));
        assert!(!layout(0, 0, 17).is_packed(&shape(16, 4, 1)));
        let slices = |height| Layout { x: 0, y: 0, z: 0, pitch: 16, height };
        assert!(slices(4).is_packed(&shape(16, 4, 3)));
        assert!(!slices(5).is_packed(&shape(16, 4, 3)));
    }

    #[test]
    fn parts_fit_their_frame_and_cover_each_byte_once() {
        for (whole, bytes_max, count) in [
            (shape(10, 4, 3), 120, 1),
            (shape(10, 4, 3), 119, 2),
            (shape(10, 4, 3), 40, 3),
            (shape(10, 4, 3), 39, 6),
            (shape(10, 4, 3), 10, 12),
            (shape(10, 4, 3), 9, 24),
            (shape(10, 4, 3), 1, 120),
        ] {
            let mut seen = vec![0; 120];
            let parts: Vec<Part> = whole.parts(bytes_max).collect();
            for part in &parts {
                assert!(part.shape.bytes().expect("it is small") <= bytes_max);
                for (y, z) in part.shape.rows() {
                    for x in 0..part.shape.width {
                        let [x0, y0, z0] = part.at;
                        seen[((z0 + z) * 4 + y0 + y) * 10 + x0 + x] += 1;
                    }
                }
            }
            assert_eq!(parts.len(), count, "{bytes_max}");
            assert!(seen.iter().all(|&times| times == 1), "{bytes_max}");
        }
    }
}
