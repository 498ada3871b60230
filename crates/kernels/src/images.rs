//! Images in memory, and the windows that go over them.

/// Images of one size, one after the other: pixels row by row, the channels of a pixel side by side.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// The numbers.
    pub data: &'a [f32],
    /// How many images.
    pub count: usize,
    /// Rows of an image.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
}

impl<'a> Images<'a> {
    /// Returns the numbers of one row of an image.
    #[inline(always)]
    pub(crate) fn row(&self, image: usize, y: usize) -> &'a [f32] {
        let length = self.width * self.channels;
        &self.data[(image * self.height + y) * length..][..length]
    }

    /// Panics unless there are as many numbers as the sizes say, and as many as they make of the output.
    #[track_caller]
    pub(crate) fn check(&self, output: &[f32], [height, width]: [usize; 2], channels: usize) {
        let (count, found) = (self.count, self.data.len());
        let needed = count * self.height * self.width * self.channels;
        assert!(found == needed, "{count} images have {found} numbers instead of {needed}");
        let (needed, found) = (count * height * width * channels, output.len());
        assert!(found == needed, "the output of {count} images has {found} numbers instead of {needed}");
    }
}

/// A window that goes over images; of each pair the first is vertical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Pixels that it looks at.
    pub size: [usize; 2],
    /// How far it goes at a time.
    pub stride: [usize; 2],
    /// From one pixel that it looks at to the next.
    pub dilation: [usize; 2],
    /// Zeros above and to the left of images.
    pub before: [usize; 2],
    /// Zeros below and to the right.
    pub after: [usize; 2],
}

impl Window {
    /// A window that looks at one pixel after the other.
    pub const PIXEL: Window = Window::square(1, 1, 0);

    /// Returns a window with the same numbers in both directions.
    pub const fn square(size: usize, stride: usize, padding: usize) -> Window {
        Window { size: [size; 2], stride: [stride; 2], dilation: [1; 2], before: [padding; 2], after: [padding; 2] }
    }

    /// Returns a square window with as many zeros around images of this size that there is one output for each step, the odd zero
    /// below and to the right (`SAME` of TensorFlow).
    pub fn same(size: usize, stride: usize, image: [usize; 2]) -> Window {
        let around = image.map(|side| {
            let reach = (side.div_ceil(stride).max(1) - 1) * stride + size;
            reach.saturating_sub(side)
        });
        let before = around.map(|zeros| zeros / 2);
        let after = [around[0] - before[0], around[1] - before[1]];
        Window { before, after, ..Window::square(size, stride, 0) }
    }

    /// Returns height and width of what comes of an image of this size; 0 where the window does not fit.
    pub fn output(&self, image: [usize; 2]) -> [usize; 2] {
        std::array::from_fn(|axis| {
            let side = image[axis] + self.before[axis] + self.after[axis];
            side.checked_sub(self.reach(axis)).map_or(0, |rest| rest / self.stride[axis] + 1)
        })
    }

    /// Returns how many pixels it looks at.
    pub fn area(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Returns from where to where it reaches.
    fn reach(&self, axis: usize) -> usize {
        (self.size[axis].max(1) - 1) * self.dilation[axis] + 1
    }

    /// Returns whether it looks at single pixels and at no zeros.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.size == [1; 2] && self.before == [0; 2] && self.after == [0; 2]
    }

    /// Returns the place that the window looks at first for an output, which may lie before the image.
    #[inline(always)]
    pub(crate) fn start(&self, axis: usize, output: usize) -> isize {
        (output * self.stride[axis]) as isize - self.before[axis] as isize
    }

    /// Returns which of its places lie within an image for an output.
    #[inline(always)]
    pub(crate) fn within(&self, axis: usize, output: usize, side: usize) -> std::ops::Range<usize> {
        let (start, step) = (self.start(axis, output), self.dilation[axis]);
        let first = if start < 0 { start.unsigned_abs().div_ceil(step) } else { 0 };
        let end = (side as isize - start).max(0).unsigned_abs().div_ceil(step).min(self.size[axis]);
        first.min(end)..end
    }

    /// Panics unless it goes on and looks at something.
    #[track_caller]
    pub(crate) fn check(&self) {
        let all = [self.size, self.stride, self.dilation];
        assert!(all.iter().flatten().all(|number| *number > 0), "{self:?} looks at nothing or stands still");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_counted_as_torch_and_tensorflow_do() {
        assert_eq!(Window::square(7, 2, 3).output([224, 225]), [112, 113]);
        assert_eq!(Window { dilation: [2, 1], ..Window::square(3, 1, 0) }.output([9, 9]), [5, 7]);
        assert_eq!(Window::square(5, 1, 0).output([4, 5]), [0, 1]);
        for (size, stride, side) in [(3, 2, 224), (3, 2, 113), (5, 2, 7), (5, 1, 2), (3, 1, 9)] {
            let window = Window::same(size, stride, [side; 2]);
            assert_eq!(window.output([side; 2]), [side.div_ceil(stride); 2], "{size} {stride} {side}");
            assert!(window.after[0] - window.before[0] <= 1);
        }
    }

    #[test]
    fn places_within_an_image_are_those_that_exist() {
        for window in [Window::square(5, 2, 3), Window { dilation: [3, 3], ..Window::square(4, 1, 5) }] {
            for output in 0..window.output([7, 7])[0] {
                let places = 0..window.size[0];
                let exists =
                    |place: &usize| (0..7).contains(&(window.start(0, output) + (place * window.dilation[0]) as isize));
                let expected: Vec<usize> = places.filter(exists).collect();
                assert_eq!(window.within(0, output, 7).collect::<Vec<_>>(), expected, "{window:?} {output}");
            }
        }
    }
}
