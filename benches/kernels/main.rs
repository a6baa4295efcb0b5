//! Times the CPU kernels, each on one thread and on warm buffers.
//!
//! ```sh
//! cargo bench --no-default-features                           # all kernels
//! cargo bench --no-default-features -- winograd::grad_weight  # one of them
//! cargo bench --no-default-features -- --threads 2            # on two threads at once
//! ```
//!
//! For convolutions an item is one floating-point operation of the direct algorithm, two for each
//! multiply-accumulate. For batch norms and depthwise convolutions, which are bound by memory, the
//! rate is in bytes of the activations that the kernel reads and writes.

mod amx;
mod batch_norm;
mod depthwise;
mod direct;
mod problem;
mod winograd;

fn main() {
    divan::Divan::default()
        .max_time(std::time::Duration::from_millis(150))
        .config_with_args()
        .main();
}
