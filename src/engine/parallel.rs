//! Runs our kernels on ATen's own thread pool, so that `torch.set_num_threads` applies to them and
//! two pools do not compete for the cores.

use super::shim;
pub use super::shim::parallel_for;
use crate::cpu::Parallel;

pub struct AtenPool;

impl Parallel for AtenPool {
    fn threads(&self) -> usize {
        shim::num_threads()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        parallel_for(tasks, task);
    }
}
