//! Loops over registers, unrolled by a macro.

/// Repeats a block with `$i` as the constants 0, 1 and so on below `$n`, at most eight times.
/// Arrays of vectors that are indexed with `$i` stay in registers, independent of the optimizer's
/// heuristics.
macro_rules! unroll {
    ($i:ident < $n:expr, $body:block) => {
        unroll!(@ $i, $n, $body, 0 1 2 3 4 5 6 7)
    };
    (@ $i:ident, $n:expr, $body:block, $($value:literal)*) => {
        $(
            if $value < $n {
                #[allow(non_upper_case_globals)]
                const $i: usize = $value;
                $body
            }
        )*
    };
}

pub(super) use unroll;
