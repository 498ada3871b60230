//! Sums of rows. Plain loops: the additions of a level differ in width only, and memory is the limit.

use super::check_length;
use crate::Level;
use crate::lanes::{self, Kernel, Lanes};

/// Writes `left + right`.
pub fn add(level: Level, left: &[f32], right: &[f32], output: &mut [f32]) {
    check_length("the left row", left.len(), output.len());
    check_length("the right row", right.len(), output.len());
    lanes::run(level, Add { left, right, output });
}

/// Adds `addend` to `output`.
pub fn add_assign(level: Level, addend: &[f32], output: &mut [f32]) {
    check_length("the addend", addend.len(), output.len());
    lanes::run(level, AddAssign { addend, output });
}

struct Add<'a> {
    left: &'a [f32],
    right: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        for ((left, right), output) in self.left.iter().zip(self.right).zip(self.output) {
            *output = left + right;
        }
    }
}

struct AddAssign<'a> {
    addend: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for AddAssign<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        for (addend, output) in self.addend.iter().zip(self.output) {
            *output += addend;
        }
    }
}
