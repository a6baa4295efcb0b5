//! One task: some output channels by some input channels of the gradient, summed over some strips.

use std::ops::Range;

use half::bf16;

use super::input::Input;
use super::merge::Merge;
use super::microkernel::{Products, Span};
use super::output::Output;
use super::plan::{Plan, Unit};
use super::roll::{Rolled, TAPS};
use crate::cpu::{SharedSlice, Simd, TileKernel, Tiles, LANES, TILE_WORDS};
use crate::kernels::cpu::convolution::Load;

pub(super) struct Task<'a> {
    pub plan: &'a Plan,
    pub part: usize,
    pub outs: Range<usize>,
    pub ins: Range<usize>,
    pub x: &'a [bf16],
    pub load: Option<Load<'a>>,
    pub grad_y: &'a [bf16],
    /// The gradient of this part, of which tasks write different elements.
    pub grad_weight: SharedSlice<'a, f32>,
    /// Empty if it is not wanted of this task.
    pub grad_bias: SharedSlice<'a, f32>,
    /// As many words as all of [`Plan::memory`].
    pub memory: &'a mut [u32],
}

/// A tile of which all pairs are ones.
#[repr(align(64))]
struct Ones([u32; TILE_WORDS]);

static ONES: Ones = Ones([0x3f80_3f80; TILE_WORDS]);

/// The memory of a packed strip and of the sums.
#[derive(Clone, Copy)]
struct Packed {
    x: *mut u32,
    y: *mut u32,
    sums: *mut f32,
    bias: *mut f32,
}

impl TileKernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd, T: Tiles>(self, simd: S, tiles: &mut T) {
        let plan = self.plan;
        let [x_words, y_words, padded_words, sums_words, _] =
            plan.memory(self.outs.len(), self.ins.len());
        let (x, rest) = self.memory.split_at_mut(x_words);
        let (y, rest) = rest.split_at_mut(y_words);
        let (padded, rest) = rest.split_at_mut(padded_words);
        padded.fill(0);
        rest.fill(0);
        let (sums, bias) = rest.split_at_mut(sums_words);
        let packed = Packed {
            x: x.as_mut_ptr(),
            y: y.as_mut_ptr(),
            sums: sums.as_mut_ptr().cast(),
            bias: bias.as_mut_ptr().cast(),
        };
        let [x_tile, y_tile] = plan.strip_words();
        let products = ProductsOf {
            plan,
            out_tiles: self.outs.len().div_ceil(LANES),
            in_tiles: self.ins.len().div_ceil(LANES),
            packed,
        };
        for strip in plan.strips_of(self.part) {
            let units: Vec<Unit> = plan.units(strip).collect();
            for group in 0..plan.groups {
                let input = Input {
                    plan,
                    x: self.x,
                    load: self.load,
                    group,
                    channels: self.ins.clone(),
                    padded: padded.as_mut_ptr().cast(),
                    tile: x_tile,
                };
                let (grad_y, channels) = (self.grad_y, self.outs.clone());
                let output = Output { plan, grad_y, group, channels, tile: y_tile };
                // SAFETY: the memory has room for any strip, and the sums for all channels.
                unsafe {
                    for (i, unit) in units.iter().enumerate() {
                        input.pack(simd, unit, packed.x.add(i * plan.layout.x_unit));
                        output.pack(simd, unit, packed.y.add(i * plan.layout.y_unit));
                    }
                    products.weight(tiles, &units);
                    if !self.grad_bias.is_empty() {
                        products.bias(tiles, &units);
                    }
                }
            }
        }
        let Task { outs, ins, grad_weight, grad_bias, .. } = self;
        let merge = Merge { plan, outs, ins };
        merge.weight(floats(sums), grad_weight);
        if !grad_bias.is_empty() {
            merge.bias(floats(bias), grad_bias);
        }
    }
}

/// Words as the sums that they are.
#[inline(always)]
fn floats(words: &[u32]) -> &[f32] {
    // SAFETY: f32 and u32 have one size and alignment, and any bits are an f32.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
}

/// The products of a packed strip.
struct ProductsOf<'a> {
    plan: &'a Plan,
    out_tiles: usize,
    in_tiles: usize,
    packed: Packed,
}

