//! New keys and values.

use super::{BLOCK_TOKENS, KeyValueStore, Span};
use crate::lanes::{self, Kernel, LANES, Lanes};
use crate::{Level, RowView, Step};

/// Fewer numbers than this are written in less time than handing them to another thread takes.
const LEAST_WORK_TO_SHARE: usize = 1 << 13;
/// The greatest number of half precision.
const GREATEST: f32 = 65_504.0;

/// Writes the keys and values of the rows of `spans` to their places; a row has the numbers of all heads. They are
/// rounded to half precision; what is beyond its greatest number becomes that number.
///
/// # Panics
/// When the layer or a block does not exist, a sequence has too few blocks, rows are missing, or spans overlap.
pub fn append<'a>(
    step: &mut Step<'_>,
    store: &mut KeyValueStore,
    layer: usize,
    spans: &[Span<'_>],
    keys: impl Into<RowView<'a>>,
    values: impl Into<RowView<'a>>,
) {
    let (keys, values) = (keys.into(), values.into());
    let width = store.shape.heads * store.shape.head_width;
    let rows = store.check_spans(layer, spans);
    keys.check("keys", rows, width);
    values.check("values", rows, width);
    let call = Call { store, layer, spans, keys, values };
    let (level, heads) = (step.level(), call.store.shape.heads);
    // The keys of one head and the values of one head are written by one part each, whatever blocks the spans name.
    let part = |part: usize| call.run_part(level, part);
    if rows * width < LEAST_WORK_TO_SHARE {
        (0..2 * heads).for_each(part);
    } else {
        step.run(2 * heads, &part);
    }
}

struct Call<'a> {
    store: &'a mut KeyValueStore,
    layer: usize,
    spans: &'a [Span<'a>],
    keys: RowView<'a>,
    values: RowView<'a>,
}

impl Call<'_> {
    /// Writes the keys (even parts) or the values (odd parts) of a head. Each part is run once.
    fn run_part(&self, level: Level, part: usize) {
        let (head, is_keys) = (part / 2, part.is_multiple_of(2));
        if is_keys {
            lanes::run(level, AppendKeys { call: self, head });
        } else {
            lanes::run(level, AppendValues { call: self, head });
        }
    }

    /// Returns the numbers of a head and of all heads.
    #[inline(always)]
    fn widths(&self) -> (usize, usize) {
        let shape = self.store.shape;
        (shape.head_width, shape.heads * shape.head_width)
    }

    /// Returns the rows of all spans with their blocks and their places in them.
    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = (usize, u32, usize)> {
        self.spans.iter().flat_map(|span| {
            (span.first_position..)
                .zip(span.rows.clone())
                .map(move |(position, row)| (row, span.blocks[position / BLOCK_TOKENS], position % BLOCK_TOKENS))
        })
    }
}

struct AppendKeys<'a> {
    call: &'a Call<'a>,
    head: usize,
}

impl Kernel for AppendKeys<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let call = self.call;
        let (width, all_heads) = call.widths();
        for (row, block, slot) in call.rows() {
            let start = call.store.keys_place(call.layer, self.head, block);
            let key = &call.keys.row(row, all_heads)[self.head * width..][..width];
            for (group, numbers) in key.chunks(LANES).enumerate() {
                let mut halves = [0; LANES];
                lanes.store_halves(limited(lanes, lanes.load_first(numbers)), &mut halves);
                for (lane, half) in halves[..numbers.len()].iter().enumerate() {
                    let index = (group * LANES + lane) * BLOCK_TOKENS + slot;
                    // SAFETY: the index is below head width * 32, which is how many numbers follow the start. `Call`
                    // holds the store alone, and no other part writes keys of this head.
                    unsafe { start.add(index).write(*half) };
                }
            }
        }
    }
}

struct AppendValues<'a> {
    call: &'a Call<'a>,
    head: usize,
}

impl Kernel for AppendValues<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let call = self.call;
        let (width, all_heads) = call.widths();
        let value_width = call.store.shape.value_width();
        for (row, block, slot) in call.rows() {
            let place = call.store.values_place(call.layer, self.head, block, slot);
            // SAFETY: the place is within the values of this head in this block, `Call` holds the store alone, and no
            // other part writes values of this head.
            let stored = unsafe { std::slice::from_raw_parts_mut(place, value_width) };
            let value = &call.values.row(row, all_heads)[self.head * width..][..width];
            for (numbers, stored) in value.chunks(LANES).zip(stored.as_chunks_mut::<LANES>().0) {
                lanes.store_halves(limited(lanes, lanes.load_first(numbers)), stored);
            }
        }
    }
}

/// Returns the numbers, limited to what half precision holds.
#[inline(always)]
fn limited<L: Lanes>(lanes: L, values: L::F32s) -> L::F32s {
    lanes.max(lanes.splat(-GREATEST), lanes.min(lanes.splat(GREATEST), values))
}
