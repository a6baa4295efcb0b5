//! The memory behind tensors: layouts and slices.

use half::bf16;
use tch::{Device, Kind, Tensor};

use super::torch_types::{device_name, dtype_name};
use crate::cpu::Element as KernelElement;
use crate::error::{Error, Result};

/// Element types of tensors.
pub trait Element: Copy + Send + Sync + 'static {
    const KIND: Kind;
}

impl Element for f32 {
    const KIND: Kind = Kind::Float;
}

impl Element for f64 {
    const KIND: Kind = Kind::Double;
}

impl Element for half::bf16 {
    const KIND: Kind = Kind::BFloat16;
}

impl Element for i64 {
    const KIND: Kind = Kind::Int64;
}

/// Whether the channel (dimension 1) is innermost in memory and the tensor is dense.
pub fn is_channels_last(tensor: &Tensor) -> bool {
    let (size, stride) = (tensor.size(), tensor.stride());
    let mut expected = 1;
    for dim in channels_last_order(size.len()).into_iter().rev() {
        if size[dim] != 1 && stride[dim] != expected {
            return false;
        }
        expected *= size[dim];
    }
    size.len() >= 3
}

/// Dimensions from the outermost in memory to the innermost: N, spatial, C.
fn channels_last_order(dims: usize) -> Vec<usize> {
    let spatial = 2..dims;
    [0].into_iter().chain(spatial).chain([1]).filter(|dim| *dim < dims).collect()
}

/// The same tensor, or a copy of it, with the channel innermost.
pub fn to_channels_last(tensor: &Tensor) -> Result<Tensor> {
    if is_channels_last(tensor) {
        return Ok(tensor.shallow_clone());
    }
    let order: Vec<i64> = channels_last_order(tensor.dim()).iter().map(|dim| *dim as i64).collect();
    let copy = tensor.f_permute(order.as_slice())?.f_contiguous()?;
    Ok(copy.f_permute(inverse(&order).as_slice())?)
}

/// The same tensor, or a copy of it, in the given strides.
pub fn in_strides(tensor: &Tensor, stride: &[i64]) -> Result<Tensor> {
    let size = tensor.size();
    let mut dims = size.iter().zip(tensor.stride()).zip(stride);
    if dims.all(|((size, found), wanted)| *size == 1 || found == *wanted) {
        return Ok(tensor.shallow_clone());
    }
    // What is repeated is stored once.
    let mut once = tensor.shallow_clone();
    for (dim, _) in
        stride.iter().enumerate().filter(|(dim, stride)| **stride == 0 && size[*dim] > 1)
    {
        once = once.f_narrow(dim as i64, 0, 1)?;
    }
    let options = (tensor.f_kind()?, tensor.device());
    let mut copy = Tensor::f_empty_strided(once.size().as_slice(), stride, options)?;
    copy.f_copy_(&once)?;
    Ok(copy.f_expand(size.as_slice(), false)?)
}

/// An uninitialized tensor of the given NCHW shape with the channel innermost.
pub fn empty_channels_last(size: Vec<i64>, kind: Kind, device: Device) -> Result<Tensor> {
    let bytes = Tensor::f_empty(in_memory(&size), (kind, device))?;
    as_channels_last(&bytes, size.len())
}

/// An NCHW shape in the order of memory.
pub fn in_memory(size: &[i64]) -> Vec<i64> {
    channels_last_order(size.len()).iter().map(|dim| size[*dim]).collect()
}

/// A tensor with its dimensions in the order of memory, viewed as NCHW.
pub fn as_channels_last(memory: &Tensor, dims: usize) -> Result<Tensor> {
    let order: Vec<i64> = channels_last_order(dims).iter().map(|dim| *dim as i64).collect();
    Ok(memory.f_permute(inverse(&order).as_slice())?)
}

fn inverse(order: &[i64]) -> Vec<i64> {
    let mut inverse = vec![0; order.len()];
    for (place, dim) in order.iter().enumerate() {
        inverse[*dim as usize] = place as i64;
    }
    inverse
}

/// A copy of the same layout.
pub fn copy(tensor: &Tensor) -> Result<Tensor> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

/// Whether two dense tensors have their elements in the same order of memory.
pub fn same_layout(a: &Tensor, b: &Tensor) -> bool {
    let size = a.size();
    let strides = a.stride().into_iter().zip(b.stride());
    let alike = |(size, (a, b)): (&i64, (i64, i64))| *size == 1 || a == b;
    size == b.size() && size.iter().zip(strides).all(alike)
}