impl ProductsOf<'_> {
    /// Adds to all sums of the weight.
    #[inline(always)]
    unsafe fn weight<T: Tiles>(&self, tiles: &mut T, units: &[Unit]) {
        if self.plan.rolls() {
            return unsafe { self.rolled(tiles, units) };
        }
        for tap_row in 0..self.plan.geometry.kernel_size[0] {
            let spans: Vec<Span> =
                units.iter().enumerate().map(|(i, unit)| self.span(tap_row, i, unit)).collect();
            let mut out = 0;
            while out < self.out_tiles {
                let two = out + 2 <= self.out_tiles;
                unsafe { self.streams(tiles, tap_row, out, two, &spans) };
                out += if two { 2 } else { 1 };
            }
        }
    }

    /// As `weight`, with all rows of taps at once.
    #[inline(always)]
    unsafe fn rolled<T: Tiles>(&self, tiles: &mut T, units: &[Unit]) {
        let rolled = |(index, unit): (usize, &Unit)| self.rows(index, unit);
        let units: Vec<Rolled> = units.iter().enumerate().map(rolled).collect();
        let count = self.plan.layout.runs.len() * self.in_tiles;
        for stream in 0..count {
            for out in 0..self.out_tiles {
                let products = self.products(out, stream, &[]);
                unsafe { products.roll(tiles, self.stream(stream), &units, count * TILE_WORDS) };
            }
        }
    }

    /// All streams of one row of taps, for one or two tiles of output channels.
    #[inline(always)]
    unsafe fn streams<T: Tiles>(
        &self,
        tiles: &mut T,
        tap_row: usize,
        out: usize,
        two: bool,
        spans: &[Span],
    ) {
        let count = self.plan.layout.runs.len() * self.in_tiles;
        let mut stream = 0;
        while stream < count {
            let products = self.products(out, tap_row * count + stream, spans);
            let x = |i: usize| self.stream(stream + i);
            let left = count - stream;
            unsafe {
                stream += match (two, left) {
                    (true, 1) => products.square::<T, 1>(tiles, [x(0)]),
                    (true, _) => products.square::<T, 2>(tiles, [x(0), x(1)]),
                    (false, 1) => products.row::<T, 1>(tiles, [x(0)]),
                    (false, 2) => products.row::<T, 2>(tiles, [x(0), x(1)]),
                    (false, 3 | 5 | 6) => products.row::<T, 3>(tiles, [x(0), x(1), x(2)]),
                    (false, _) => products.row::<T, 4>(tiles, [x(0), x(1), x(2), x(3)]),
                };
            }
        }
    }

    /// Adds to the sums of the bias.
    #[inline(always)]
    unsafe fn bias<T: Tiles>(&self, tiles: &mut T, units: &[Unit]) {
        let spans: Vec<Span> = units
            .iter()
            .enumerate()
            .map(|(i, unit)| Span { y: i * self.plan.layout.y_unit, x: 0, rows: unit.rows.len() })
            .collect();
        for out in 0..self.out_tiles {
            let sums = self.packed.bias.wrapping_add(out * TILE_WORDS);
            let products = Products { sums, ..self.products(out, 0, &spans) };
            unsafe { products.bias(tiles, ONES.0.as_ptr()) };
        }
    }

    #[inline(always)]
    fn products<'a>(&self, out: usize, stream: usize, spans: &'a [Span]) -> Products<'a> {
        let Plan { geometry, layout, .. } = self.plan;
        let [_, y_tile] = self.plan.strip_words();
        let sums_tile = self.plan.streams(self.in_tiles) * TILE_WORDS;
        Products {
            y: self.packed.y.cast_const().wrapping_add(out * y_tile),
            y_tile,
            spans,
            y_row: layout.y_row,
            x_row: geometry.stride[0] * layout.x_row,
            tiles: layout.tiles,
            pairs: layout.pairs,
            sums: self.packed.sums.wrapping_add(out * sums_tile + stream * TILE_WORDS),
            sums_tile,
        }
    }

    /// The first word of packed `x` that a stream of a row of taps reads: `[run][tile]`.
    #[inline(always)]
    fn stream(&self, stream: usize) -> *const u32 {
        let [x_tile, _] = self.plan.strip_words();
        let (run, tile) = (stream / self.in_tiles, stream % self.in_tiles);
        let start = self.plan.layout.runs[run].start;
        self.packed.x.cast_const().wrapping_add(tile * x_tile + start)
    }

    /// All rows of a unit.
    #[inline(always)]
    fn rows(&self, index: usize, unit: &Unit) -> Rolled {
        let Plan { geometry, layout, .. } = self.plan;
        let (padding, height, rows) = (geometry.padding[0], geometry.in_size[0], unit.rows.len());
        let all = rows + TAPS - 1;
        let first = padding.saturating_sub(unit.rows.start).min(all);
        let end = (height + padding).saturating_sub(unit.rows.start).clamp(first, all);
        let (y, x) = (index * layout.y_unit, index * layout.x_unit);
        Rolled { y, x, rows, first, end }
    }

    /// The rows of a unit for which a row of taps lies in the image.
    #[inline(always)]
    fn span(&self, tap_row: usize, index: usize, unit: &Unit) -> Span {
        let Plan { geometry, layout, .. } = self.plan;
        let (stride, tap) = (geometry.stride[0], tap_row * geometry.dilation[0]);
        let rows = unit.rows.clone();
        let (padding, height) = (geometry.padding[0], geometry.in_size[0]);
        let first = padding.saturating_sub(tap).div_ceil(stride).clamp(rows.start, rows.end);
        let end = (height + padding).saturating_sub(tap).div_ceil(stride).clamp(first, rows.end);
        let skipped = first - rows.start;
        Span {
            y: index * layout.y_unit + skipped * layout.y_row,
            x: index * layout.x_unit + (skipped * stride + tap) * layout.x_row,
            rows: end - first,
        }
    }
}
