//! The part of torch's stable C interface that tch does not bind.
//!
//! The raw functions are declared in `raw` as `torch/csrc/stable/c/shim.h` and
//! `torch/csrc/inductor/aoti_torch/c/shim.h` declare them; the functions outside `raw` own their
//! handles. A tensor handle is an `at::Tensor*`, like tch's `C_tensor*`.

use std::ffi::{c_char, CString};

use tch::Tensor;

use crate::error::{Error, Result};

/// An argument or result on the dispatcher's stack: the bits of a number, or an owned handle.
pub type StableValue = u64;

mod raw {
    use super::StableValue;
    use std::ffi::{c_char, c_void};

    pub type ParallelFunc = unsafe extern "C" fn(i64, i64, *mut c_void);

    extern "C" {
        pub fn torch_call_dispatcher(
            name: *const c_char,
            overload: *const c_char,
            stack: *mut StableValue,
            build_version: u64,
        ) -> i32;
        pub fn torch_new_list_reserve_size(size: usize, list: *mut *mut c_void) -> i32;
        pub fn torch_list_push_back(list: *mut c_void, element: StableValue) -> i32;
        pub fn torch_list_size(list: *mut c_void, size: *mut usize) -> i32;
        pub fn torch_list_get_item(list: *mut c_void, at: usize, item: *mut StableValue) -> i32;
        pub fn torch_delete_list(list: *mut c_void) -> i32;
        pub fn torch_new_string_handle(
            data: *const c_char,
            length: usize,
            handle: *mut *mut c_void,
        ) -> i32;
        pub fn torch_parse_device_string(text: *const c_char, kind: *mut u32, at: *mut i32) -> i32;
        pub fn torch_parallel_for(
            begin: i64,
            end: i64,
            grain: i64,
            function: ParallelFunc,
            context: *mut c_void,
        ) -> i32;
        pub fn torch_get_num_threads(threads: *mut u32) -> i32;
        pub fn aoti_torch_memory_format_contiguous_format() -> i32;
        pub fn aoti_torch_memory_format_channels_last() -> i32;
        pub fn aoti_torch_memory_format_channels_last_3d() -> i32;
        pub fn aoti_torch_memory_format_preserve_format() -> i32;
        pub fn aoti_torch_layout_strided() -> i32;
        /// C++'s `operator new(size_t)`: the callee frees a present optional with `delete`.
        #[link_name = "_Znwm"]
        pub fn operator_new(size: usize) -> *mut c_void;
    }
}

/// torch 2.11.0, encoded as in `torch/headeronly/version.h`.
const BUILD_VERSION: u64 = (2 << 56) | (11 << 48);

fn check(code: i32, what: &str) -> Result<()> {
    match code {
        0 => Ok(()),
        _ => Err(Error::TorchCall { name: what.to_owned() }),
    }
}

/// Calls an operation. `stack` holds the arguments, which the callee takes, and has room for the
/// results, which the caller owns afterwards.
pub fn call_dispatcher(name: &str, overload: &str, stack: &mut [StableValue]) -> Result<()> {
    let (c_name, c_overload) = (c_string(name)?, c_string(overload)?);
    // SAFETY: the stack was built from the operation's own schema, so the callee reads as many
    // values as there are, and `Call` gives it room for every result.
    let code = unsafe {
        raw::torch_call_dispatcher(
            c_name.as_ptr(),
            c_overload.as_ptr(),
            stack.as_mut_ptr(),
            BUILD_VERSION,
        )
    };
    check(code, name)
}

pub fn from_tensor(tensor: &Tensor) -> StableValue {
    let mut owned = tensor.shallow_clone();
    let handle = owned.as_mut_ptr() as StableValue;
    // The callee frees the handle.
    std::mem::forget(owned);
    handle
}

/// The tensor of a result; `None` if torch returned an undefined tensor.
pub fn into_tensor(value: StableValue) -> Option<Tensor> {
    if value == 0 {
        return None;
    }
    // SAFETY: a tensor result is an `at::Tensor*` that the caller owns.
    let tensor = unsafe { Tensor::from_ptr(value as *mut torch_sys::C_tensor) };
    Some(tensor).filter(Tensor::defined)
}