/// Whether the elements fill the storage from the first element on without gaps.
pub fn is_dense(tensor: &Tensor) -> bool {
    let mut dims: Vec<(i64, i64)> = tensor.stride().into_iter().zip(tensor.size()).collect();
    dims.retain(|(_, size)| *size != 1);
    dims.sort_unstable();
    let mut expected = 1;
    dims.into_iter().all(|(stride, size)| {
        let dense = stride == expected;
        expected *= size;
        dense
    })
}

/// The elements in the order of memory.
pub fn slice<T: Element>(tensor: &Tensor) -> Result<&[T]> {
    check::<T>(tensor)?;
    if tensor.numel() == 0 {
        return Ok(&[]);
    }
    // SAFETY: a dense CPU tensor of this dtype, which the borrow keeps alive.
    Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) })
}

/// The memory from the first element to the last one, with what is between them and belongs to
/// other tensors of the same storage.
pub fn reach<T: Element>(tensor: &Tensor) -> Result<&[T]> {
    let kind = tensor.f_kind()?;
    if kind != T::KIND || tensor.device() != Device::Cpu {
        let expected = format!("{} on cpu", dtype_name(T::KIND));
        return Err(Error::TensorMemory { expected, got: described(tensor)? });
    }
    if tensor.numel() == 0 {
        return Ok(&[]);
    }
    let dims = tensor.size().into_iter().zip(tensor.stride());
    let last: i64 = dims.map(|(size, stride)| (size - 1) * stride).sum();
    // SAFETY: from a tensor's first element to its last one there are numbers of its storage, which
    // the borrow keeps alive; strides are never negative.
    Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), last as usize + 1) })
}

/// The elements in the order of memory, to be written.
///
/// The exclusive borrow covers the handle only: the caller guarantees that no other handle of the
/// same storage is used meanwhile.
pub fn slice_mut<T: Element>(tensor: &mut Tensor) -> Result<&mut [T]> {
    check::<T>(tensor)?;
    if tensor.numel() == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as above; the engine owns the tensors it writes, and the trainer the state it
    // updates.
    Ok(unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) })
}

/// The elements of a dense CPU tensor as bytes, in the order of memory.
pub fn bytes(tensor: &Tensor) -> Result<&[u8]> {
    let kind = tensor.f_kind()?;
    if tensor.device() != Device::Cpu || !is_dense(tensor) {
        let got = described(tensor)?;
        return Err(Error::TensorMemory { expected: "a tensor on cpu".into(), got });
    }
    let len = tensor.numel() * kind.elt_size_in_bytes();
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: so many bytes of numbers, which the borrow keeps alive.
    Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), len) })
}

/// Writes fp32 rows, starting with the row `first`, into a bf16 tensor of the same layout.
///
/// # Safety
/// Dimension 0 is the outermost in memory. Concurrent calls have different rows, and nothing reads
/// the tensor meanwhile.
pub unsafe fn cast_rows(to: &Tensor, first: usize, rows: &[f32]) {
    let row = to.numel().checked_div(to.size()[0] as usize).unwrap_or(0);
    let fits = matches!(to.f_kind(), Ok(Kind::BFloat16)) && first * row + rows.len() <= to.numel();
    assert!(fits && is_dense(to), "rows beyond the copy");
    // SAFETY: a dense tensor of bf16 with so many elements; the rows are the caller's alone.
    let to = unsafe { to.data_ptr().cast::<bf16>().add(first * row) };
    let to = unsafe { std::slice::from_raw_parts_mut(to, rows.len()) };
    to.iter_mut().zip(rows).for_each(|(to, from)| *to = KernelElement::from_f32(*from));
}

fn check<T: Element>(tensor: &Tensor) -> Result<()> {
    let kind = tensor.f_kind()?;
    let fits = kind == T::KIND && tensor.device() == tch::Device::Cpu && is_dense(tensor);
    match fits {
        true => Ok(()),
        false => Err(Error::TensorMemory {
            expected: format!("{} on cpu", dtype_name(T::KIND)),
            got: described(tensor)?,
        }),
    }
}

/// Dtype, device, shape and strides, for messages.
pub fn described(tensor: &Tensor) -> Result<String> {
    let (dtype, device) = (dtype_name(tensor.f_kind()?), device_name(tensor.device()));
    let (size, stride) = (tensor.size(), tensor.stride());
    Ok(format!("{dtype} on {device} of shape {size:?} with strides {stride:?}"))
}