pub fn from_list(items: Vec<StableValue>) -> Result<StableValue> {
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` is written before it is read; the list owns what is pushed.
    unsafe {
        check(raw::torch_new_list_reserve_size(items.len(), &mut list), "list")?;
        for item in items {
            check(raw::torch_list_push_back(list, item), "list")?;
        }
    }
    Ok(list as StableValue)
}

/// The items of a list result, which is freed.
pub fn into_list(value: StableValue) -> Result<Vec<StableValue>> {
    let list = value as *mut std::ffi::c_void;
    let mut size = 0;
    // SAFETY: `value` is a list that the caller owns; every item is read once.
    unsafe {
        check(raw::torch_list_size(list, &mut size), "list")?;
        let mut items = vec![0; size];
        for (index, item) in items.iter_mut().enumerate() {
            check(raw::torch_list_get_item(list, index, item), "list")?;
        }
        check(raw::torch_delete_list(list), "list")?;
        Ok(items)
    }
}

pub fn from_some(value: StableValue) -> Result<StableValue> {
    // SAFETY: room for one value, written at once; `operator new` aligns for any scalar.
    unsafe {
        let place = raw::operator_new(std::mem::size_of::<StableValue>()).cast::<StableValue>();
        if place.is_null() {
            return Err(Error::TorchCall { name: "operator new".into() });
        }
        place.write(value);
        Ok(place as StableValue)
    }
}

pub fn from_str(text: &str) -> Result<StableValue> {
    let mut handle = std::ptr::null_mut();
    // SAFETY: the text outlives the call, which copies it.
    let code = unsafe {
        raw::torch_new_string_handle(text.as_ptr().cast::<c_char>(), text.len(), &mut handle)
    };
    check(code, "string")?;
    Ok(handle as StableValue)
}

pub fn from_device(text: &str) -> Result<StableValue> {
    let text = c_string(text)?;
    let (mut kind, mut index) = (0, 0);
    // SAFETY: both places outlive the call.
    check(
        unsafe { raw::torch_parse_device_string(text.as_ptr(), &mut kind, &mut index) },
        "device",
    )?;
    Ok((u64::from(kind) << 32) | u64::from(index as u32))
}

pub fn from_memory_format(name: &str) -> Result<StableValue> {
    // SAFETY: constants.
    let code = unsafe {
        match name {
            "contiguous_format" => raw::aoti_torch_memory_format_contiguous_format(),
            "channels_last" => raw::aoti_torch_memory_format_channels_last(),
            "channels_last_3d" => raw::aoti_torch_memory_format_channels_last_3d(),
            "preserve_format" => raw::aoti_torch_memory_format_preserve_format(),
            _ => return Err(Error::Capture(format!("unknown memory format {name:?}"))),
        }
    };
    Ok(code as u32 as StableValue)
}

pub fn from_layout(name: &str) -> Result<StableValue> {
    match name {
        // SAFETY: a constant.
        "strided" => Ok(unsafe { raw::aoti_torch_layout_strided() } as u32 as StableValue),
        _ => Err(Error::Capture(format!("unknown layout {name:?}"))),
    }
}

pub fn num_threads() -> usize {
    let mut threads = 1;
    // SAFETY: the place outlives the call.
    match unsafe { raw::torch_get_num_threads(&mut threads) } {
        0 => threads.max(1) as usize,
        _ => 1,
    }
}

/// Runs `task(0) .. task(tasks - 1)` on ATen's own threads and waits for all of them.
///
/// # Panics
/// If a task panicked.
pub fn parallel_for(tasks: usize, task: &(dyn Fn(usize) + Sync)) {
    struct Context<'a> {
        task: &'a (dyn Fn(usize) + Sync),
        panicked: std::sync::atomic::AtomicBool,
    }
    unsafe extern "C" fn run(begin: i64, end: i64, context: *mut std::ffi::c_void) {
        // SAFETY: the context outlives `torch_parallel_for`, which waits for its threads.
        let context = unsafe { &*context.cast::<Context<'_>>() };
        // A panic must not unwind into C++.
        let run = || (begin..end).for_each(|index| (context.task)(index as usize));
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            context.panicked.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let mut context = Context { task, panicked: false.into() };
    let pointer = (&raw mut context).cast();
    // SAFETY: `run` casts the pointer back to the context that it was made from.
    let code = unsafe { raw::torch_parallel_for(0, tasks as i64, 1, run, pointer) };
    let failed = code != 0 || context.panicked.into_inner();
    assert!(!failed, "a kernel's task failed");
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::Capture(format!("a NUL byte in {text:?}")))
}
